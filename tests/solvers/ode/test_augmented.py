"""AugmentedODE: what a flow can map to what, with extra dimensions and without; and the layers' state through a solve."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
XS = jnp.asarray([[-2.0], [-0.3], [0.1], [1.5]])


class Rotation(lux.AbstractLayer):
    """By half a turn in a unit of time, about the last axis of two numbers."""

    def __call__(self, y, ps, st):
        return jnp.pi * jnp.stack([-y[..., 1], y[..., 0]], axis=-1), st


def test_a_neural_ode_keeps_the_order_of_the_line():
    node = lux.NeuralODE(lux.MLP(1, (8,), 1, jnp.tanh), t1=2.0)
    ps, st = setup(node)
    vectors = 2.0 * jax.random.normal(jax.random.key(1), (20, ps.vector.size))
    ends = jax.jit(jax.vmap(lambda vector: node(XS, ps.replace(vector), st)[0]))(vectors)
    assert (jnp.diff(ends[..., 0], axis=1) > 0).all()


def test_an_augmented_one_maps_x_to_minus_x():
    node = lux.AugmentedODE(Rotation(), 1, **TIGHT)
    ps, st = setup(node)
    np.testing.assert_allclose(node(XS, ps, st)[0], -XS, rtol=1e-8)
    ts = [0.0, 0.25, 1.0]
    solution, _ = node.solve(XS, ps, st, ts=ts)
    np.testing.assert_allclose(solution.ys, [np.cos(np.pi * t) * XS for t in ts], rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_it_learns_what_a_neural_ode_cannot():
    # Of the maps that keep the order of the line, the nearest to x -> -x is a constant, whose loss is the variance.
    xs = jnp.linspace(-2.0, 2.0, 25)[:, None]

    def residual(node):
        return lambda ps, st, xs: ((node(xs, ps, st)[0] + xs).ravel(), st)

    def loss_after(node):
        ps, st = setup(node)
        result = lux.estimation.least_squares(residual(node), ps, st, xs, throw=False)
        return float(jnp.mean(residual(node)(result.ps, st, xs)[0] ** 2))

    settings = {"rtol": 1e-4, "atol": 1e-5}
    assert loss_after(lux.NeuralODE(lux.MLP(1, (4,), 1, jnp.tanh), **settings)) >= 0.99 * float(jnp.var(xs))
    assert loss_after(lux.AugmentedODE(lux.MLP(2, (4,), 2, jnp.tanh), 1, **settings)) < 1e-3


def test_the_extra_numbers_may_be_made_by_a_layer_and_kept():
    class Halves(lux.AbstractLayer):
        def __call__(self, y, ps, st):
            return 0.5 * y, st

    node = lux.AugmentedODE(Rotation(), 1, initial=Halves(), keep=True, **TIGHT)
    ps, st = setup(node)
    t = 0.2
    solution, _ = node.solve(XS, ps, st, ts=[t])
    c, s = np.cos(np.pi * t), np.sin(np.pi * t)
    expected = np.concatenate([(c - 0.5 * s) * XS, (s + 0.5 * c) * XS], axis=-1)
    np.testing.assert_allclose(solution.ys[0], expected, rtol=1e-8)


def test_what_a_user_saves_is_made_of_the_whole_state():
    node = lux.AugmentedODE(Rotation(), 1, **TIGHT)
    ps, st = setup(node)
    radius = diffrax.SubSaveAt(t1=True, fn=lambda t, y, args: jnp.linalg.norm(y, axis=-1))
    solution, _ = node.solve(XS, ps, st, saveat=diffrax.SaveAt(subs=(diffrax.SubSaveAt(t0=True), radius)))
    np.testing.assert_allclose(solution.ys[0][0], XS)
    np.testing.assert_allclose(solution.ys[1][0], jnp.abs(XS[:, 0]), rtol=1e-8)


class Noisy(lux.AbstractLayer):
    """A number from the key in its state, for each row."""

    features: int

    def initial_states(self, key):
        return {"key": key, "calls": jnp.zeros((), jnp.int32)}

    def __call__(self, y, ps, st):
        now, later = jax.random.split(st.key)
        return jax.random.normal(now, (*y.shape[:-1], self.features)), st.set("key", later).set("calls", st.calls + 1)


def test_masks_are_constant_during_a_solve_and_advance_once():
    # With a constant derivative the end is the start plus one draw, whatever the number of steps.
    node = lux.AugmentedODE(
        Noisy(3), 2, initial=Noisy(2), keep=True, dt0=0.01, stepsize_controller=diffrax.ConstantStepSize()
    )
    ps, st = setup(node)
    call = jax.jit(node)
    for number in range(2):
        start, rate = (
            jax.random.normal(jax.random.split(st[name].key)[0], (4, size))
            for name, size in (("initial", 2), ("model", 3))
        )
        y1, st = call(XS, ps, st)
        assert st.solution.num_steps == 100
        np.testing.assert_allclose(y1, jnp.concatenate([XS, start], axis=-1) + rate, rtol=1e-10)
        assert (st.model.calls, st.initial.calls) == (number + 1, number + 1)


def test_dropout_drops_the_same_units_all_along():
    node = lux.AugmentedODE(lux.Chain(jnp.ones_like, lux.Dropout(0.5)), 20, keep=True, dt0=0.05)
    ps, st = setup(node)
    y1, st = node(jnp.zeros(2), ps, st)
    drawn = np.unique(np.asarray(y1).round(8))
    np.testing.assert_allclose(drawn, [0.0, 2.0])
    again, _ = node(jnp.zeros(2), ps, st)
    assert (again != y1).any()
    np.testing.assert_allclose(node(jnp.zeros(2), ps, lux.test_mode(st))[0], 1.0, rtol=1e-8)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused():
    for dimensions in (0, 1.5, True, "2"):
        refused(lambda: lux.AugmentedODE(Rotation(), dimensions), LayerError, "dimensions", repr(dimensions))  # noqa: B023
    node = lux.AugmentedODE(Rotation(), 1)
    ps, st = setup(node)
    refused(lambda: node(1.0, ps, st), ShapeError, "last axis", "y0[None]")
    node = lux.AugmentedODE(Rotation(), 1, initial=lux.Dense(1, 2))
    ps, st = setup(node)
    refused(lambda: node(XS, ps, st), ShapeError, "initial returned float64[4, 2]", "float64[4, 1]")
