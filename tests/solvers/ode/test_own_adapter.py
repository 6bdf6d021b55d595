"""A stochastic adapter made outside of the package, from public hooks alone, as anyone may write one."""

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest
from helpers import bits, directional_difference, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError


class NeuralSDE(lux.solvers.AbstractODE):
    """`dy = model(y) dt + spread(y) dW`, each number with noise of its own: Ito's by `diffrax.Euler()`, Stratonovich's by `EulerHeun()`."""

    is_random = True

    spread: lux.AbstractLayer

    def derivative(self, t, y, params, state, inputs):
        dy, model = self.model(self.model_input(t, y, inputs), params["model"], state["model"])
        return dy, lux.State(model=model, spread=state["spread"])

    def driven_terms(self, solver, start):
        noise = diffrax.VirtualBrownianTree(self.t0, self.t1, self.dt0 / 2, start.y0.shape, start.state["key"])
        diffusion = diffrax.ControlTerm(jax.tree_util.Partial(NeuralSDE.diffusion, self), noise)
        return diffrax.MultiTerm(diffrax.ODETerm(self.terms(solver)), diffusion)

    def diffusion(self, t, y, args):
        params, state, _ = args
        return lineax.DiagonalLinearOperator(self.spread(y, params["spread"], state["spread"])[0])


RATE, SIZE = 1.3, 0.7


class Decay(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"rate": jnp.asarray(RATE)}

    def __call__(self, x, ps, st):
        return -ps.rate * x, st


class Level(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"size": jnp.asarray(SIZE)}

    def __call__(self, x, ps, st):
        return ps.size * jnp.ones_like(x), st


def adapter(**settings):
    return NeuralSDE(Decay(), Level(), **{"dt0": 0.02, "solver": diffrax.Euler(), **settings})


METHODS = [diffrax.Euler(), diffrax.EulerHeun(), diffrax.Heun()]


@pytest.mark.parametrize(
    "solver",
    [
        pytest.param(solver, marks=[pytest.mark.slow] * (i > 0), id=type(solver).__name__)
        for i, solver in enumerate(METHODS)
    ],
)
def test_each_sample_has_a_path_of_its_own_which_is_that_of_its_key(solver):
    settings = {"solver": solver, "stepsize_controller": diffrax.ConstantStepSize()}
    node, alone = adapter(batching="each", **settings), adapter(**settings)
    ps, st = setup(node)
    y0, ts = jnp.ones((3, 2)), jnp.linspace(0.0, 1.0, 5)
    solution, after = jax.jit(node.solve)(y0, ps, st, ts)
    assert len({bits(row)[0] for row in solution.ys[:, -1]}) == 3
    assert np.unique(solution.ys[:, -1]).size == 6  # as has each number of a sample
    keys = node.random_keys(st, 3)
    for key, expected in zip(keys, solution.ys, strict=True):
        found, st_alone = alone.solve(y0[0], ps, setup(alone)[1], ts, key=key)
        np.testing.assert_allclose(found.ys, expected, rtol=1e-12)
        assert bits(st_alone.key) == bits(setup(alone)[1].key)  # from which nothing was drawn
    assert bits(after.key) != bits(st.key)


def test_the_key_of_the_state_advances_once_a_call_and_is_all_that_the_noise_depends_on():
    node = adapter(batching="each")
    ps, st = setup(node)
    y0 = jnp.ones((2, 1))
    first, after = node(y0, ps, st)
    again, same = node(y0, ps, st)
    assert bits((first, after)) == bits((again, same))
    second, later = node(y0, ps, after)
    assert bits(second) != bits(first)
    assert len({bits(state.key)[0] for state in (st, after, later)}) == 3
    # Whichever times are asked for, the path is the same.
    solution, _ = node.solve(y0, ps, st, jnp.asarray([0.5, 1.0]))
    np.testing.assert_allclose(solution.ys[:, -1], first, rtol=1e-12)
    given, kept = node.solve(y0, ps, after, key=node.random_keys(st, 2))
    np.testing.assert_allclose(given.ys[:, -1], first, rtol=1e-12)
    assert bits(kept.key) == bits(after.key)


def test_mean_and_variance_of_an_ornstein_uhlenbeck_process_are_those_of_the_closed_form():
    node, number = adapter(batching="each", dt0=0.01), 2000
    ps, st = setup(node)
    y1 = np.asarray(jax.jit(node)(jnp.full((number, 1), 2.0), ps, st)[0])[:, 0]
    mean, variance = 2.0 * np.exp(-RATE), SIZE**2 * (1 - np.exp(-2 * RATE)) / (2 * RATE)
    # Four standard errors, beside the first-order error of the steps.
    bias = 0.01 * RATE
    assert abs(y1.mean() - mean) < 4 * np.sqrt(variance / number) + bias * mean
    assert abs(y1.var(ddof=1) - variance) < 4 * variance * np.sqrt(2 / number) + bias * variance


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"batching": "each"}, id="each"),
        pytest.param({"batching": "joint"}, id="joint", marks=pytest.mark.slow),
        pytest.param({"batching": "each", "throw": False}, id="failures left out", marks=pytest.mark.slow),
        pytest.param({"batching": "each", "adjoint": diffrax.DirectAdjoint()}, id="direct", marks=pytest.mark.slow),
    ],
)
def test_the_gradient_of_a_loss_along_the_paths_is_the_finite_difference(settings):
    node = adapter(**settings, dt0=0.05, max_steps=32)
    ps, st = setup(node)
    y0 = jnp.asarray([[1.0, 0.5], [-0.4, 2.0]])

    @jax.jit
    def loss(vector):
        return jnp.sum(jnp.sin(node(y0, ps.replace(vector), st)[0]))

    found = jax.jit(jax.grad(loss))(ps.vector)
    for direction in np.eye(2):
        np.testing.assert_allclose(found @ direction, directional_difference(loss, ps.vector, direction), rtol=1e-7)


@pytest.mark.slow
def test_least_squares_and_functions_of_a_trace_around_go_through_it():
    node = adapter(dt0=0.05)
    ps, st = setup(node)
    y0 = jnp.asarray([1.0, -0.5])

    def total(vector):
        return jnp.sum(node(y0, ps.replace(vector), st)[0])

    reverse, forward = (jax.jit(derivative(total))(ps.vector) for derivative in (jax.grad, jax.jacfwd))
    np.testing.assert_allclose(forward, reverse, rtol=1e-10)
    # A driving function that refers to what is differentiated.
    forced = NeuralSDE(lux.WrappedFunction(lambda yu: yu[1] - yu[0]), Level(), dt0=0.05, solver=diffrax.Euler())
    ps, st = setup(forced)
    loss = jax.jit(lambda a: jnp.sum(forced(y0, ps, st, inputs=lambda t: a * jnp.cos(t))[0]))
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(0.3), directional_difference(loss, 0.3, 1.0), rtol=1e-7)


def test_how_it_is_differentiated_can_be_asked_for():
    node = adapter()
    ps, st = setup(node)
    assert "more than time drives" in str(node.choose_adjoint(jnp.ones(1), ps, st))


@pytest.mark.usefixtures("unchecked")
def test_keys_that_cannot_be_are_refused():
    ps, st = setup(adapter())
    key, y0 = jax.random.key(0), jnp.ones((3, 1))
    refused(lambda: adapter().solve(y0, ps, st, key=jax.random.split(key, 3)), ShapeError, "one random key", "(3,)")
    refused(lambda: adapter().solve(y0, ps, st, key=0.5), ShapeError, "one random key", "float")
    many = adapter(batching="each")
    ps, st = setup(many)
    refused(lambda: many.solve(y0, ps, st, key=jax.random.split(key, 2)), ShapeError, "each of 3 samples")
    plain = lux.NeuralODE(Decay())
    ps, st = setup(plain)
    refused(lambda: plain.solve(y0, ps, st, key=key), LayerError, "not", "leave it out")
    heun = adapter(solver=diffrax.Heun())
    refused(lambda: lux.solvers.solve_with_estimates(heun, y0, *setup(heun)), LayerError, "more than time drives")
