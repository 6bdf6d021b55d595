"""A solver's estimates of error and stiffness: what they are for a linear equation, their derivatives, and what training on them saves."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import directional_difference, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.solvers import solve_with_estimates
from sciml_lux.training.strategies import TrajectoryLoss, series

Y0 = jnp.array([1.0, 0.5])
FIXED = {"dt0": 0.25, "stepsize_controller": diffrax.ConstantStepSize(), "t1": 2.0}


def test_the_stiffness_of_a_linear_equation_is_its_rate():
    node = lux.NeuralODE(lux.Dense(1, 1, use_bias=False), t1=2.0)
    ps, st = setup(node)
    ps = ps.set("model.weight", jnp.array([[-3.0]]))
    solution, _ = jax.jit(lambda ps: solve_with_estimates(node, jnp.ones(1), ps, st))(ps)
    np.testing.assert_allclose(solution.stats["stiffness_estimate"], 3.0 * 2.0, rtol=1e-6)


def test_the_error_is_that_of_the_embedded_formula():
    node = lux.NeuralODE(lux.Dense(1, 1, use_bias=False), solver=diffrax.Heun(), rtol=0.0, atol=1e-3, **FIXED)
    ps, st = setup(node)
    ps = ps.set("model.weight", jnp.array([[-1.0]]))
    solution, _ = solve_with_estimates(node, jnp.ones(1), ps, st)
    # Heun's method with Euler's in it: y -> (1 - h + h^2 / 2) y, and the two differ by h^2 / 2 y.
    h, factor = 0.25, 1 - 0.25 + 0.25**2 / 2
    expected = sum(h * (h**2 / 2) * factor**n / 1e-3 for n in range(8))
    np.testing.assert_allclose(solution.stats["error_estimate"], expected, rtol=1e-9)
    assert "stiffness_estimate" not in solution.stats


NODE = lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), **FIXED)
PS, ST = setup(NODE)


@functools.partial(jax.jit, static_argnums=1)
def both(vector, steps=32):
    stats = solve_with_estimates(NODE, Y0, PS.replace(vector), ST, ts=jnp.array([0.0, 0.7, 2.0]), steps=steps)[0].stats
    return jnp.stack([stats["error_estimate"], stats["stiffness_estimate"]])


def test_their_gradients_are_finite_differences():
    # With steps of one size nothing but the states and the stages depends on the parameters.
    direction = jnp.cos(jnp.arange(PS.vector.size, dtype=float))
    jacobian = jax.jit(jax.jacrev(both))(PS.vector)
    for i in range(2):
        # The error is what is left of two nearly equal numbers, and its differences of shorter steps are their rounding.
        difference = directional_difference(lambda v, i=i: both(v)[i], PS.vector, direction, step=1e-4)
        np.testing.assert_allclose(jacobian[i] @ direction, difference, rtol=2e-4)


@pytest.mark.slow
def test_some_steps_stand_for_all():
    every = both(PS.vector)
    np.testing.assert_allclose(both(PS.vector, 8), every, rtol=1e-12)
    np.testing.assert_allclose(both(PS.vector, 4), every, rtol=0.3)


@pytest.mark.slow
def test_the_solution_is_the_one_without_estimates():
    ts = jnp.array([0.0, 0.7, 2.0])
    solution, st = solve_with_estimates(NODE, Y0, PS, ST, ts=ts)
    plain, plain_st = NODE.solve(Y0, PS, ST, ts=ts)
    np.testing.assert_allclose(solution.ys, plain.ys, rtol=1e-13)
    np.testing.assert_array_equal(solution.ts, ts)
    assert st["solution.num_steps"] == plain_st["solution.num_steps"]


@pytest.mark.slow
def test_training_on_them_saves_steps_at_equal_loss():
    network = lux.Chain(lux.Dense(2, 8, jnp.tanh, init_weight=lux.init.normal(1.5)), lux.Dense(8, 2))
    node = lux.NeuralODE(network, rtol=1e-7, atol=1e-7)
    ps, st = setup(node)
    # Where the flow ends is prescribed, not how it gets there.
    data = series([0.0, 1.0], [[np.nan] * 2, [-0.5, 1.0]], y0=np.asarray(Y0))
    solve = functools.partial(solve_with_estimates, node)

    def loss(ps, st, data):
        data, (error, stiffness) = data
        penalty = lambda s: error * s.stats["error_estimate"] + stiffness * s.stats["stiffness_estimate"]  # noqa: E731
        return TrajectoryLoss(node, solve=solve, penalty=penalty)(ps, st, data)

    steps, adam = [], optax.adam(2e-2)
    for weights in ((0.0, 0.0), (1e-2, 0.0), (0.0, 1e-2)):
        penalized = lux.fit(loss, ps, st, adam, steps=200, data=(data, weights))
        fitted = lux.fit(loss, penalized.ps, st, adam, steps=100, data=(data, (0.0, 0.0)))
        value, new = TrajectoryLoss(node)(fitted.ps, st, data)
        assert value < 1e-5
        steps.append(int(new["solution.num_steps"]))
    plain, *regularized = steps
    assert max(regularized) < 0.7 * plain, steps


def test_the_steps_are_those_of_the_very_solve():
    """Onto the jumps of a held input, too, which here changes nothing else."""
    decay = lux.WrappedFunction(lambda y_and_u: -y_and_u[0] + 0 * y_and_u[1])
    node = lux.NeuralODE(decay, solver=diffrax.Heun(), rtol=0.0, atol=1e-3, t1=2.0)
    ps, st = setup(node)
    inputs = lux.solvers.hold_input(np.arange(0.0, 2.0, 0.3), np.ones((7, 1)))
    solution, _ = solve_with_estimates(node, jnp.ones(1), ps, st, inputs=inputs, steps=64)
    saveat = diffrax.SaveAt(t0=True, steps=True)
    steps, _ = node.solve(jnp.ones(1), ps, st, inputs=inputs, saveat=saveat)
    number = int(steps.stats["num_accepted_steps"])
    assert solution.stats["num_accepted_steps"] == number
    h, y = np.diff(steps.ts[: number + 1]), steps.ys[:number, 0]
    np.testing.assert_allclose(solution.stats["error_estimate"], np.sum(h * h**2 / 2 * y / 1e-3), rtol=1e-6)


def test_each_sample_has_estimates_of_its_own():
    settings = {"rtol": 1e-6, "atol": 1e-6, "t1": 2.0}
    each = lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), batching="each", **settings)
    alone = lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), **settings)
    (ps, st), (_, alone_st) = setup(each), setup(alone)
    y0 = jnp.array([[1.0, 0.5], [30.0, -2.0], [0.0, 0.0]])
    ts = jnp.array([[0.1, 1.0, 1.7], [0.0, 0.5, 2.0], [0.3, 0.3, 0.4]])
    solution, _ = jax.jit(lambda y0, ts: solve_with_estimates(each, y0, ps, st, ts=ts))(y0, ts)
    plain, _ = each.solve(y0, ps, st, ts=ts)
    np.testing.assert_allclose(solution.ys, plain.ys, rtol=1e-12)
    np.testing.assert_array_equal(solution.ts, ts)
    one = jax.jit(lambda y0, ts: solve_with_estimates(alone, y0, ps, alone_st, ts=ts)[0].stats)
    for i in range(3):
        for name in ("error_estimate", "stiffness_estimate"):
            np.testing.assert_allclose(solution.stats[name][i], one(y0[i], ts[i])[name], rtol=1e-9)


def test_times_that_cannot_be_are_refused_as_by_a_solve():
    refused(lambda: solve_with_estimates(NODE, Y0, PS, ST, ts=[1.0, 0.5]), lux.ShapeError, "sorted")


@pytest.mark.parametrize(
    ("node", "part"),
    [
        (lux.NeuralODE(lux.Dense(2, 2), stiff=True), "implicit"),
        (lux.NeuralODE(lux.Dense(2, 2), solver=diffrax.Euler(), **FIXED), "Euler"),
        (lux.NeuralODE(lux.Dense(2, 2), event=diffrax.Event(lambda t, y, args, **kwargs: y[0])), "events"),
        (lux.AugmentedODE(lux.Dense(3, 3), 1), "AugmentedODE"),
        (lux.JumpODE(lux.Dense(2, 2)), "JumpODE"),
    ],
)
def test_a_solve_without_estimates_is_refused(node, part):
    refused(lambda: solve_with_estimates(node, Y0, *setup(node)), LayerError, part)


def test_a_number_of_steps_that_cannot_be_is_refused(unchecked):
    refused(lambda: solve_with_estimates(NODE, Y0, PS, ST, steps=0), LayerError, "steps")


def test_a_hybrid_whose_solution_is_its_state_has_estimates():
    rates = lux.ParameterDict(rate=lux.positive(1.0))
    node = lux.HybridODE(lambda t, y, terms: -terms.rates.rate * y, rates=rates, t1=2.0)
    ps, st = setup(node)
    solution, _ = solve_with_estimates(node, jnp.ones(1), ps, st)
    np.testing.assert_allclose(solution.stats["stiffness_estimate"], 2.0, rtol=1e-6)
