"""NeuralODE with settings and inputs that cannot be, and solves that fail: what is said, and that nothing looks like a result."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import message_of, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError
from sciml_lux.core import failure_mode

# The package's own errors are what users see; the type checker of these tests would come first.
pytestmark = pytest.mark.usefixtures("unchecked")


class Square(lux.AbstractLayer):
    """`rate y^2`: from `y0 = 1` it grows without bound before `t = 1 / rate`."""

    def initial_parameters(self, key):
        return {"rate": 0.5}

    def __call__(self, y, ps, st):
        return ps.rate * y**2, st


NODE = lux.NeuralODE(Square())
PS, ST = setup(NODE)


# Settings


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"t0": 1.0, "t1": 1.0}, ["the span is empty, t0 = t1 = 1.0"]),
        ({"t1": float("nan")}, ["t1 is a finite time, got nan"]),
        ({"t0": float("-inf")}, ["t0 is a finite time, got -inf"]),
        ({"t0": 1.0, "t1": 0.0, "dt0": 0.1}, ["dt0=0.1 does not lead from t0=1.0 to t1=0.0", "exchange t0 and t1"]),
        ({"dt0": -0.1}, ["dt0=-0.1 does not lead from t0=0.0 to t1=1.0", "the sign of t1 - t0"]),
        ({"dt0": 0.0}, ["dt0=0.0 does not lead"]),
        ({"dt0": float("nan")}, ["dt0=nan does not lead"]),
        ({"stepsize_controller": diffrax.ConstantStepSize()}, ["ConstantStepSize needs the step, dt0"]),
        ({"rtol": -1e-3}, ["tolerances are 0 or more", "rtol=-0.001"]),
        ({"atol": -1e-3}, ["tolerances are 0 or more", "atol=-0.001"]),
        ({"rtol": 0.0, "atol": 0.0}, ["one of them more"]),
        ({"rtol": float("nan")}, ["tolerances are 0 or more", "rtol=nan"]),
        ({"max_steps": 0}, ["max_steps is a whole number, 1 or more, or None, got 0"]),
        ({"solver": diffrax.Tsit5}, ["solver is a solver of diffrax, such as diffrax.Tsit5()"]),
        ({"stiff": True, "solver": diffrax.Tsit5()}, ["Tsit5() is an explicit one", "leave out either"]),
    ],
)
def test_settings_that_cannot_be_are_refused_at_construction(settings, parts):
    refused(lambda: lux.NeuralODE(Square(), **settings), LayerError, "NeuralODE", *parts)


def test_a_function_is_not_a_model_until_it_is_wrapped():
    refused(
        lambda: lux.NeuralODE(jnp.negative),
        LayerError,
        "model is a layer",
        "a function f of the state",
        "lux.WrappedFunction(f)",
    )


# Inputs


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("ts", "parts"),
    [
        ([], ["ts is a vector of at least one time, got shape (0,)"]),
        (0.5, ["ts is a vector of at least one time, got shape ()"]),
        ([[0.5]], ["got shape (1, 1)"]),
        ([0.1, 0.6, 0.4], ["ts must be sorted from t0 to t1, got 0.6 before 0.4 at index 1"]),
        ([0.5, 1.5], ["ts from 0.5 to 1.5 leave the span from t0=0 to t1=1"]),
        ([-0.5, 1.0], ["ts from -0.5 to 1 leave the span"]),
        ([0.5, np.inf], ["leave the span"]),
    ],
)
def test_times_that_cannot_be_are_refused_also_under_jit(ts, parts, compiled):
    solve = lambda ps: NODE.solve(1.0, ps, ST, ts=ts)[0].ys  # noqa: E731
    refused(lambda: (jax.jit(solve) if compiled else solve)(PS), ShapeError, "NeuralODE", *parts)


def test_times_run_the_way_of_the_span():
    back = lux.NeuralODE(Square(), t0=1.0, t1=0.0)
    refused(lambda: back.solve(1.0, PS, ST, ts=[0.0, 1.0]), ShapeError, "sorted from t0 to t1, got 0 before 1")


def test_times_and_saveat_exclude_each_other():
    saveat = diffrax.SaveAt(t1=True)
    refused(lambda: NODE.solve(1.0, PS, ST, ts=[1.0], saveat=saveat), LayerError, "ts or saveat, not both")


@pytest.mark.parametrize("compiled", [False, True])
def test_nan_in_known_inputs_is_refused(compiled):
    def call(**inputs):
        arguments = {"y0": 1.0, "ts": [0.5, 1.0], **inputs}
        solve = lambda ps: NODE.solve(arguments["y0"], ps, ST, ts=arguments["ts"])[0].ys  # noqa: E731
        return (jax.jit(solve) if compiled else solve)(PS)

    with pytest.raises(ValueError, match="ts holds NaN at index 1"):
        call(ts=[0.5, np.nan])
    with pytest.raises(ValueError, match=r"y0 holds NaN, got \[ 1. nan\]"):
        call(y0=np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="y0 holds NaN, got nan"):
        call(y0={"a": 1.0, "b": np.nan})


def test_times_of_lower_precision_may_stick_out_by_a_rounding():
    node = lux.NeuralODE(Square(), t0=0.7, t1=0.9)
    ts = np.array([0.7, 0.9], np.float32)
    assert float(ts[0]) < node.t0
    solution, _ = node.solve(1.0, PS, ST, ts=ts)
    np.testing.assert_allclose(solution.ys, [1.0, 1.0 / (1.0 - 0.5 * 0.2)], rtol=1e-4)
    refused(lambda: node.solve(1.0, PS, ST, ts=ts.astype(np.float64)), ShapeError, "leave the span")


@pytest.mark.parametrize(
    ("model", "got"),
    [
        (lux.Dense(2, 3), "float64[3]"),
        (lux.WrappedFunction(lambda y: y[0]), "float64[]"),
        (lux.WrappedFunction(lambda y: y.astype(jnp.float32)), "float32[2]"),
        (lux.WrappedFunction(lambda y: (y, y)), "('float64[2]', 'float64[2]')"),
    ],
)
def test_a_model_that_returns_no_derivative_of_the_state(model, got):
    node = lux.NeuralODE(lux.Chain(lux.NoOp(), inner=model))
    outer = lux.Chain(dynamics=node)
    ps, st = setup(outer)
    text = refused(
        lambda: outer(jnp.ones(2), ps, st), ShapeError, f"returned {got}, expected", "float64[2]", "in layer dynamics:"
    )
    assert f"inner={type(model).__name__}" in text


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_state_of_few_digits_is_refused_with_the_way_to_save_them(dtype):
    name = jnp.dtype(dtype).name
    node = lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), t1=1.0)
    ps, st = setup(node, dtype=dtype)
    refused(lambda: node(jnp.ones(2, dtype), ps, st), ShapeError, name, "y0.astype(jnp.float32)", "AlternatePrecision")
    node = lux.NeuralODE(lux.AlternatePrecision(lux.Dense(2, 2, jnp.tanh), dtype), t1=1.0)
    ps, st = setup(node, dtype=jnp.float32)
    assert node(jnp.ones(2, jnp.float32), ps, st)[0].dtype == jnp.float32


def test_an_error_inside_the_model_names_the_layer():
    outer = lux.Chain(dynamics=lux.NeuralODE(lux.Chain(lux.Dense(3, 2))))
    ps, st = setup(outer)
    with pytest.raises(ShapeError) as caught:
        outer(jnp.ones(2), ps, st)
    assert "in layer dynamics.model.layer_0: Dense(3, 2)" in message_of(caught.value)


# Solves that fail


@pytest.mark.parametrize("compiled", [False, True])
def test_a_failed_solve_raises_and_says_what_to_try(compiled):
    node = lux.NeuralODE(Square(), t1=4.0, max_steps=32)
    call = jax.jit(node) if compiled else node
    with pytest.raises(RuntimeError) as caught:
        jax.block_until_ready(call(1.0, PS, ST))
    for part in (
        "the solve from t0=0 to t1=4 failed",
        "maximum number of solver steps was reached",
        "raise max_steps=32",
        "loosen rtol=1e-05 or atol=1e-06",
        "at t=1.97",
        "stiff=True",
        "throw=False",
    ):
        assert part in str(caught.value)


def test_a_failed_solve_gives_nan_everywhere_if_it_may_not_raise():
    node = lux.NeuralODE(Square(), t1=4.0, max_steps=32, throw=False)
    saveat = diffrax.SaveAt(ts=[0.0, 0.1, 4.0], dense=True)
    solution, st = node.solve(1.0, PS, ST, saveat=saveat)
    # The first times were reached before it failed; nobody should take them for a solution.
    np.testing.assert_array_equal(solution.ys, [np.nan] * 3)
    assert np.isnan(solution.evaluate(0.1))
    assert st.solution.result == solution.result == diffrax.RESULTS.max_steps_reached
    assert st.solution.num_steps == 32
    assert "maximum number of solver steps" in diffrax.RESULTS[st.solution.result]
    gradients = jax.jit(jax.grad(lambda ps, y0: node(y0, ps, ST)[0], argnums=(0, 1)))(PS, 1.0)
    assert np.isnan(gradients[0].vector).all()
    assert np.isnan(gradients[1])


def test_a_failed_solve_does_not_raise_inside_a_fit():
    node = lux.NeuralODE(Square(), t1=4.0, max_steps=32)
    with failure_mode("nan"):
        y1, st = jax.jit(node)(1.0, PS, ST)
    assert np.isnan(y1)
    assert st.solution.result == diffrax.RESULTS.max_steps_reached


def test_one_failed_sample_leaves_the_others_unharmed():
    node = lux.NeuralODE(Square(), t1=1.5, max_steps=32, throw=False, rtol=1e-8, atol=1e-8)
    starts = jnp.asarray([1.0, 5.0, -1.0])  # the second is infinite at t = 0.4

    def value(y0, ps):
        y1, st = node(y0, ps, ST)
        return y1, st.solution

    @jax.jit
    def everything(starts):
        return jax.vmap(jax.value_and_grad(value, argnums=(0, 1), has_aux=True), in_axes=(0, None))(starts, PS)

    (values, outcome), (in_start, in_rate) = everything(starts)
    exact = 1.0 / (1.0 - 0.75 * starts)
    failed = np.array([False, True, False])
    np.testing.assert_array_equal(outcome.result == diffrax.RESULTS.max_steps_reached, failed)
    np.testing.assert_array_equal(outcome.result == diffrax.RESULTS.successful, ~failed)
    for got, expected in (
        (values, starts * exact),
        (in_start, exact**2),
        (in_rate.vector[:, 0], 1.5 * (starts * exact) ** 2),
    ):
        np.testing.assert_allclose(got, np.where(failed, np.nan, expected), rtol=1e-6)
