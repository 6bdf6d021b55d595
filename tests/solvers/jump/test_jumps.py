"""JumpODE: against closed forms of a bouncing ball and of repeated dosing, with the derivatives of jump times; what cannot be."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import message_of, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError
from sciml_lux.solvers import RESULTS

TIGHT = {"rtol": 1e-10, "atol": 1e-10}


# A ball that bounces


class Fall(lux.AbstractLayer):
    """Height and velocity of a ball; `restitution` is for its bounces."""

    def initial_parameters(self, key):
        return {"gravity": 9.81, "restitution": 0.8}

    def __call__(self, y, ps, st):
        return jnp.stack([y[1], -ps.gravity]), st


def height(t, y, ps):
    return y[0]


def bounce(t, y, ps):
    return jnp.stack([y[0], -ps.restitution * y[1]])


BOUNCING = {"condition": height, "direction": False, "jump": bounce}
BALL = lux.JumpODE(Fall(), **BOUNCING, max_jumps=6, t1=3.0, **TIGHT)
PS, ST = setup(BALL)
TS = jnp.linspace(0.0, 3.0, 13)
DROP = jnp.asarray([1.0, 0.0])


def exact(gravity, restitution, drop, ts=TS):
    """The heights and velocities, and the times of the first six bounces."""
    speed = jnp.sqrt(2.0 * gravity * drop)
    speeds = speed * restitution ** jnp.arange(1.0, 7.0)
    times = speed / gravity + jnp.concatenate([jnp.zeros(1), jnp.cumsum(2.0 * speeds / gravity)[:-1]])
    bounces = jnp.searchsorted(times, ts, side="right")
    last = jnp.maximum(bounces - 1, 0)
    after, up, start = (
        jnp.where(bounces > 0, rest, first)
        for first, rest in ((ts, ts - times[last]), (0.0 * ts, speeds[last]), (drop + 0.0 * ts, 0.0 * ts))
    )
    return jnp.stack([start + up * after - gravity * after**2 / 2, up - gravity * after], -1), times


def bounced(vector, drop, ball=BALL):
    solution, _ = ball.solve(jnp.stack([drop, jnp.zeros(())]), PS.replace(vector), ST, ts=TS)
    return solution.ys, solution.stats["jump_times"]


def test_a_bouncing_ball_is_its_closed_form():
    solution, st = jax.jit(lambda ps: BALL.solve(DROP, ps, ST, ts=TS))(PS)
    heights, times = exact(9.81, 0.8, 1.0)
    np.testing.assert_allclose(solution.ys, heights, atol=1e-9)
    np.testing.assert_allclose(solution.stats["jump_times"], times, rtol=1e-11)
    assert st.solution.num_jumps == 6
    assert st.solution.result == solution.result == RESULTS.successful


@pytest.mark.parametrize("reverse", [True, False])
def test_the_derivatives_of_a_bouncing_ball_are_those_of_its_closed_form(reverse):
    adjoint = "auto" if reverse else diffrax.ForwardMode()
    ball = lux.JumpODE(Fall(), **BOUNCING, max_jumps=6, t1=3.0, adjoint=adjoint, **TIGHT)
    jacobian = jax.jacrev if reverse else jax.jacfwd
    found = jax.jit(jacobian(lambda vector, drop: bounced(vector, drop, ball), argnums=(0, 1)))(PS.vector, 1.0)
    parts = jax.jacfwd(exact, argnums=(0, 1, 2))(9.81, 0.8, 1.0)
    for got, expected in zip(found, parts, strict=True):
        np.testing.assert_allclose(got[0], jnp.stack(expected[:2], axis=-1), atol=1e-8)
        np.testing.assert_allclose(got[1], expected[2], atol=1e-8)


@pytest.mark.slow
def test_mapped_over_balls_is_looped():
    drops = jnp.asarray([1.0, 0.3, 40.0])  # the last does not come down in time
    short = lux.JumpODE(Fall(), **BOUNCING, max_jumps=3, t1=0.9, **TIGHT)
    value = lambda drop: short(jnp.stack([drop, jnp.zeros(())]), PS, ST)[0]  # noqa: E731
    both = jax.jit(lambda drop: (value(drop), jax.jacrev(value)(drop)))
    mapped = jax.jit(jax.vmap(both))(drops)
    for row, drop in enumerate(drops):
        for got, expected in zip(mapped, both(drop), strict=True):
            np.testing.assert_allclose(got[row], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mapped[0][2], [40.0 - 9.81 * 0.9**2 / 2, -9.81 * 0.9], rtol=1e-9)


@pytest.mark.parametrize(("upwards", "time"), [(True, np.pi / 2), (False, 3 * np.pi / 2)])
def test_a_crossing_the_other_way_does_not_count_and_is_not_the_last(upwards, time):
    """Of `-cos t`, which starts below."""
    swing = lux.WrappedFunction(lambda y: jnp.stack([y[1], -y[0]]))
    node = lux.JumpODE(
        swing, condition=height, direction=upwards, jump=lambda t, y, ps: 2 * y, max_jumps=2, t1=6.0, **TIGHT
    )
    ps, st = setup(node)
    solution, st = node.solve(jnp.asarray([-1.0, 0.0]), ps, st, ts=[6.0])
    np.testing.assert_allclose(solution.stats["jump_times"], [time, np.inf], rtol=1e-8)
    np.testing.assert_allclose(solution.ys, [[-2 * np.cos(6.0), 2 * np.sin(6.0)]], rtol=1e-8)


def test_a_reset_need_not_leave_from_where_the_condition_is_0():
    # An integrator that fires at 1 and is reset to 0: dy/dt = rate, spikes at k / rate.
    node = lux.JumpODE(
        Constant(), condition=lambda t, y, ps: y - 1.0, jump=lambda t, y, ps: 0.0 * y, max_jumps=4, t1=1.9
    )
    ps, st = setup(node)
    solution, st = node.solve(0.0, ps, st, ts=[1.9])
    np.testing.assert_allclose(solution.stats["jump_times"], [0.5, 1.0, 1.5, np.inf], rtol=1e-6)
    np.testing.assert_allclose(solution.ys, [0.8], rtol=1e-5)
    assert st.solution.num_jumps == 3


class Constant(lux.AbstractLayer):
    """`rate`."""

    def initial_parameters(self, key):
        return {"rate": 2.0}

    def __call__(self, y, ps, st):
        return ps.rate + 0.0 * y, st


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("t0", [0.0, 1.0, 100.0])
def test_a_ball_that_starts_on_the_floor_or_just_above_it_does_not_fall_through(t0, dtype):
    ball = lux.JumpODE(Fall(), **BOUNCING, max_jumps=16, t0=t0, t1=t0 + 0.3, throw=False)
    ps, st = setup(ball, dtype=dtype)
    solve = jax.jit(lambda y0: ball.solve(y0, ps, st)[0])
    for height in (0.0, 1e-20, 1e-12, 1e-9, 1e-7, 1e-5, 1e-3):
        # One that moves bounces at once; one that is let go bounces without end, and is no number.
        solution = solve(jnp.asarray([height, -2.0], dtype))
        assert solution.result == RESULTS.successful
        speed = np.sqrt(4.0 + 2 * 9.81 * height)  # at the floor, which it reaches at
        fallen = (speed - 2.0) / 9.81
        left, after = 0.3 - fallen, 0.8 * speed
        np.testing.assert_allclose(solution.ys[0], [after * left - 9.81 * left**2 / 2, after - 9.81 * left], atol=1e-4)
        y, okay = solve(jnp.asarray([height, 0.0], dtype)).ys[0], np.isnan
        assert okay(y).all() or y[0] > -1e-3


# Doses at known times


class Elimination(lux.AbstractLayer):
    """`-rate y`."""

    def initial_parameters(self, key):
        return {"rate": 0.7}

    def __call__(self, y, ps, st):
        return -ps.rate * y, st


DOSED = lux.JumpODE(Elimination(), t1=3.0, **TIGHT)
DOSED_PS, DOSED_ST = setup(DOSED)
# At the start, out of order, two at once, near the end, after it, never.
TIMES = jnp.asarray([0.0, 1.0, 0.6, 1.0, 2.9, 5.0, jnp.inf])
AMOUNTS = jnp.asarray([1.0, 2.0, 0.5, 1.5, 1.0, 3.0, 1.0])


def superposed(rate, times, amounts, ts):
    after = ts[:, None] - times[None]
    return jnp.sum(jnp.where(after >= 0, amounts[None] * jnp.exp(-rate * after), 0.0), axis=1)


def dosed(vector, times, amounts, ts):
    ps = DOSED_PS.replace(vector)
    return DOSED.solve(0.0, ps, DOSED_ST, ts=ts, doses=(times, amounts))[0].ys


def test_doses_superpose_and_the_value_at_a_dose_is_the_one_after_it():
    ts = jnp.asarray([0.0, 0.6, 0.8, 1.0, 2.9, 3.0])
    found = jax.jit(dosed)(DOSED_PS.vector, TIMES, AMOUNTS, ts)
    np.testing.assert_allclose(found, superposed(0.7, TIMES, AMOUNTS, ts), rtol=1e-9)


def test_derivatives_in_rate_times_amounts_and_saving_times_are_those_of_the_superposition():
    ts, weights = jnp.asarray([0.1, 0.7, 1.3, 2.95, 3.0]), jnp.asarray([1.0, -2.0, 0.5, 1.5, -0.3])
    arguments = (TIMES.at[-1].set(9.0), AMOUNTS, ts)
    found = jax.jit(jax.grad(lambda *of: weights @ dosed(*of), argnums=(0, 1, 2, 3)))(DOSED_PS.vector, *arguments)
    expected = jax.grad(lambda *of: weights @ superposed(*of), argnums=(0, 1, 2, 3))(0.7, *arguments)
    for got, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.squeeze(got), exact, atol=1e-8)


def test_a_dose_may_be_any_map_and_each_sample_have_its_own():
    node = lux.JumpODE(
        Elimination(), dose=lambda t, y, amount, ps: jnp.stack([y[0] + amount, y[1]]), t1=2.0, batching="each", **TIGHT
    )
    ps, st = setup(node)
    times, amounts = jnp.asarray([[0.0, 1.0], [0.5, jnp.inf]]), jnp.asarray([[1.0, 2.0], [3.0, 0.0]])
    y1, st = jax.jit(lambda doses: node(jnp.ones((2, 2)), ps, st, doses=doses))((times, amounts))
    one = jnp.asarray([2.0])
    first = [superposed(0.7, t, a, one)[0] + np.exp(-1.4) for t, a in zip(times, amounts, strict=True)]
    np.testing.assert_allclose(y1, jnp.stack([jnp.stack(first), jnp.exp(-1.4) * jnp.ones(2)], axis=1), rtol=1e-8)


def test_doses_and_events_take_turns():
    # A tank fills at 2 per unit of time and is emptied at 1; a bucket of 0.4 is poured in at 0.2.
    node = lux.JumpODE(
        Constant(), condition=lambda t, y, ps: y - 1.0, jump=lambda t, y, ps: y - 1.0, t1=0.9, max_jumps=2, **TIGHT
    )
    ps, st = setup(node)
    solution, _ = node.solve(0.0, ps, st, ts=[0.2, 0.5, 0.9], doses=([0.2], [0.4]))
    np.testing.assert_allclose(solution.ys, [0.8, 0.4, 0.2], atol=1e-9)
    np.testing.assert_allclose(solution.stats["jump_times"], [0.3, 0.8], rtol=1e-9)


# What cannot be


def test_more_events_than_max_jumps_and_bounces_that_come_to_rest_are_reported():
    for most, restitution, reason in (
        (2, 0.8, RESULTS.max_jumps_reached),
        (60, 0.4, RESULTS.jumps_accumulate),
        (2, 0.0, RESULTS.jumps_accumulate),
    ):
        ball = lux.JumpODE(Fall(), **BOUNCING, max_jumps=most, t1=3.0, throw=False)
        y1, st = jax.jit(ball)(DROP, PS.set("model.restitution", restitution), ST)
        assert st.solution.result == reason
        np.testing.assert_array_equal(y1, [np.nan, np.nan])
    ball = lux.JumpODE(Fall(), **BOUNCING, max_jumps=2, t1=3.0)
    with pytest.raises(RuntimeError) as caught:
        jax.block_until_ready(ball(DROP, PS, ST))
    for part in ("More events occurred than max_jumps: raise max_jumps", "at t=1.75"):
        assert part in message_of(caught.value)


def test_a_second_derivative_is_refused():
    ball = lux.JumpODE(Fall(), **BOUNCING, max_jumps=1, t1=0.8, adjoint=diffrax.ForwardMode())
    value = lambda drop: ball(jnp.stack([drop, jnp.zeros(())]), PS, ST)[0][0]  # noqa: E731
    with pytest.raises(RuntimeError, match="differentiated once, not twice"):
        jax.jacfwd(jax.jacfwd(value))(1.0)


@pytest.mark.usefixtures("unchecked")
def test_settings_and_doses_that_cannot_be_are_refused():
    jump = lambda t, y, ps: y  # noqa: E731
    event = diffrax.Event(lambda t, y, args, **_: y)
    for settings, part in (
        ({"jump": jump}, "condition and jump go together; got only jump"),
        ({"condition": height, "jump": 3}, "jump is a function or a layer, got 3"),
        ({**BOUNCING, "max_jumps": 0}, "max_jumps is a whole number, 1 or more, got 0"),
        ({**BOUNCING, "direction": "down"}, "direction is True (upwards), False (downwards) or None"),
        ({"event": event}, "write condition= and jump="),
        ({"t0": 1.0, "t1": 0.0}, "give t1 > t0"),
    ):
        refused(lambda: lux.JumpODE(Fall(), **settings), LayerError, "JumpODE", part)  # noqa: B023
    for doses, part in (
        ([1.0, 2.0], "doses are a pair (times, amounts)"),
        (([-1.0], [1.0]), "a dose at -1 comes before the solve starts, at 0"),
        (([1.0], [[1.0]]), "amounts are added to the state"),
        (([[1.0]], [[1.0]]), "the times of doses are a vector"),
        (([1.0, np.nan], [1.0, 1.0]), "write inf"),
    ):
        refused(lambda: DOSED(0.0, DOSED_PS, DOSED_ST, doses=doses), ShapeError, "JumpODE", part)  # noqa: B023
    refused(lambda: BALL.solve(DROP, PS, ST, saveat=diffrax.SaveAt(t1=True)), LayerError, "saves at ts")
    wrong = lux.JumpODE(Fall(), condition=height, jump=height)
    refused(lambda: wrong(DROP, PS, ST), ShapeError, "jump returns the state after it")
    wrong = lux.JumpODE(Fall(), condition=jump, jump=jump)
    refused(
        lambda: wrong(DROP, PS, ST), ShapeError, "condition returns a real number that changes sign, got float64[2]"
    )


def test_a_dose_before_the_start_that_is_seen_too_late_to_be_refused_is_reported():
    late = lux.JumpODE(Elimination(), throw=False)
    _, st = jax.jit(lambda times: late(0.0, DOSED_PS, DOSED_ST, doses=(times, AMOUNTS[:1])))(jnp.asarray([-1.0]))
    assert st.solution.result == RESULTS.dose_before_start
