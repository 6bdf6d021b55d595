"""A measured series as a loss takes it: times, values, what was observed, and the state that it starts from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...flatten import LayerError, ShapeError


class Series(NamedTuple):
    """Observations `ys` at times `ts`, and the state `y0` at `ts[0]`. A leading axis of all arrays makes a batch of series.

    **Attributes:** `ts`: `(points,)`, sorted; `ys`: `(points, *observed)`, 0 where nothing was observed; `mask`: of the shape of
    `ys`, True for what was observed and counts; `y0`: the state at `ts[0]`, any tree.
    """

    ts: Any
    ys: Any
    mask: Any
    y0: Any


def series(ts: Any, ys: Any, *, y0: Any = None, t0: float | None = None) -> Series:
    """A `Series` out of times and measured values, in which NaN says that nothing was observed.

    **Arguments:** `ts`: `(points,)`, sorted, at any distances, forward or backward; `ys`: `(points, *observed)`; `y0`: the state at
    the start (default: the first value measured); `t0`: the time of `y0`, if it is not that of the first measurement.

    **Returns:** a `Series` of `points` times (one more, unobserved, with a `t0` of its own).

    **Errors:** `ShapeError` for times that are not sorted or do not go with the values; `LayerError` if there is nothing to
    start from.
    """
    ts, ys = as_times(ts), np.asarray(ys)
    if not np.issubdtype(ys.dtype, np.floating):
        ys = np.asarray(ys, jnp.result_type(float))
    check_lengths(ts, ys)
    mask = np.isfinite(ys)
    if y0 is None:
        if t0 is not None and t0 != ts[0]:
            raise LayerError(f"the first value was measured at {ts[0]:g}, not at t0={t0:g}; pass y0=, the state there")
        y0 = ys[0]
    y0 = jax.tree.map(np.asarray, y0)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(y0)):
        raise LayerError(
            "the state at the start is not known: y0 holds NaN; pass y0=, for example collocate_spline(ts, ys).ys[0]"
        )
    if t0 is not None and t0 != ts[0]:
        ts = as_times(np.concatenate([np.asarray([t0], ts.dtype), ts]))
        ys, mask = (np.concatenate([np.zeros_like(array[:1]), array]) for array in (ys, mask))
    return Series(ts, np.where(mask, ys, np.zeros_like(ys)), mask, y0)


def as_times(ts: Any) -> np.ndarray:
    """`ts` as a vector of floating-point numbers. **Errors:** `ShapeError` unless it is sorted, one way or the other."""
    times = np.asarray(ts)
    if not np.issubdtype(times.dtype, np.floating):
        times = np.asarray(times, jnp.result_type(float))
    if times.ndim != 1 or times.size < 2:
        raise ShapeError(f"the times of a series are a vector of at least two, got shape {times.shape}")
    if not np.isfinite(times).all():
        raise ShapeError(f"the times of a series are finite, got {times[~np.isfinite(times)][0]}")
    steps = np.diff(times)
    if (steps.min() < 0 < steps.max()) or not steps.any():
        first = int(np.flatnonzero(steps * np.sign(times[-1] - times[0]) <= 0)[0])
        raise ShapeError(
            f"the times of a series must be sorted, got {times[first]:g} before {times[first + 1]:g} at index {first}; "
            "write order = np.argsort(ts); ts[order], ys[order]"
        )
    return times


def check_lengths(ts: np.ndarray, ys: np.ndarray) -> None:
    """Raises `ShapeError` unless `ys` has one row for each of `ts`."""
    if ys.ndim < 1 or ys.shape[0] != ts.size:
        raise ShapeError(
            f"values have one row for each time: got shape {ys.shape} for {ts.size} times, expected ({ts.size}, ...)"
        )


def check_one(name: str, whole: Series) -> None:
    """Raises `LayerError` unless `whole` is a `Series`, and `ShapeError` if it is a batch of them."""
    if not isinstance(whole, Series):
        raise LayerError(f"{name} takes a Series, got {type(whole).__name__}; write series(ts, ys)")
    if np.ndim(whole.ts) != 1:
        raise ShapeError(f"{name} takes one series, got a batch of them with ts of shape {np.shape(whole.ts)}")


def check_count(name: str, what: str, number: Any, least: int, most: int | None = None) -> int:
    """A whole number within its bounds. **Errors:** `LayerError` for anything else."""
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or number < least or (most is not None and number > most):
        span = f"{least} or more" if most is None else f"from {least} to {most}"
        raise LayerError(f"{name}: {what} is a whole number, {span}, got {number!r}")
    return int(number)
