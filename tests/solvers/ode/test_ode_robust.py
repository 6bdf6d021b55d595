"""Solves that fail, alone and in a batch: what is said, where, and that what did not fail is not harmed."""

import subprocess
import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import bits, setup

import sciml_lux as lux
from sciml_lux import ShapeError
from sciml_lux.core import failure_mode, number_of

pytestmark = pytest.mark.usefixtures("unchecked")

MAX_STEPS, UNDERFLOW = diffrax.RESULTS.max_steps_reached, diffrax.RESULTS.dt_min_reached
NOT_FINITE, BAD_TIMES = diffrax.RESULTS.nonfinite, diffrax.RESULTS.nonfinite_input


class Field(lux.AbstractLayer):
    """`function(y, rate)`."""

    function: object

    def initial_parameters(self, key):
        return {"rate": 0.5}

    def __call__(self, y, ps, st):
        return self.function(y, ps.rate), st


def square(y, rate):
    return rate * y**2  # grows without bound at t = 1 / (rate y0)


def root(y, rate):
    return -jnp.sqrt(y) - rate  # NaN below 0, which is reached at t = 0.901 from 1


def undefined(y, rate):
    return jnp.where(y > 2.0, jnp.nan, -rate * y)  # NaN at the start from 3


def stiff(y, rate):
    return -jnp.where(y > 2.0, 1e7, rate) * (y - 2.5)  # stiff from 3, not from 1


FIXED = {"stepsize_controller": diffrax.ConstantStepSize(), "dt0": 0.25}
# A field, settings, a start from which it fails, one from which it does not, how and when it fails.
CASES = {
    "max_steps": (square, {"max_steps": 8}, 3.0, -1.0, MAX_STEPS, (0.3, 0.67)),
    "stiff": (stiff, {"max_steps": 64}, 3.0, 1.0, MAX_STEPS, (0.0, 0.1)),
    "growth without bound": (square, {}, 3.0, -1.0, UNDERFLOW, (0.66, 0.67)),
    "overflow": (lambda y, rate: jnp.where(y > 2.0, 1e4, -1.0) * rate * y, {}, 3.0, 1.0, UNDERFLOW, (0.0, 0.15)),
    "overflow with fixed steps": (
        lambda y, rate: rate * y**3,
        {**FIXED, "dt0": 0.05},
        1e3,
        0.1,
        NOT_FINITE,
        (1.0, 1.0),
    ),
    "NaN at the start": (undefined, {}, 3.0, 1.0, UNDERFLOW, (0.0, 0.0)),
    "NaN on the way": (root, {}, 1.0, 9.0, UNDERFLOW, (0.9, 0.905)),
    "NaN with fixed steps": (undefined, FIXED, 3.0, 1.0, NOT_FINITE, (1.0, 1.0)),
}
ADVICE = {
    int(number_of(MAX_STEPS)): ["maximum number of solver steps", "raise max_steps=", "loosen rtol=", "stiff=True"],
    int(number_of(UNDERFLOW)): ["step shrank to nothing", "NaN", "without bound"],
    int(number_of(NOT_FINITE)): ["state is not finite", "smaller steps than dt0="],
    int(number_of(BAD_TIMES)): ["ts are not sorted", "within the span"],
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request):
    return CASES[request.param]


def made(function, **settings):
    node = lux.NeuralODE(Field(function), **settings)
    return node, *setup(node)


def text_of(call):
    with pytest.raises(RuntimeError) as caught:
        jax.block_until_ready(call())
    return str(caught.value)


def test_a_failed_solve_says_where_and_what_to_try(case):
    function, settings, bad, _, result, (earliest, latest) = case
    node, ps, st = made(function, **settings)
    text = text_of(lambda: jax.jit(node)(bad, ps, st))
    for part in ("NeuralODE: the solve from t0=0 to t1=1 failed at t=", *ADVICE[int(number_of(result))], "throw=False"):
        assert part in text, text
    time = float(text.split("failed at t=")[1].split(",")[0].split(". ")[0])
    assert earliest <= time <= latest


def test_a_failed_sample_harms_no_other(case):
    function, settings, bad, good, result, _ = case
    node, ps, st = made(function, throw=False, batching="each", **settings)

    @jax.jit
    def everything(starts):
        def loss(ps, starts):
            solution, new = node.solve(starts, ps, st, ts=[0.5, 1.0])
            okay = solution.result == diffrax.RESULTS.successful
            return jnp.sum(jnp.where(okay[:, None], solution.ys, 0.0)), (solution, new)

        (_, aux), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(ps, starts)
        return *aux, *gradients

    solution, new, in_ps, in_starts = everything(jnp.asarray([good, bad, 1.1 * good]))
    whole, _, whole_ps, whole_starts = everything(jnp.asarray([good, good, 1.1 * good]))
    kept = np.array([0, 2])
    assert bits(solution.ys[kept]) == bits(whole.ys[kept])
    assert bits(in_starts[kept]) == bits(whole_starts[kept])
    assert np.all(np.isnan(solution.ys[1]))
    assert in_starts[1] == 0.0
    alone = everything(jnp.asarray([good] * 3))[2].vector / 3
    np.testing.assert_allclose(in_ps.vector, whole_ps.vector - alone, rtol=1e-9)
    assert solution.stats["num_steps"][1] < 2000
    np.testing.assert_array_equal(solution.result == result, [False, True, False])
    np.testing.assert_array_equal(solution.result == diffrax.RESULTS.successful, [True, False, True])
    assert (new.solution.num_failed, bool(new.solution.result == diffrax.RESULTS.successful)) == (1, True)


@pytest.mark.parametrize(
    "adjoint",
    [
        diffrax.RecursiveCheckpointAdjoint(),
        pytest.param(diffrax.DirectAdjoint(), marks=pytest.mark.slow),
        diffrax.ForwardMode(),
    ],
)
def test_other_adjoints_leave_the_others_alone_too(adjoint):
    node, ps, st = made(square, throw=False, batching="each", adjoint=adjoint, max_steps=64)
    differentiate = jax.jacfwd if isinstance(adjoint, diffrax.ForwardMode) else jax.grad

    def loss(rate, starts):
        solution, _ = node.solve(starts, ps.set("model.rate", rate), st)
        return jnp.sum(jnp.where((solution.result == diffrax.RESULTS.successful)[:, None], solution.ys, 0.0))

    gradient = jax.jit(differentiate(loss))(0.5, jnp.asarray([1.0, 3.0, -1.0]))
    exact = sum((y / (1.0 - 0.5 * y)) ** 2 for y in (1.0, -1.0))
    np.testing.assert_allclose(gradient, exact, rtol=1e-3)


def test_the_sample_is_named_in_a_batch_and_under_vmap():
    starts = jnp.asarray([-1.0, 1.0, 3.0, 4.0])
    each, ps, st = made(square, batching="each")
    single, _, single_st = made(square)
    for call in (
        lambda: each(starts, ps, st),
        lambda: jax.jit(each)(starts, ps, st),
        lambda: jax.vmap(lambda y: single(y, ps, single_st)[0])(starts),
        lambda: jax.jit(jax.vmap(jax.grad(lambda y: single(y, ps, single_st)[0])))(starts),
        lambda: jax.jit(jax.vmap(jax.vmap(lambda y: single(y, ps, single_st)[0])))(starts.reshape(2, 2)),
    ):
        assert "failed at t=0.6666" in (text := text_of(call)), text
        assert "in sample 2 (2 of 4 samples failed)" in text
    with failure_mode("nan"):
        y1, new = jax.jit(each)(starts, ps, st)
    np.testing.assert_array_equal(np.isnan(y1), [False, False, True, True])
    assert new.solution.result == UNDERFLOW
    assert new.solution.num_failed == 2


def test_a_gradient_alone_raises_as_well():
    # Its value is not asked for, and nothing but the check depends on it.
    node, ps, st = made(square, t1=4.0)
    for differentiate in (jax.grad, lambda f: jax.jit(jax.grad(f))):
        assert "failed at t=" in text_of(lambda: differentiate(lambda ps: node(1.0, ps, st)[0])(ps))  # noqa: B023


# Times that are seen at run time only


def test_a_start_that_cannot_be_is_refused():
    node, ps, st = made(square)
    for t0, kind in ((np.nan, ValueError), (np.inf, ValueError), (2.0, ShapeError)):
        with pytest.raises(kind, match=r"t0"):
            node.solve(0.1, ps, st, t0=t0)
    solve = jax.jit(lambda t0: node.solve(0.1, ps, st, t0=t0)[0].ys)
    for t0 in (np.nan, 2.0):
        assert "or t0 is not" in text_of(lambda: solve(t0))  # noqa: B023
    quiet, ps, st = made(square, throw=False, batching="each")
    solution, _ = quiet.solve(jnp.full((3, 1), 0.1), ps, st, t0=jnp.array([0.0, np.nan, 2.0]))
    np.testing.assert_array_equal(solution.result == BAD_TIMES, [False, True, True])
    np.testing.assert_array_equal(np.isnan(solution.ys[:, 0, 0]), [False, True, True])


def test_times_that_are_mostly_rounding_are_refused():
    """Seconds since 1970 in float32 are 128 apart."""
    node, ps, st = made(square, t0=1.7e9, t1=1.7e9 + 3600)
    with pytest.raises(ShapeError, match="128 apart"):
        node.solve(jnp.float32(0.1), ps, st)
    assert np.isfinite(node(jnp.asarray(1e-5), ps, st)[0])


@pytest.mark.parametrize(
    "ts",
    [
        [0.2, 1.5],
        [0.2, np.nan],
        *(pytest.param(ts, marks=pytest.mark.slow) for ts in ([-0.2, 0.5], [0.5, 0.2], [np.inf, np.inf])),
    ],
)
def test_traced_times_that_cannot_be_are_a_failure(ts):
    node, ps, st = made(square)
    solve = jax.jit(lambda ts: node.solve(0.1, ps, st, ts=ts)[0].ys)
    text = text_of(lambda: solve(jnp.asarray(ts)))
    for part in ADVICE[int(number_of(BAD_TIMES))]:
        assert part in text, text
    each, ps, st = made(square, batching="each", throw=False)
    solve_each = jax.jit(lambda ts: each.solve(jnp.asarray([0.1, 0.2]), ps, st, ts=ts)[0])
    solution = solve_each(jnp.asarray([[0.5, 1.0], ts]))
    np.testing.assert_array_equal(solution.result == BAD_TIMES, [False, True])
    np.testing.assert_allclose(solution.ys[0], [0.1 / (1 - 0.025), 0.1 / (1 - 0.05)], rtol=1e-5)
    assert np.all(np.isnan(solution.ys[1]))


def test_an_unknown_start_that_is_nan_is_one_failed_sample():
    node, ps, st = made(square, batching="each", throw=False)
    y1, _ = node(np.array([0.1, np.nan, 0.1]), ps, st)
    np.testing.assert_array_equal(np.isnan(y1), [False, True, False])


# Training


@pytest.mark.slow
def test_a_fit_goes_on_without_the_samples_that_fail():
    starts, ts = jnp.asarray([0.5, 3.0, -1.0]), jnp.asarray([0.5, 1.0])
    exact = np.asarray(starts)[:, None] / (1.0 - 0.4 * np.asarray(starts)[:, None] * np.asarray(ts))
    node, ps, st = made(square, batching="each", throw=False, max_steps=64)

    def loss(ps, st, data):
        solution, st = node.solve(starts, ps, st, ts=ts)
        okay = (solution.result == diffrax.RESULTS.successful)[:, None]
        return jnp.sum(jnp.where(okay, (solution.ys - data) ** 2, 0.0)), st

    fitted = lux.fit(loss, ps, st, optax.adam(2e-2), steps=200, data=jnp.asarray(exact))
    assert fitted.num_rejected == 0
    assert fitted.st.solution.num_failed == 1
    np.testing.assert_allclose(fitted.ps["model.rate"], 0.4, rtol=1e-3)


def test_a_fit_survives_steps_in_which_a_sample_fails():
    # Large steps lead to rates at which the second sample is infinite before the end.
    starts = jnp.asarray([0.5, 1.5])
    node, ps, st = made(square, batching="each", max_steps=64)
    exact = starts / (1.0 - 0.6 * starts)

    def loss(ps, st, data):
        y1, st = node(starts, ps, st)
        return jnp.mean((1.0 / y1 - 1.0 / data) ** 2), st

    fitted = lux.fit(loss, ps, st, optax.sgd(0.95), steps=100, data=exact, throw=False)
    assert np.all(np.isfinite(fitted.ps.vector))
    assert fitted.num_rejected > 0
    np.testing.assert_allclose(fitted.ps["model.rate"], 0.6, rtol=1e-2)


# What a user sees


def test_an_error_in_a_compiled_solve_is_a_few_lines():
    """In a fresh process, so that what is logged and what the interpreter prints are seen as users see them."""
    program = """
import jax, sciml_lux as lux
node = lux.NeuralODE(lux.WrappedFunction(lambda y: y**2), t1=2.0)
ps, st = lux.setup(jax.random.key(0), node)
jax.jit(node)(1.0, ps, st)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    lines = [line for line in run.stderr.splitlines() if not line.startswith("WARNING")]
    [said] = [line for line in lines if "SolveError: NeuralODE: the solve from t0=0 to t1=2 failed at t=1" in line]
    assert lines.index(said) < 6, run.stderr
    assert len(lines) <= 8, run.stderr
