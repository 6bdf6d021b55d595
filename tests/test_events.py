"""Events that end a solve: their times and the derivatives of them, and what an adjoint makes of an event."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from helpers import setup

import sciml_lux as lux
from sciml_lux.solvers import RESULTS

FINDER = optimistix.Newton(1e-12, 1e-12)


class Fall(lux.AbstractLayer):
    """Height and velocity of a body that falls."""

    def initial_parameters(self, key):
        return {"gravity": 9.81}

    def __call__(self, y, ps, st):
        return jnp.stack([y[1], -ps.gravity]), st


def height(t, y, args, **_):
    return y[0]


def falling(**settings):
    event = diffrax.Event(height, FINDER, direction=False)
    node = lux.NeuralODE(Fall(), t1=5.0, event=event, rtol=1e-9, atol=1e-9, **settings)
    return node, *setup(node)


def landing(node, ps, st):
    """Time and speed of the landing of a body dropped from a height, as a function of height and gravity."""

    def value(drop, gravity):
        solution, _ = node.solve(jnp.stack([drop, jnp.zeros(())]), ps.set("model.gravity", gravity), st)
        return jnp.stack([solution.ts[0], solution.ys[0, 1]])

    return value


def exact(drop, gravity):
    return jnp.stack([jnp.sqrt(2.0 * drop / gravity), -jnp.sqrt(2.0 * drop * gravity)])


@pytest.mark.parametrize(
    ("adjoint", "jacobian"),
    [
        ("auto", jax.jacrev),
        pytest.param(diffrax.DirectAdjoint(), jax.jacrev, marks=pytest.mark.slow),
        (diffrax.ForwardMode(), jax.jacfwd),
    ],
)
def test_time_and_state_of_an_event_and_their_derivatives(adjoint, jacobian):
    node, ps, st = falling(adjoint=adjoint, max_steps=64)
    value = landing(node, ps, st)
    both = jax.jit(lambda *of: (value(*of), jacobian(value, argnums=(0, 1))(*of)))
    found, derivatives = both(2.0, 9.81)
    np.testing.assert_allclose(found, exact(2.0, 9.81), rtol=1e-9)
    for got, expected in zip(derivatives, jax.jacfwd(exact, argnums=(0, 1))(2.0, 9.81), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-8)


def test_the_state_says_that_an_event_ended_the_solve_and_times_after_it_are_not_saved():
    node, ps, st = falling()
    solution, new = node.solve(jnp.asarray([2.0, 0.0]), ps, st, ts=[0.2, 0.5, 4.0])
    assert new.solution.result == diffrax.RESULTS.event_occurred
    np.testing.assert_allclose(solution.ys[:2, 0], 2.0 - 9.81 * np.array([0.2, 0.5]) ** 2 / 2, rtol=1e-8)
    assert np.isinf(solution.ts[2])


def test_an_event_that_jumps_and_one_that_ends_agree_on_the_time():
    node, ps, st = falling()
    jumps = lux.JumpODE(
        Fall(), condition=lambda t, y, ps: y[0], direction=False, jump=lambda t, y, ps: -y, max_jumps=1, t1=1.0,
        rtol=1e-9, atol=1e-9,
    )  # fmt: skip
    jump_st = setup(jumps)[1]
    solution, jump_st = jumps.solve(jnp.asarray([2.0, 0.0]), ps, jump_st)
    np.testing.assert_allclose(solution.stats["jump_times"][0], landing(node, ps, st)(2.0, 9.81)[0], rtol=1e-9)
    assert jump_st.solution.result == RESULTS.successful
