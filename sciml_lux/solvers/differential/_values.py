"""Times and initial values as a solve takes them, after the checks that are possible."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..._errors import ShapeError
from ...core import is_numbers, kind_of, make_array
from ...kernels import is_traced, known
from .._types import StateTree

# The rounding of times, as a part of the span, beyond which steps are mostly rounding.
_COARSEST = 1e-3


def as_array(values: Any) -> Any:
    """An array of JAX's if any number is traced, one of NumPy's if all are known; `None` as it is."""
    if values is None:
        return None
    return jnp.asarray(values) if is_traced(values) else np.asarray(values)


def check_times(name: str, times: Any, t0: Any, t1: float, lengths: Any, each: bool) -> tuple[Any, bool]:
    """Times, and whether its values were checked, as those that are traced cannot be.

    **Arguments:** `times`: an array; `t0`: where the solve starts, or, of shape `(samples,)`, where each does; `lengths`: how many
    times of each sample are real; `each`: whether there may be a row for each sample.
    """
    if times.ndim not in ((1, 2) if each else (1,)) or times.size == 0:
        rows = ", or a matrix with a row for each sample" if each else ""
        raise ShapeError(f"{name}: ts is a vector of at least one time{rows}, got shape {times.shape}")
    if is_traced(times, t0, lengths):
        return times, False
    # Times that came in a lower precision may stick out by a rounding.
    slack = 4 * float(np.finfo(times.dtype).eps) if jnp.issubdtype(times.dtype, jnp.floating) else 0.0
    starts = np.asarray(t0, np.float64)
    rows = np.array(times, np.float64, ndmin=2)
    if starts.ndim or lengths is not None:
        rows = np.broadcast_to(rows, (max(starts.size, np.size(lengths), len(rows)), rows.shape[1])).copy()
    for i, row in enumerate(rows):
        start = float(starts[i] if starts.ndim else starts)
        length = row.size if lengths is None else int(np.asarray(lengths)[i])
        where = f" of sample {i}" if len(rows) > 1 else ""
        _check_row(f"{name}: ts{where}", row[:length], start, t1, slack * max(abs(start), abs(t1)))
        row[length:] = row[length - 1]
        np.clip(row, min(start, t1), max(start, t1), out=row)
    return (rows if len(rows) > 1 or times.ndim == 2 else rows[0]), True


def check_start(name: str, t0: Any, first: float, t1: float) -> bool:
    """Whether the time, or times, that a solve of a node from `first` to `t1` starts at were checked, as one that is traced cannot be."""
    if is_traced(t0):
        return False
    starts = np.asarray(t0, np.float64)
    if not np.isfinite(starts).all():
        raise ValueError(f"{name}: t0 is a finite time, got {t0}")
    if ((t1 - starts) * np.sign(t1 - first) < 0).any():
        raise ShapeError(f"{name}: the solve cannot start at t0={t0}, beyond its end, t1={t1:g}")
    return True


def check_resolution(name: str, t0: float, t1: float, dtype: np.dtype) -> None:
    """Refuses a span of which the rounding of its times is a large part."""
    size = max(abs(t0), abs(t1))
    spacing = float(np.spacing(np.asarray(size, dtype)))
    if spacing > _COARSEST * abs(t1 - t0):
        raise ShapeError(
            f"{name}: in {dtype}, which the times of this state have, times near {size:g} are {spacing:.3g} apart, and the span from "
            f"t0={t0:.10g} to t1={t1:.10g} is {abs(t1 - t0):g} long; count time from t0, or use float64"
        )


def _check_row(what: str, row: np.ndarray, t0: float, t1: float, slack: float) -> None:
    direction = np.sign(t1 - t0)
    if np.isnan(row).any():
        raise ValueError(f"{what} holds NaN at index {int(np.flatnonzero(np.isnan(row))[0])}")
    unsorted = np.flatnonzero(np.diff(row) * direction < 0)
    if unsorted.size:
        i = int(unsorted[0])
        raise ShapeError(f"{what} must be sorted from t0 to t1, got {row[i]:g} before {row[i + 1]:g} at index {i}")
    if (row[0] - t0) * direction < -slack or (row[-1] - t1) * direction > slack:
        raise ShapeError(f"{what} from {row[0]:g} to {row[-1]:g} leave the span from t0={t0:g} to t1={t1:g}; widen it")


def save_as(saveat: diffrax.SaveAt, dtype: Any) -> diffrax.SaveAt:
    def times(saveat: diffrax.SaveAt) -> list[Any]:
        subs = jax.tree.leaves(saveat.subs, is_leaf=lambda node: isinstance(node, diffrax.SubSaveAt))
        return [sub.ts for sub in subs if sub.ts is not None]

    return eqx.tree_at(times, saveat, replace_fn=lambda ts: ts.astype(dtype))


def time_dtype(y: StateTree) -> np.dtype:
    """The dtype of the times that go with a state: real, at least float32, since times are sums of many small steps."""
    with jax.numpy_dtype_promotion("standard"):
        widest = jnp.result_type(jnp.float32, *(leaf.dtype for leaf in jax.tree.leaves(y)))
    return np.dtype(jnp.finfo(widest).dtype)


def largest(y: StateTree, dtype: np.dtype[Any]) -> Array:
    """The largest number of a state, in magnitude; NaN if it holds one."""
    parts = [jnp.max(jnp.abs(leaf)).astype(dtype) for leaf in jax.tree.leaves(lax.stop_gradient(y)) if leaf.size]
    return jnp.max(jnp.stack(parts)) if parts else jnp.zeros((), dtype)


def as_state_arrays(name: str, y0: Any, pair: str | None, check: bool = True) -> Any:
    """A tree of floating-point arrays like `y0`. **Errors:** `ShapeError` for lists of numbers, which are meant as arrays."""

    def one(leaf: Any) -> Array:
        if is_numbers(leaf) and isinstance(leaf, list):
            where = "is" if leaf is y0 else "holds"
            if pair is not None and leaf is y0:
                raise ShapeError(
                    f"{name}: y0 is {kind_of(y0)}, expected a tuple ({pair}); write tuple(y0) for two numbers"
                )
            raise ShapeError(f"{name}: y0 {where} {kind_of(leaf)}, expected an array; {make_array(leaf, 'y0', True)}")
        return _as_float_array(name, leaf, check)

    # A list of numbers would be a tree, on whose every number the model is called by itself.
    return jax.tree.map(one, y0, is_leaf=lambda node: isinstance(node, list) and is_numbers(node))


def _as_float_array(name: str, leaf: Any, check: bool) -> Array:
    try:
        dtype = jnp.asarray(leaf).dtype
    except (TypeError, RuntimeError, ValueError) as error:
        raise ShapeError(
            f"{name}: y0 is an array, or a tree of arrays, got {kind_of(leaf)}; {make_array(leaf, 'y0', True)}"
        ) from error
    numbers = known(leaf) if check else None
    if numbers is not None and np.isnan(numbers).any():
        raise ValueError(f"{name}: y0 holds NaN, got {leaf}")
    if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
        raise ShapeError(
            f"{name}: y0 is {dtype}, in which steps are lost to rounding; write y0.astype(jnp.float32), and "
            f"lux.AlternatePrecision(model, jnp.{dtype}) to evaluate the model in {dtype}"
        )
    # Naming the dtype also makes a Python number one of that dtype for good.
    return jnp.asarray(leaf, dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(float))
