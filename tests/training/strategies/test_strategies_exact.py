"""The exact model has no loss, however its series is cut, driven, stacked or padded; and no series depends on another."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused
from members.trajectories import TRAJECTORIES

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.core import with_fields
from sciml_lux.training.strategies import (
    Collocation,
    CollocationLoss,
    MultipleShooting,
    ShootingLoss,
    TrajectoryLoss,
    collocate_spline,
    growing_horizon,
    series,
    stack_series,
    windows,
)

MEMBERS = {member.name: member for member in TRAJECTORIES}
value = jax.jit(lambda loss, ps, st, data: loss(ps, st, data)[0], static_argnums=0)
gradient = jax.jit(lambda loss, ps, st, data: jax.grad(lambda ps: loss(ps, st, data)[0])(ps).vector, static_argnums=0)


def given(member):
    return {name: getattr(member, name) for name in ("doses", "inputs") if getattr(member, name) is not None}


@functools.cache
def exact(name):
    """The member, its parameters and state, its states at all times, and what is observed of them."""
    member = MEMBERS[name]
    ps, st = lux.setup(jax.random.key(0), member.node)
    alone = with_fields(member.node, batching="joint")
    solution, _ = alone.solve(
        jax.tree.map(jnp.asarray, member.y0), *lux.setup(jax.random.key(0), alone), ts=member.ts, **given(member)
    )
    states = jax.tree.map(np.asarray, solution.ys)
    return member, ps, st, states, states if member.observation is None else np.asarray(states[0])


def whole(member, states, observed):
    return series(member.ts, observed, y0=member.y0, **given(member))


def measured(member, states, observed):
    return series(member.ts, observed, **given(member))


def in_windows(length, stride=None):
    return lambda *known: windows(whole(*known), length, stride=stride, starts=known[1])


def horizon(member, states, observed):
    return next(growing_horizon(whole(member, states, observed), [member.ts[6], member.ts[-1]], 1))


def stacked(member, states, observed):
    short = series(member.ts[:4], observed[:4], y0=member.y0, **given(member))
    return stack_series([short, whole(member, states, observed)])


STRATEGIES = {
    "whole": whole,
    "measured": measured,
    "windows of two": in_windows(2),
    "windows": in_windows(4),
    "overlapping windows": in_windows(4, 2),
    "horizon": horizon,
    "stacked": stacked,
}
FAST = {("doses", "windows")}


def unknown_within(member, strategy):
    """Whether a strategy starts where the state of a member is not known."""
    # A start that is made of what is given is not what is measured there.
    other = isinstance(member.y0, tuple) or getattr(member.node, "initial", None) is not None
    return ("windows" in strategy and member.hidden) or (strategy == "measured" and other)


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        pytest.param(name, strategy, marks=[] if (name, strategy) in FAST else [pytest.mark.slow])
        for name, member in MEMBERS.items()
        for strategy in STRATEGIES
        if not unknown_within(member, strategy)
    ],
)
def test_the_exact_model_has_no_loss(name, strategy):
    member, ps, st, states, observed = exact(name)
    data = STRATEGIES[strategy](member, states, observed)
    found = value(TrajectoryLoss(member.node, observation=member.observation), ps, st, data)
    assert found < 1e-14, found


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name == "second order" else [pytest.mark.slow])
    for name, member in MEMBERS.items() if not member.hidden
])  # fmt: skip
def test_segments_of_the_exact_model_meet_and_have_no_loss(name):
    member, _, _, states, observed = exact(name)
    data = windows(whole(member, states, observed), 4, starts=states)
    shape = (sum(map(np.size, member.y0)),) if isinstance(member.y0, tuple) else member.y0.shape
    shooting = MultipleShooting(member.node, len(data.ts), *shape)
    ps, st = lux.setup(jax.random.key(0), shooting)
    loss = ShootingLoss(shooting, observation=member.observation)
    found, _, stats = jax.jit(loss)(shooting.start_from(ps, data), st, data)
    assert stats["defect"] < 1e-7
    assert found < 1e-14, found


@pytest.mark.parametrize("name", [name for name, member in MEMBERS.items() if member.hidden])
def test_what_hides_its_state_is_refused_where_a_series_is_cut(name):
    member, ps, st, states, observed = exact(name)
    loss, cut = TrajectoryLoss(member.node), windows(whole(member, states, observed), 4)
    refused(lambda: loss(ps, st, cut), LayerError, type(member.node).__name__, "starts=", "observation=")
    refused(lambda: MultipleShooting(member.node, 2, 1), LayerError, "hidden")
    refused(lambda: CollocationLoss(member.node), LayerError, "hidden")


@pytest.mark.slow
def test_hidden_states_are_fitted_in_windows_as_the_message_says():
    member, ps, _, _, observed = exact("augmented")
    node = lux.NeuralODE(member.node.model, t1=4.0, rtol=1e-9, atol=1e-9)
    st = lux.setup(jax.random.key(0), node)[1]
    states = np.asarray(node.solve(jnp.array([1.0, 0.0]), ps, st, ts=member.ts)[0].ys)
    loss = TrajectoryLoss(node, observation=lambda y: y[:1])
    data = windows(series(member.ts, observed, y0=states[0]), 4, starts=states)
    assert loss(ps, st, data)[0] < 1e-14


def test_a_start_and_an_observation_are_made_of_what_was_measured():
    """A spring at rest, of which the position was measured."""
    member, ps, st, _, observed = exact("second order")
    data = series(member.ts, observed)
    loss = TrajectoryLoss(
        member.node,
        initial=lambda x: (x, jnp.zeros_like(x)),
        observation=member.observation,
        error=lux.losses.squared_error,
    )
    assert jax.jit(loss)(ps, st, data)[0] < 1e-14


# Neighbours, padding, adjoints


def drugs(order, y0s=(1.0, 0.4, 0.7), lengths=(4, 11, 6)):
    """Three series, each with a start, times and doses of its own."""
    member, _, _, _, observed = exact("doses")
    doses = (np.array([2.0]), np.ones((1, 1)))
    more = (np.array([0.5, 3.15, 1.1]), np.array([[0.3], [0.2], [0.9]]))
    parts = [
        series(member.ts[:length], observed[:length] + 0.1, y0=np.array([y0]), doses=more if number == 1 else doses)
        for number, (y0, length) in enumerate(zip(y0s, lengths, strict=True))
    ]
    return stack_series([parts[i] for i in order])


def only(data, index):
    """The batch in which one series counts."""
    mask = np.zeros_like(data.mask)
    mask[index] = data.mask[index]
    return data._replace(mask=mask)


def test_no_series_depends_on_its_neighbours_or_on_padding():
    member, ps, st, _, _ = exact("doses")
    loss = TrajectoryLoss(member.node)
    both = lambda data: (value(loss, ps, st, data), gradient(loss, ps, st, data))  # noqa: E731
    reference = both(only(drugs([0, 1, 2]), 1))
    others = {
        "other neighbours": only(drugs([0, 1, 2], y0s=(50.0, 0.4, -3.0), lengths=(11, 11, 2)), 1),
        "another place": only(drugs([1, 2, 0]), 0),
    }
    padded = only(drugs([0, 1, 2]), 1)
    padded.ys[0, 4:] = 1e30
    others["other padding"] = padded
    for what, data in others.items():
        for found, expected in zip(both(data), reference, strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=what)


@pytest.mark.slow
def test_no_series_depends_on_the_size_of_the_batch():
    member, ps, st, _, _ = exact("doses")
    loss = TrajectoryLoss(member.node)
    for index, length in enumerate((4, 11, 6)):
        batch = drugs([0, 1, 2])
        alone = jax.tree.map(lambda leaf, index=index: leaf[index], batch)
        alone = alone._replace(ts=alone.ts[:length], ys=alone.ys[:length], mask=alone.mask[:length])
        for function in (value, gradient):
            found = function(loss, ps, st, only(batch, index))
            np.testing.assert_allclose(found, function(loss, ps, st, alone), rtol=1e-12)


ADJOINTS = [diffrax.RecursiveCheckpointAdjoint(), diffrax.DirectAdjoint(), lux.solvers.ReversibleAdjoint()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "switched", "doses", "doses, events and inputs", "ball", "second order"])
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda adjoint: type(adjoint).__name__)
def test_windows_do_not_depend_on_the_adjoint(name, adjoint):
    member, ps, st, states, observed = exact(name)
    if isinstance(adjoint, lux.solvers.ReversibleAdjoint) and isinstance(member.node, lux.JumpODE):
        pytest.skip("a reversible method has another error within the tolerance, which events magnify")
    data = windows(whole(member, states, observed), 4, starts=states)
    away = ps.replace(1.1 * ps.vector)
    losses = [
        TrajectoryLoss(with_fields(member.node, adjoint=adjoint), observation=member.observation)
        for adjoint in ("auto", adjoint)
    ]
    found, expected = (value(loss, away, st, data) for loss in reversed(losses))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    found, expected = (gradient(loss, away, st, data) for loss in reversed(losses))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Collocation


SLOPES = [
    "doses",
    *[pytest.param(name, marks=pytest.mark.slow) for name in ("switched", "second order", "hamiltonian")],
]


@pytest.mark.parametrize("name", SLOPES)
def test_the_exact_slopes_have_no_loss(name):
    member, ps, st, states, _ = exact(name)
    slopes, _ = jax.vmap(lambda t, y: member.node.derivative(t, y, ps.params, st, member.inputs))(
        jnp.asarray(member.ts), jax.tree.map(jnp.asarray, states)
    )
    found, _ = CollocationLoss(member.node, inputs=member.inputs)(ps, st, Collocation(member.ts, states, slopes))
    assert found < 1e-25


def test_doses_break_what_is_smoothed():
    member, ps, st, _, _ = exact("doses")
    ts = np.linspace(0.0, 4.0, 81)
    ys = np.asarray(member.node.solve(jnp.ones(1), ps, st, ts=ts, doses=member.doses)[0].ys)
    found = {
        breaks: CollocationLoss(member.node)(ps, st, collocate_spline(ts, ys, smoothing=0.0, breaks=breaks))[0]
        for breaks in ((), (0.0, 2.0, 3.15))
    }
    assert found[0.0, 2.0, 3.15] < 1e-3 < found[()]
