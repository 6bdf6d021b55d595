"""Scaled, and tolerances for each component: the same solve in any units, and errors below what was asked for."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError

SCALE, TIME = (2.0**-20, 2.0**8), 2.0**11  # powers of 2, by which products are exact


def made(node):
    return node, *setup(node)


@pytest.mark.parametrize("solver", [diffrax.Tsit5(), diffrax.Kvaerno3()])
def test_a_solve_in_physical_units_is_the_dimensionless_one(solver):
    # With its first step: what diffrax would choose for one changes with the unit of time.
    network = lux.MLP(2, (4,), 2, jnp.tanh)
    plain, ps, st = made(lux.NeuralODE(network, t1=4.0, dt0=0.1, rtol=1e-5, atol=1e-7, solver=solver))
    settings = {"t1": 4.0 * TIME, "dt0": 0.1 * TIME, "rtol": 1e-5, "atol": tuple(1e-7 * scale for scale in SCALE)}
    physical, _, st2 = made(lux.NeuralODE(lux.Scaled(network, SCALE, time=TIME), solver=solver, **settings))
    y0, ts = jnp.asarray([0.8, -1.2]), np.array([0.5, 4.0])
    expected, st = plain.solve(y0, ps, st, ts=ts)
    params = {"model": {"model": ps.model}}
    got, st2 = physical.solve(y0 * jnp.asarray(SCALE), params, st2, ts=TIME * ts)
    np.testing.assert_allclose(got.ys, expected.ys * np.asarray([SCALE]), rtol=1e-12)
    assert st2.solution.num_steps == st.solution.num_steps > 3


def test_the_first_step_is_chosen_in_the_same_units():
    network = lux.MLP(2, (4,), 2, jnp.tanh)
    plain, ps, st = made(lux.NeuralODE(network, t1=4.0, rtol=1e-5, atol=1e-7))
    atol = tuple(1e-7 * scale for scale in SCALE)
    physical, _, st2 = made(lux.NeuralODE(lux.Scaled(network, SCALE), t1=4.0, rtol=1e-5, atol=atol))
    y0 = jnp.asarray([0.8, -1.2])
    got, _ = physical(y0 * jnp.asarray(SCALE), {"model": {"model": ps.model}}, st2)
    np.testing.assert_allclose(got, plain(y0, ps, st)[0] * np.asarray(SCALE), rtol=1e-12)


def test_the_formula():
    class Square(lux.AbstractLayer):
        def __call__(self, x, ps, st):
            t, y = x
            return t * y**2, st

    layer, ps, st = made(lux.Scaled(Square(), scale=(2.0, (1.0, 10.0)), shift=(0.0, 1.0), outputs=(3.0, 5.0), time=4.0))
    x = (jnp.asarray(6.0), jnp.asarray([[4.0, 21.0], [1.0, 1.0]]))
    np.testing.assert_allclose(layer(x, ps, st)[0], [[3.0 / 4 * 3 * 9, 5.0 / 4 * 3 * 4], [0.0, 0.0]])


def badly_scaled(t, y, terms):
    """Two oscillators of the same kind, one 10^8 times smaller: a concentration beside a temperature."""
    return jnp.stack([y[1], -25.0 * y[0], y[3], -25.0 * y[2]])


def test_each_component_meets_its_own_tolerance():
    small = 1e-8
    exact = np.array([np.cos(50.0), -5.0 * np.sin(50.0)])
    exact = np.concatenate([small * exact, np.array([1.0, 0.0])])
    # The large part stays near rest, so that the small one alone needs the steps.
    y0 = jnp.asarray([small, 0.0, 0.0, 0.0])

    def error(atol):
        node, ps, st = made(lux.HybridODE(badly_scaled, t1=10.0, rtol=1e-6, atol=atol))
        return np.abs(node(y0, ps, st)[0][:2] - exact[:2]).max() / small

    assert error(1e-6) > 0.1  # any size of step is within a tolerance that is larger than the solution
    assert error((1e-6 * small, 1e-6 * small, 1e-6, 1e-6)) < 1e-2


def test_a_tree_has_a_tolerance_for_each_leaf():
    def field(t, y, terms):
        return {"large": -y["large"], "small": -3.0 * y["small"]}

    y0 = {"large": jnp.asarray([1.0, 2.0]), "small": jnp.asarray(1e-8)}

    def error(**settings):
        node, ps, st = made(lux.HybridODE(field, t1=1.0, rtol=1e-6, **settings))
        y1, st = node(y0, ps, st)
        return float(abs(y1["small"] / 1e-8 - np.exp(-3.0))), int(st.solution.num_steps)

    error_of_tree, steps = error(atol=((1e-7, 1e-7), 1e-15))
    assert error_of_tree < 1e-5
    # The path that keeps a tree and the one that makes it a vector take the same steps.
    assert error(atol=((1e-7, 1e-7), 1e-15), adjoint=diffrax.DirectAdjoint()) == pytest.approx((error_of_tree, steps))


def test_equal_tolerances_are_a_single_one():
    y0 = jnp.asarray([0.8, -1.2])
    ends = []
    for atol in (1e-7, (1e-7, 1e-7)):
        node, ps, st = made(lux.NeuralODE(lux.MLP(2, (4,), 2, jnp.tanh), t1=4.0, atol=atol))
        ends.append(node(y0, ps, st)[0])
    np.testing.assert_array_equal(*ends)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused():
    dense = lux.Dense(2, 2)
    for atol in ((), (1e-6, 0.0), ("a", 1e-6), (1e-6, None), -1.0):
        refused(lambda: lux.NeuralODE(dense, atol=atol), LayerError, "atol", str(atol))  # noqa: B023
    node, ps, st = made(lux.NeuralODE(dense, atol=(1e-6, 1e-6, 1e-6)))
    refused(lambda: node(jnp.ones(2), ps, st), ShapeError, "NeuralODE: atol=", "(2,)", "last axis")
    for scale in (0.0, (1.0, 0.0), "1", (1.0, None), float("nan"), True):
        refused(lambda: lux.Scaled(dense, scale), LayerError, "Scaled: scale", repr(scale))  # noqa: B023
    refused(lambda: lux.Scaled(dense, 1.0, time=(1.0, 2.0)), LayerError, "Scaled: time is a number")
    layer, ps, st = made(lux.Scaled(dense, (1.0, 2.0, 3.0)))
    refused(lambda: layer(jnp.ones(2), ps, st), ShapeError, "Scaled: scale=(1.0, 2.0, 3.0)", "(2,)")
    layer, ps, st = made(lux.Scaled(lux.Dense(2, 3), (1.0, 2.0)))
    refused(lambda: layer(jnp.ones(2), ps, st), ShapeError, "Scaled: outputs, by default scale")
