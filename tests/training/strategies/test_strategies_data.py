"""Series with holes, windows, minibatches, horizons, and the plain loss on them: what counts, and that it counts once."""

import functools
import itertools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux.training.strategies import TrajectoryLoss, growing_horizon, minibatches, series, stack_series, windows

A = np.array([[-0.1, 2.0], [-2.0, -0.1]])
TS = np.array([0.0, 0.3, 0.4, 0.9, 1.0, 1.2, 1.7, 2.0, 2.6, 3.0])


class Linear(lux.AbstractLayer):
    """`A y`."""

    def initial_parameters(self, key):
        return {"matrix": jnp.asarray(A)}

    def __call__(self, y, ps, st):
        return ps.matrix @ y, st


NODE = lux.NeuralODE(Linear(), t1=3.0, rtol=1e-9, atol=1e-9)
PS, ST = setup(NODE)
LOSS = TrajectoryLoss(NODE)
VALUE_AND_GRAD = jax.jit(jax.value_and_grad(lambda ps, data: LOSS(ps, ST, data)[0]))
YS = np.asarray(NODE.solve(jnp.array([1.0, 0.5]), PS, ST, ts=TS)[0].ys)
ELSEWHERE = PS.replace(PS.vector + 0.3 * jnp.cos(jnp.arange(4.0)))


def noisy(missing=()):
    ys = YS + 0.1 * np.random.default_rng(0).normal(size=YS.shape)
    for index in missing:
        ys[index] = np.nan
    return ys


# Series


def test_a_series_starts_from_its_first_value():
    whole = series(TS, YS)
    assert whole.mask.all()
    np.testing.assert_array_equal(whole.y0, YS[0])
    np.testing.assert_array_equal(whole.ys, YS)


def test_a_start_of_its_own_is_one_more_time_that_does_not_count():
    whole = series(TS[1:], YS[1:], y0=YS[0], t0=0.0)
    assert whole.ts[0] == 0.0
    assert not whole.mask[0].any()
    assert whole.mask[1:].all()
    value, _ = VALUE_AND_GRAD(PS, whole)
    assert value < 1e-14


def test_single_precision_stays():
    whole = series(TS.astype(np.float32), YS.astype(np.float32))
    assert {leaf.dtype for leaf in (whole.ts, whole.ys, whole.y0)} == {np.dtype(np.float32)}
    node = lux.NeuralODE(Linear(), t1=3.0)
    ps, st = setup(node, dtype=jnp.float32)
    assert jax.eval_shape(TrajectoryLoss(node), ps, st, windows(whole, 4))[0].dtype == jnp.float32


# Missing observations


def test_missing_values_have_the_gradient_of_deleted_points():
    gone = [2, 5, 6]
    kept = np.setdiff1d(np.arange(TS.size), gone)
    value, gradient = VALUE_AND_GRAD(ELSEWHERE, series(TS, noisy(gone)))
    deleted, without = VALUE_AND_GRAD(ELSEWHERE, series(TS[kept], noisy()[kept]))
    np.testing.assert_allclose(value, deleted, rtol=1e-9)
    np.testing.assert_allclose(gradient.vector, without.vector, rtol=1e-8)


def test_one_component_may_be_missing():
    whole = series(TS, noisy([(3, 0), (7, 1)]))
    value, gradient = VALUE_AND_GRAD(ELSEWHERE, whole)
    predicted = np.asarray(NODE.solve(jnp.asarray(whole.y0), ELSEWHERE, ST, ts=TS)[0].ys)
    np.testing.assert_allclose(value, np.nanmean((predicted - noisy([(3, 0), (7, 1)])) ** 2), rtol=1e-9)
    assert np.isfinite(gradient.vector).all()


def test_masked_values_are_missing():
    masked = series(TS, np.ma.MaskedArray(YS, TS[:, None] * np.ones(2) == 1.0))
    np.testing.assert_array_equal(masked.mask[:, 0], TS != 1.0)
    counts = np.ma.MaskedArray(np.arange(10), TS == 1.0)
    np.testing.assert_array_equal(series(TS, counts).mask, TS != 1.0)


# Windows


@pytest.mark.parametrize("length", [2, 3, 4, 7, 10])
def test_windows_cover_the_data_exactly(length):
    whole = series(TS, noisy([4, (6, 1)]))
    rows = windows(whole, length, starts=YS)
    for component in range(2):
        counts, expected = rows.mask[..., component], whole.mask[:, component]
        np.testing.assert_array_equal(rows.ts[counts], whole.ts[expected])
        np.testing.assert_array_equal(rows.ys[counts, component], whole.ys[expected, component])
    np.testing.assert_array_equal(rows.ts[1:, 0], rows.ts[:-1, -1])


def test_windows_of_one_trajectory_have_the_loss_of_the_whole():
    whole = series(TS, noisy([4]), y0=YS[0])
    path = np.asarray(NODE.solve(jnp.asarray(YS[0]), ELSEWHERE, ST, ts=TS)[0].ys)
    value, _ = VALUE_AND_GRAD(ELSEWHERE, whole)
    in_windows, _ = VALUE_AND_GRAD(ELSEWHERE, windows(whole, 4, starts=path))
    np.testing.assert_allclose(in_windows, value, rtol=1e-8)


def test_windows_may_overlap():
    rows = windows(series(TS, YS), 4, stride=2)
    np.testing.assert_array_equal(rows.ts[:, 0], TS[[0, 2, 4, 6]])
    np.testing.assert_array_equal(rows.y0, YS[[0, 2, 4, 6]])
    assert rows.mask[1:, 1:].all()
    assert not rows.mask[1:, 0].any()


def test_the_state_of_a_batch_says_that_one_solve_failed():
    def field(y):
        return jnp.where(y > 1.5, jnp.inf, 0.0 * y)

    node = lux.NeuralODE(lux.WrappedFunction(field), throw=False)
    ps, st = setup(node)
    rows = windows(series(np.linspace(0.0, 1.0, 5), np.array([[1.0], [1.0], [2.0], [2.0], [1.0]])), 2)
    value, new = jax.jit(lambda ps, st: TrajectoryLoss(node)(ps, st, rows))(ps, st)
    assert np.isnan(value)
    assert new["solution.result"] != diffrax.RESULTS.successful
    assert jax.tree.structure(new) == jax.tree.structure(st)


# Minibatches


def test_every_row_comes_once_in_an_epoch_and_the_key_says_when():
    rows = {"x": np.arange(7), "y": np.arange(14).reshape(7, 2)}
    batches = list(itertools.islice(minibatches(rows, 3, jax.random.key(1)), 14))
    seen = np.concatenate([batch["x"] for batch in batches])
    for epoch in seen.reshape(-1, 7):
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in seen.reshape(-1, 7)}) > 1
    np.testing.assert_array_equal(np.concatenate([batch["y"] for batch in batches])[:, 0], 2 * seen)
    again = itertools.islice(minibatches(rows, 3, jax.random.key(1)), 14)
    other = itertools.islice(minibatches(rows, 3, jax.random.key(2)), 14)
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in again]), seen)
    assert (np.concatenate([batch["x"] for batch in other]) != seen).any()


@pytest.mark.slow
def test_minibatches_of_windows_find_the_field():
    rows = windows(series(TS, YS), 3)
    start = PS.replace(jnp.zeros(4))
    data = minibatches(rows, 3, jax.random.key(0))
    fitted = lux.fit(LOSS, start, ST, optax.adam(5e-2), data=data, steps=300)
    np.testing.assert_allclose(fitted.ps["model.matrix"], A, atol=0.02)


# Horizons


def test_a_horizon_has_the_loss_of_the_points_before_it():
    whole = series(TS, noisy([4]), y0=YS[0])
    parts = list(growing_horizon(whole, [1.8, 3.0], 2))
    assert len(parts) == 4
    for part, number in zip(parts[::2], (7, 10), strict=True):
        value, gradient = VALUE_AND_GRAD(ELSEWHERE, part)
        alone, expected = VALUE_AND_GRAD(ELSEWHERE, series(TS[:number], noisy([4])[:number], y0=YS[0]))
        np.testing.assert_allclose(value, alone, rtol=1e-8)
        np.testing.assert_allclose(gradient.vector, expected.vector, rtol=1e-7)


def test_the_last_horizon_is_the_whole_series_and_all_share_one_shape():
    whole = series(TS, noisy(), y0=YS[0])
    *_, last = parts = list(growing_horizon(whole, np.linspace(0.0, 3.0, 5)[1:], 1))
    jax.tree.map(np.testing.assert_array_equal, last, whole)
    assert len({str(jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), part)) for part in parts}) == 1


def test_a_solve_ends_at_the_horizon():
    whole = series(TS, YS)
    steps = [int(LOSS(PS, ST, part)[1]["solution.num_steps"]) for part in growing_horizon(whole, [0.5, 3.0], 1)]
    assert 3 * steps[0] < steps[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_times_that_differ_by_their_rounding_are_one(dtype, sign):
    ts = (sign * np.linspace(0.0, 6.0, 61)).astype(dtype)
    parts = list(growing_horizon(series(ts, np.cos(ts)[:, None]), sign * np.linspace(0.0, 6.0, 21)[1:], 1))
    assert [int(part.mask.sum()) for part in parts] == list(range(4, 62, 3))
    assert all((np.diff(part.ts) * sign >= 0).all() for part in parts)


def test_horizons_go_backward_as_well():
    whole = series(TS[::-1], YS[::-1])
    first = next(growing_horizon(whole, [1.5, 0.0], 1))
    np.testing.assert_array_equal(first.mask[:, 0], TS[::-1] >= 1.5)
    assert first.ts.min() == 1.5


# The loss


def test_a_loss_takes_another_error_another_solve_and_a_penalty():
    whole = series(TS, noisy(), y0=YS[0])
    loss = TrajectoryLoss(
        NODE,
        error=functools.partial(lux.losses.huber, delta=0.5),
        solve=functools.partial(NODE.solve, inputs=None),
        penalty=lambda solution: jnp.sum(solution.ys[-1]),
    )
    predicted = NODE.solve(jnp.asarray(YS[0]), ELSEWHERE, ST, ts=TS)[0].ys
    expected = lux.losses.huber(predicted, jnp.asarray(whole.ys), delta=0.5) + jnp.sum(predicted[-1])
    np.testing.assert_allclose(loss(ELSEWHERE, ST, whole)[0], expected, rtol=1e-9)


def test_equal_losses_share_a_compilation():
    assert TrajectoryLoss(NODE) == TrajectoryLoss(lux.NeuralODE(Linear(), t1=3.0, rtol=1e-9, atol=1e-9))
    assert hash(TrajectoryLoss(NODE)) == hash(TrajectoryLoss(NODE))


# Refusals

WHOLE = series(TS, YS)
INPUT = lux.solvers.hold_input(TS, YS)
TWICE = TrajectoryLoss(NODE, solve=functools.partial(NODE.solve, inputs=INPUT))
DRUG = lux.JumpODE(Linear(), t1=3.0)
UNTOLD = TrajectoryLoss(DRUG, solve=lambda y0, ps, st, ts, t0: DRUG.solve(y0, ps, st, ts, t0=t0))


@pytest.mark.parametrize(
    ("call", "kind", "part"),
    [
        (lambda: series(TS[:, None], YS), lux.ShapeError, "vector"),
        (lambda: series(TS[[0, 2, 1]], YS[:3]), lux.ShapeError, "sorted"),
        (lambda: series([0.0, np.nan, 2.0], YS[:3]), lux.ShapeError, "finite"),
        (lambda: series(TS, YS[:4]), lux.ShapeError, "one row for each time"),
        (lambda: series(TS, noisy([0])), lux.LayerError, "y0"),
        (lambda: series(TS, YS, t0=-1.0), lux.LayerError, "y0="),
        (lambda: windows(YS, 3), lux.LayerError, "series(ts, ys)"),
        (lambda: windows(windows(WHOLE, 3), 3), lux.ShapeError, "batch"),
        (lambda: windows(WHOLE, 1), lux.LayerError, "length"),
        (lambda: windows(WHOLE, 11), lux.LayerError, "length"),
        (lambda: windows(WHOLE, 4, stride=4), lux.LayerError, "stride"),
        (lambda: windows(series(TS, noisy([3])), 4), lux.LayerError, "starts="),
        (lambda: windows(WHOLE, 4, starts=YS[:3]), lux.ShapeError, "all 10 times"),
        (lambda: windows(series(TS, YS[:, :1], y0=YS[0]), 4), lux.LayerError, "starts="),
        (lambda: minibatches(WHOLE, 2, jax.random.key(0)), lux.ShapeError, "windows"),
        (lambda: minibatches(windows(WHOLE, 4), 4, jax.random.key(0)), lux.LayerError, "size"),
        (lambda: growing_horizon(WHOLE, [1.0, 2.0], 5), lux.LayerError, "end of the series"),
        (lambda: growing_horizon(WHOLE, [2.0, 1.0, 3.0], 5), lux.LayerError, "further"),
        (lambda: growing_horizon(WHOLE, [0.1, 3.0], 5), lux.LayerError, "nothing was observed"),
        (lambda: growing_horizon(WHOLE, [3.0], 0), lux.LayerError, "steps"),
        (lambda: TrajectoryLoss(lux.Dense(2, 2)), lux.LayerError, "solve"),
        (lambda: LOSS(PS, ST, (TS, YS)), lux.LayerError, "series(ts, ys)"),
        (lambda: LOSS(PS, ST, series(TS, YS[:, :1], y0=YS[0])), lux.ShapeError, "observation=lambda y: y[0]"),
        (lambda: series(TS, np.where(TS[:, None] == 1.0, np.inf, YS)), lux.LayerError, "ys[4, 0] is inf"),
        (lambda: series(TS, np.nan * YS, y0=YS[0]), lux.LayerError, "nothing was observed"),
        (lambda: series(TS, noisy(range(1, 10))), lux.LayerError, "after the start"),
        (lambda: series(TS, 1j * YS), lux.LayerError, "ys.real"),
        (lambda: LOSS(PS, ST, WHOLE._replace(mask=~WHOLE.mask)), lux.LayerError, "nothing of this series"),
        (lambda: series(TS, YS, y0=np.array([np.inf, 0.0])), lux.LayerError, "not finite"),
        (lambda: series(TS, YS, doses=(TS, YS[:3])), lux.ShapeError, "rows"),
        (lambda: series(TS, YS, doses=([np.nan], YS[:1])), lux.ShapeError, "write inf"),
        (lambda: series(TS, YS, y0=YS[0], doses=([-1.0], YS[:1])), lux.ShapeError, "before the series starts"),
        (lambda: series(TS, YS, inputs=np.sin), lux.LayerError, "functools.partial(node.solve, inputs=...)"),
        (lambda: LOSS(PS, ST, series(TS, YS, doses=(TS, YS))), lux.LayerError, "has doses"),
        (lambda: TWICE(PS, ST, series(TS, YS, inputs=INPUT)), lux.LayerError, "given twice"),
        (lambda: UNTOLD(*setup(DRUG), WHOLE), lux.LayerError, "functools.partial(node.solve, doses=...)"),
        (lambda: stack_series([]), lux.LayerError, "at least one"),
        (lambda: stack_series([windows(WHOLE, 4)]), lux.ShapeError, "batch"),
        (lambda: stack_series([WHOLE, series(TS, YS[:, :1])]), lux.ShapeError, "series 1"),
        (lambda: stack_series([WHOLE, series(TS, YS, doses=(TS, YS))]), lux.LayerError, "has no doses"),
    ],
)
def test_what_cannot_be_is_refused(call, kind, part, unchecked):
    refused(call, kind, part)
