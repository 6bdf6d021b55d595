"""The one loop over the stages of explicit methods, against the sums that define them."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml_lux.solvers.runge_kutta import stage_points, stages, tableau_of, weighted

METHODS = [
    diffrax.Heun(),
    diffrax.Ralston(),
    diffrax.Bosh3(),
    diffrax.Tsit5(),
    diffrax.Dopri5(),
    diffrax.Dopri8(),
]


def field(t, y):
    return jnp.sin(3.0 * t)[..., None] + jnp.cos(y) * (1.0 + y)


def by_hand(solver, t0, t1, y0):
    tableau, k, points = solver.tableau, [], []
    for row, c in zip([np.zeros(0), *tableau.a_lower], [0.0, *tableau.c], strict=True):
        y = y0 + sum((a * one for a, one in zip(row, k, strict=True)), np.zeros_like(y0))
        points.append(y)
        k.append((t1 - t0) * np.asarray(field(jnp.asarray(t0 + c * (t1 - t0)), jnp.asarray(y))))
    return np.array(k), np.array(points)


@pytest.mark.parametrize("solver", METHODS, ids=lambda solver: type(solver).__name__)
def test_they_are_the_sums_that_define_them_of_one_step_and_of_many(solver):
    tableau = tableau_of(solver)
    starts, ends = jnp.array([0.3, 1.0, 2.0]), jnp.array([0.7, 0.4, 2.0])  # forwards, backwards, and of no length
    states = jnp.array([[0.1, -0.4], [1.0, 2.0], [0.0, 0.5]])
    many, _ = jax.jit(lambda t0, t1, y0: stages(field, tableau, t0, t1, y0))(starts, ends, states)
    _, points = stage_points(tableau, starts, ends, states, many)
    for i in range(3):
        k, at = by_hand(solver, float(starts[i]), float(ends[i]), np.asarray(states[i]))
        one, none = jax.jit(lambda t0, t1, y0: stages(field, tableau, t0, t1, y0))(starts[i], ends[i], states[i])
        assert none is None
        np.testing.assert_allclose(one, k, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(many[:, i], k, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(points[:, i], at, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(weighted(tableau.b, one), solver.tableau.b_sol @ k, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "solver",
    [method for method in METHODS if tableau_of(method).reuses_last_stage()],
    ids=lambda solver: type(solver).__name__,
)
def test_a_first_slope_that_is_known_is_not_computed_and_the_last_is_returned(solver):
    tableau = tableau_of(solver)
    t0, t1, y0 = jnp.asarray(0.3), jnp.asarray(0.7), jnp.array([0.1, -0.4])
    k, _ = stages(field, tableau, t0, t1, y0)
    again, last = stages(field, tableau, t0, t1, y0, field(t0, y0))
    np.testing.assert_allclose(again, k, rtol=1e-15)
    np.testing.assert_allclose(last, field(t1, y0 + weighted(tableau.b, k)), rtol=1e-13)


def test_no_stage_is_beyond_the_end():
    """`t0 + (t1 - t0)` is `t1` but for rounding, and the field need not be known there."""
    rng = np.random.default_rng(0)
    starts, ends = rng.uniform(-1.0, 0.0, 200), rng.uniform(0.0, 1.0, 200)
    assert np.any(starts + (ends - starts) > ends)

    def known_until_the_end(t, y):
        return jnp.where(t <= ends, 0.0, jnp.nan)[:, None] + 0.0 * y

    k, _ = stages(
        known_until_the_end, tableau_of(diffrax.Tsit5()), jnp.asarray(starts), jnp.asarray(ends), jnp.zeros((200, 1))
    )
    assert np.isfinite(k).all()
