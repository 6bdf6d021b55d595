"""Events that end a solve: their times and the derivatives of them, and what an adjoint makes of an event."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import ShapeError
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


# Located without a root finder


def second_order(event, **settings):
    model = lux.WrappedFunction(lambda x_v: -9.81 + 0.0 * x_v[0])
    return lux.SecondOrderODE(model, event=event, **settings), lambda drop: (drop, 0.0 * drop)


def hamiltonian(event, **settings):
    model = lux.WrappedFunction(lambda q_p: 9.81 * q_p[0] + q_p[1] ** 2 / 2)
    return lux.HamiltonianODE(model, event=event, **settings), lambda drop: (drop, 0.0 * drop)


def hybrid(event, **settings):
    field = lambda t, y, terms: jnp.stack([y[1], -terms.p.gravity])  # noqa: E731
    return lux.HybridODE(field, p=lux.ParameterDict(gravity=9.81), event=event, **settings), as_vector


def neural(event, **settings):
    return lux.NeuralODE(Fall(), event=event, **settings), as_vector


def augmented(event, **settings):
    model = lux.WrappedFunction(lambda y: jnp.stack([y[1], -9.81 + 0.0 * y[0], 0.0 * y[0]]))
    return lux.AugmentedODE(model, 1, event=event, **settings), as_vector


def as_vector(drop):
    return jnp.stack([drop, 0.0 * drop])


CONDITIONS = {
    "boolean": lambda t, y, args, **_: jax.tree.leaves(y)[0].ravel()[0] < 0.0,
    "real": lambda t, y, args, **_: jax.tree.leaves(y)[0].ravel()[0],
}
MEMBERS = [
    pytest.param(
        make, kind, marks=() if (make, kind) == (neural, "real") else pytest.mark.slow, id=f"{make.__name__}, {kind}"
    )
    for make in (neural, augmented, second_order, hamiltonian, hybrid)
    for kind in CONDITIONS
]


@pytest.mark.parametrize(("make", "kind"), MEMBERS)
def test_an_event_is_located_in_every_adapter_and_its_time_differentiated_or_the_derivative_refused(make, kind):
    node, start = make(diffrax.Event(CONDITIONS[kind]), t1=5.0, rtol=1e-9, atol=1e-9)
    ps, st = setup(node)
    time = lambda drop: node.solve(start(drop), ps, st)[0].ts[0]  # noqa: E731
    exact = lambda drop: jnp.sqrt(2.0 * drop / 9.81)  # noqa: E731
    drop = jnp.asarray(2.0)
    if kind == "real":
        found, derivative = jax.jit(jax.value_and_grad(time))(drop)
        np.testing.assert_allclose(derivative, jax.grad(exact)(drop), rtol=1e-8)
    else:
        found = jax.jit(time)(drop)
        with pytest.raises(RuntimeError, match="return a real number that changes sign there, such as"):
            jax.eval_shape(jax.grad(time), drop)
    np.testing.assert_allclose(found, exact(drop), rtol=1e-9)


@pytest.mark.slow
def test_the_first_of_several_conditions_ends_the_solve():
    slow, late = lambda t, y, args, **_: y[1] + 3.0, lambda t, y, args, **_: t - 4.0
    for some, expected in (
        ((CONDITIONS["boolean"], late), np.sqrt(4.0 / 9.81)),
        ((slow, CONDITIONS["boolean"]), 3.0 / 9.81),
    ):
        node, start = neural(diffrax.Event(some), t1=5.0)
        ps, st = setup(node)
        np.testing.assert_allclose(node.solve(start(jnp.asarray(2.0)), ps, st)[0].ts, [expected], rtol=1e-5)


@pytest.mark.slow
def test_a_condition_sees_the_time_of_the_equation_in_a_solve_backwards():
    for condition in (lambda t, y, args, **_: t - 1.3, lambda t, y, args, **_: t < 1.3):
        node, start = neural(diffrax.Event(condition), t0=2.0, t1=0.0)
        ps, st = setup(node)
        np.testing.assert_allclose(node.solve(start(jnp.asarray(2.0)), ps, st)[0].ts, [1.3], rtol=1e-12)


@pytest.mark.slow
def test_an_event_of_no_slope_has_a_derivative_that_is_not_finite_and_raises_nothing():
    node, start = neural(diffrax.Event(lambda t, y, args, **_: y[0] ** 3), t1=5.0, throw=False)
    ps, st = setup(node)
    derivative = jax.grad(lambda drop: node.solve(start(drop), ps, st)[0].ts[0])(jnp.asarray(2.0))
    assert not np.isfinite(derivative) or abs(derivative - np.sqrt(1 / 2 / 2 / 9.81)) < 1e-2


@pytest.mark.usefixtures("unchecked")
def test_a_condition_that_is_neither_is_refused():
    node, start = neural(diffrax.Event(lambda t, y, args, **_: y), t1=5.0)
    ps, st = setup(node)
    refused(lambda: node(start(jnp.asarray(2.0)), ps, st), ShapeError, "or a truth value, got float64[2]")
