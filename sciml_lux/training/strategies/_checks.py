"""What strategies ask of times, values, series and numbers."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._errors import LayerError, ShapeError


def as_times(ts: Any) -> np.ndarray:
    """`ts` as a vector of floating-point numbers. **Errors:** `ShapeError` unless it is sorted, one way or the other."""
    times = np.array(ts)
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


def as_values(name: str, ys: Any) -> np.ndarray:
    """Measured values as numbers, NaN where an array of NumPy's is masked. **Errors:** `LayerError` for complex ones."""
    if np.iscomplexobj(ys):
        raise LayerError(
            f"{name}: ys are real numbers, got {np.asarray(ys).dtype}; write np.stack([ys.real, ys.imag], axis=-1)"
        )
    dtype = np.asarray(ys).dtype
    floats: Any = ys if np.issubdtype(dtype, np.floating) else np.ma.asarray(ys).astype(jnp.result_type(float))
    return np.ma.filled(floats, np.nan) if np.ma.isMaskedArray(floats) else np.asarray(floats)


def check_lengths(ts: np.ndarray, ys: np.ndarray) -> None:
    """Raises `ShapeError` unless `ys` has one row for each of `ts`."""
    if ys.ndim < 1 or ys.shape[0] != ts.size:
        raise ShapeError(
            f"values have one row for each time: got shape {ys.shape} for {ts.size} times, expected ({ts.size}, ...)"
        )


def observed(name: str, ys: np.ndarray) -> np.ndarray:
    """Which values were observed: those that are not NaN. **Errors:** `LayerError` for infinite ones, and if there are none at all."""
    infinite = np.argwhere(np.isinf(ys))
    if infinite.size:
        index = tuple(int(i) for i in infinite[0])
        raise LayerError(
            f"{name}: ys[{', '.join(map(str, index))}] is {ys[index]}; write NaN for what was not observed"
        )
    seen = ~np.isnan(ys)
    if not seen.any():
        raise LayerError(f"{name}: nothing was observed, all of ys of shape {ys.shape} is NaN; leave this series out")
    return seen


def check_count(name: str, what: str, number: Any, least: int, most: int | None = None) -> int:
    """A whole number within its bounds. **Errors:** `LayerError` for anything else."""
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or number < least or (most is not None and number > most):
        span = f"{least} or more" if most is None else f"from {least} to {most}"
        raise LayerError(f"{name}: {what} is a whole number, {span}, got {number!r}")
    return int(number)
