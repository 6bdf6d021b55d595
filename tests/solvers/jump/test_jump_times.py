"""`jump_ts`: fields that jump at known times, in every adapter and with every adjoint, against closed forms."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.solvers import ReversibleAdjoint, hold_input

JUMPS = (0.5, 1.25)
LENGTHS = np.array([0.5, 0.75, 0.75])
RATES = np.array([0.8, -1.5, 2.0])


def rate(t, rates):
    return rates[jnp.searchsorted(jnp.asarray(JUMPS, t.dtype), t)]


class Growth(lux.AbstractLayer):
    """`rate(t) y`; of `(x, v)`, `rate(t) v`; as an energy, `rate(t) q p`."""

    kind: str = "first"

    def initial_parameters(self, key):
        return {"rates": RATES}

    def __call__(self, x, ps, st):
        t, y = x
        value = {"first": lambda: y, "second": lambda: y[1], "energy": lambda: y[0] * y[1]}[self.kind]()
        return rate(t, ps.rates) * value, st


# What grows from 1 by the rate.
ADAPTERS = {
    "neural": (lambda **kw: lux.NeuralODE(Growth(), time=True, **kw), jnp.ones(()), lambda y: y),
    "augmented": (lambda **kw: lux.AugmentedODE(Growth(), 1, time=True, **kw), jnp.ones(1), lambda y: y[0]),
    "second order": (lambda **kw: lux.SecondOrderODE(Growth("second"), time=True, **kw), (jnp.ones(()),) * 2, lambda y: y[1]),
    "Hamiltonian": (lambda **kw: lux.HamiltonianODE(Growth("energy"), time=True, **kw), (jnp.ones(()),) * 2, lambda y: y[0]),
    "hybrid": (
        lambda **kw: lux.HybridODE(lambda t, y, terms: rate(t, terms.p.rates) * y, p=lux.ParameterDict(rates=RATES), **kw),
        jnp.ones(()), lambda y: y,
    ),
    "jumping": (lambda **kw: lux.JumpODE(Growth(), time=True, **kw), jnp.ones(()), lambda y: y),
    "stiff": (lambda **kw: lux.NeuralODE(Growth(), time=True, stiff=True, **kw), jnp.ones(()), lambda y: y),
    "own controller": (
        lambda **kw: lux.NeuralODE(Growth(), time=True, stepsize_controller=diffrax.PIDController(1e-5, 1e-6), **kw),
        jnp.ones(()), lambda y: y,
    ),
    "clipped": (
        lambda **kw: lux.NeuralODE(
            Growth(), time=True,
            stepsize_controller=diffrax.ClipStepSizeController(diffrax.PIDController(1e-5, 1e-6), store_rejected_steps=8), **kw
        ),
        jnp.ones(()), lambda y: y,
    ),
}  # fmt: skip
ADJOINTS = {
    "auto": "auto",
    "checkpointed": diffrax.RecursiveCheckpointAdjoint(),
    "direct": diffrax.DirectAdjoint(),
    "forward": diffrax.ForwardMode(),
    "reversible": ReversibleAdjoint(),
}
FAST = ("hybrid", "auto")


@pytest.mark.parametrize(
    ("name", "adjoint"),
    [
        pytest.param(name, adjoint, marks=() if (name, adjoint) == FAST else pytest.mark.slow)
        for name in ADAPTERS
        for adjoint in ADJOINTS
        if (name, adjoint) != ("stiff", "reversible")
    ],
)
def test_value_and_gradient_are_right_to_the_tolerance(name, adjoint):
    make, y0, chosen = ADAPTERS[name]
    node = make(t1=2.0, jump_ts=JUMPS, max_steps=64, adjoint=ADJOINTS[adjoint])
    ps, st = setup(node)

    def value(vector):
        solution, _ = node.solve(y0, ps.replace(vector), st)
        return chosen(node.final(solution)), solution.stats["num_steps"]

    both = lambda vector: (*value(vector), jax.jacfwd(lambda v: value(v)[0])(vector))  # noqa: E731
    if adjoint != "forward":
        both = lambda vector: (*value(vector), jax.grad(lambda v: value(v)[0])(vector))  # noqa: E731
    found, steps, gradient = jax.jit(both)(ps.vector)
    exact = np.exp(RATES @ LENGTHS)
    np.testing.assert_allclose(found, exact, rtol=1e-4)
    np.testing.assert_allclose(gradient, exact * LENGTHS, rtol=2e-4)
    assert steps < 50


@pytest.mark.slow
def test_a_held_input_of_parameters_is_the_same():
    node = lux.HybridODE(lambda t, y, terms, u: u * y, p=lux.ParameterDict(rates=RATES), t1=2.0)
    ps, st = setup(node)
    times = jnp.asarray([0.0, *JUMPS])
    value = lambda ps: node(jnp.ones(()), ps, st, inputs=hold_input(times, ps["p.rates"]))[0]  # noqa: E731
    exact = np.exp(RATES @ LENGTHS)
    np.testing.assert_allclose(jax.grad(value)(ps).vector, exact * LENGTHS, rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("t0", "t1"), [(0.5, 1.25), (0.0, 1.25), (0.5, 2.0), (1.25, 0.5), (1.25, 0.0), (2.0, 0.5)])
def test_a_solve_may_start_and_end_at_jumps(t0, t1, dtype):
    # Evaluated on the wrong side of a jump, a stage would make the step fail down to rounding.
    node = lux.NeuralODE(Growth(), time=True, t0=t0, t1=t1, jump_ts=JUMPS)
    ps, st = setup(node, dtype=dtype)
    solution, _ = jax.jit(node.solve)(jnp.ones((), dtype), ps, st)
    grown = lambda t: RATES @ np.clip(t - np.array([0.0, 0.5, 1.25]), 0.0, LENGTHS)  # noqa: E731
    np.testing.assert_allclose(solution.ys[0], np.exp(grown(t1) - grown(t0)), rtol=1e-4)
    assert solution.stats["num_rejected_steps"] <= 8
    assert solution.stats["num_steps"] < 50


def test_jumps_and_doses_at_the_same_time():
    node = lux.JumpODE(Growth(), time=True, jump_ts=JUMPS, t1=2.0)
    ps, st = setup(node)
    y1, new = jax.jit(lambda doses: node(jnp.zeros(()), ps, st, doses=doses))((jnp.asarray(JUMPS), jnp.ones(2)))
    np.testing.assert_allclose(y1, np.exp(RATES[1:] @ LENGTHS[1:]) + np.exp(RATES[2] * LENGTHS[2]), rtol=1e-4)
    assert new.solution.num_steps < 50


@pytest.mark.usefixtures("unchecked")
def test_times_that_cannot_be_are_refused():
    for settings, part in (
        ({"jump_ts": (1.0, np.inf)}, "jump_ts are finite times, such as jump_ts=(1.0, 2.0)"),
        ({"jump_ts": "1"}, "jump_ts are finite times"),
        ({"jump_ts": [[1.0]]}, "jump_ts are finite times"),
        ({"jump_ts": [1.0], "solver": diffrax.Euler(), "dt0": 0.1}, "met by steps that adapt, and Euler()"),
        (
            {"jump_ts": [1.0], "stepsize_controller": diffrax.ConstantStepSize(), "dt0": 0.1},
            "met by steps that adapt, and ConstantStepSize()",
        ),
    ):
        refused(lambda: lux.NeuralODE(Growth(), **settings), LayerError, "NeuralODE", part)  # noqa: B023
    refused(lambda: lux.SteadyStateODE(Growth(), jump_ts=[1.0]), LayerError, "leave out jump_ts=(1.0,)")
    traced = jax.jit(lambda t: lux.NeuralODE(Growth(), jump_ts=t)(1.0, {}, {}))
    refused(lambda: traced(jnp.ones(1)), LayerError, "inputs=lux.solvers.hold_input(times, values)")
    # Any sequence of times makes the same layer.
    assert lux.NeuralODE(Growth(), jump_ts=np.array([2, 1])) == lux.NeuralODE(Growth(), jump_ts=(1.0, 2.0))
