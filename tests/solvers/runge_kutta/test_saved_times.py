"""A value at every time that was asked for, or no success: numbers of times and of steps around every boundary of the loops' blocks."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import setup

import sciml_lux as lux
from sciml_lux import SolveError
from sciml_lux.solvers.runge_kutta import _interpolate, _march
from sciml_lux.solvers.runge_kutta._interpolate import WINDOW
from sciml_lux.solvers.runge_kutta._march import CHUNK

CIRCLE = lux.WrappedFunction(lambda y: jnp.stack([y[1], -y[0]]))
START = jnp.array([1.0, 0.0])
STEP = 2.0**-6
FIXED = {"dt0": STEP, "stepsize_controller": diffrax.ConstantStepSize(), "max_steps": 1024}


def circle(ts):
    return np.stack([np.cos(ts), -np.sin(ts)], axis=-1)


def times(number: int, steps: int, size: int) -> dict[str, np.ndarray]:
    """`size` times over so many steps, of which so many differ, laid out in the ways that fill blocks differently."""
    end = steps * STEP
    layouts = {
        "spread": np.linspace(0.0, end, number),
        "in the first step": np.append(np.linspace(0.0, 0.5 * STEP, number - 1), end),
        "in the last step": np.append(np.linspace(end - 0.5 * STEP, end, number - 1), end),
        "at both ends": np.repeat([0.0, end], [number // 2, number - number // 2]),
    }
    return {name: np.append(ts, np.full(size - number, end)) for name, ts in layouts.items()}


def cases(numbers, lengths, size):
    return [ts for number in numbers for steps in lengths for ts in times(number, steps, size).values()]


def check_each(node, rows):
    """Every row of times alone, and all of them side by side."""
    rows = np.stack(rows)
    start = START.astype(rows.dtype)
    each = lux.NeuralODE(**{**vars(node), "batching": "each"})

    def solve(node, start, ts):
        ps, st = setup(node)
        solution, _ = node.solve(start, ps, st, ts=ts)
        return solution.result == diffrax.RESULTS.successful, solution.ts, solution.ys

    alone = jax.jit(lambda ts: solve(node, start, ts))
    together = jax.jit(lambda rows: solve(each, jnp.tile(start, (len(rows), 1)), rows))(rows)
    for i, ts in enumerate(rows):
        for okay, saved, ys in (alone(ts), [part[i] for part in together]):
            assert okay
            np.testing.assert_array_equal(saved, ts)
            np.testing.assert_allclose(ys, circle(ts), rtol=0, atol=1e-9 if ts.dtype == np.float64 else 1e-4)


def test_the_harmonic_oscillator_at_more_times_than_a_window_over_more_steps_than_a_chunk():
    node = lux.NeuralODE(CIRCLE, t1=50.0, rtol=1e-6, atol=1e-6)
    ps, st = setup(node)
    ts = np.linspace(0.0, 50.0, 400)
    solution, _ = node.solve(START, ps, st, ts=ts)
    assert ts.size > WINDOW
    assert int(solution.stats["num_accepted_steps"]) > CHUNK
    np.testing.assert_allclose(solution.ys, circle(ts), atol=1e-3)


def test_every_number_of_times_and_steps_around_the_boundaries_of_small_blocks(monkeypatch):
    monkeypatch.setattr(_interpolate, "WINDOW", 4)
    monkeypatch.setattr(_march, "CHUNK", 3)
    rows = cases([2, 3, 4, 5, 7, 8, 9, 11], [1, 2, 3, 4, 5, 6, 7, 9, 10], 11)
    # No program that was made for other blocks knows this field.
    check_each(lux.NeuralODE(lux.WrappedFunction(lambda y: jnp.stack([y[1], -y[0]]) * 1.0), t1=1.0, **FIXED), rows)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 1, 700])
@pytest.mark.parametrize("adjoint", ["auto", diffrax.RecursiveCheckpointAdjoint()], ids=["recorded", "checkpoints"])
def test_the_boundaries_of_the_blocks_as_they_are(size, adjoint):
    numbers = [n for n in (2, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 2 * WINDOW + 1, 700) if n <= size] or [1]
    rows = [ts[-size:] for ts in cases(numbers, [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1], max(size, 2))]
    check_each(lux.NeuralODE(CIRCLE, t1=10.0, adjoint=adjoint, **FIXED), rows)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("back", [False, True], ids=["forward", "backward in time"])
def test_backward_in_time_and_where_times_collide(monkeypatch, dtype, back):
    monkeypatch.setattr(_interpolate, "WINDOW", 4)
    monkeypatch.setattr(_march, "CHUNK", 3)
    sign = -1.0 if back else 1.0
    # Between neighbours of float32 there is nothing: many of these are one time.
    crowded = np.float32(8 * STEP) + np.arange(-5, 6) * np.finfo(np.float32).eps / 64
    rows = [sign * ts for ts in [*cases([3, 5, 9, 11], [2, 3, 4, 7], 11), crowded]]
    settings = {**FIXED, "dt0": sign * STEP}
    field = lux.WrappedFunction(lambda y: jnp.stack([y[1], -y[0]]) * (-1.0) ** 2)
    check_each(lux.NeuralODE(field, t1=sign * 1.0, **settings), [row.astype(dtype) for row in rows])


@pytest.mark.slow
def test_the_gradient_at_many_times_over_many_steps():
    ts = jnp.asarray(times(700, 2 * CHUNK + 1, 700)["spread"])
    weights = jnp.cos(jnp.arange(1400.0)).reshape(700, 2)

    def gradient(adjoint):
        node = lux.NeuralODE(CIRCLE, t1=10.0, adjoint=adjoint, **FIXED)
        ps, st = setup(node)
        loss = lambda y0, ts: jnp.sum(weights * node.solve(y0, ps, st, ts=ts)[0].ys)  # noqa: E731
        return jax.jit(jax.grad(loss, argnums=(0, 1)))(START, ts)

    for ours, theirs in zip(gradient("auto"), gradient(diffrax.RecursiveCheckpointAdjoint()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_success_means_that_all_were_saved(monkeypatch):
    monkeypatch.setattr(_march, "save", lambda problem, saved, *steps: saved)
    field = lux.WrappedFunction(lambda y: jnp.stack([y[1], -y[0]]) / 1.0)
    node = lux.NeuralODE(field, **{**FIXED, "max_steps": 128}, throw=False)
    ps, st = setup(node)
    solution, st = node.solve(START, ps, st, ts=jnp.array([0.0, 0.5, 1.0]))
    assert solution.result == st.solution.result == diffrax.RESULTS.internal_error
    assert np.all(np.isnan(solution.ys))
    with pytest.raises(SolveError, match="missing at some of the times"):
        lux.NeuralODE(**{**vars(node), "throw": True}).solve(START, ps, st, ts=jnp.array([0.0, 0.5, 1.0]))


@pytest.mark.slow
def test_ragged_times_of_each_sample_end_at_their_own_last():
    node = lux.NeuralODE(CIRCLE, t1=10.0, batching="each", **FIXED)
    ps, st = setup(node)
    ts = np.stack([np.linspace(0.0, end, 5) for end in (0.5, 1.0, 2.0)])
    lengths = np.array([1, 3, 5])
    solution, _ = node.solve(
        jnp.tile(START, (3, 1)), ps, st, ts=np.where(np.arange(5) < lengths[:, None], ts, 0.1), lengths=lengths
    )
    for i, length in enumerate(lengths):
        np.testing.assert_allclose(solution.ys[i, :length], circle(ts[i, :length]), atol=1e-9)
