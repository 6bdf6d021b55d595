"""Times and initial values as a solve takes them, after the checks that are possible."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ...flatten import ShapeError


def check_times(name: str, ts: Any, t0: float, t1: float) -> Any:
    """`ts` as an array, after the checks that are possible: of its values, unless they are traced."""
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(ts))
    times = jnp.asarray(ts) if traced else np.asarray(ts)
    if times.ndim != 1 or times.size == 0:
        raise ShapeError(f"{name}: ts is a vector of at least one time, got shape {times.shape}")
    if isinstance(times, Tracer):
        return times
    values, direction = np.asarray(times, np.float64), np.sign(t1 - t0)
    if np.isnan(values).any():
        raise ValueError(f"{name}: ts holds NaN at index {int(np.flatnonzero(np.isnan(values))[0])}")
    unsorted = np.flatnonzero(np.diff(values) * direction < 0)
    if unsorted.size:
        i = int(unsorted[0])
        raise ShapeError(
            f"{name}: ts must be sorted from t0 to t1, got {values[i]:g} before {values[i + 1]:g} at index {i}"
        )
    # Times that came in a lower precision may stick out by a rounding.
    slack = 4 * np.finfo(times.dtype).eps * max(abs(t0), abs(t1)) if jnp.issubdtype(times.dtype, jnp.floating) else 0.0
    if (values[0] - t0) * direction < -slack or (values[-1] - t1) * direction > slack:
        raise ShapeError(
            f"{name}: ts from {values[0]:g} to {values[-1]:g} leave the span from t0={t0:g} to t1={t1:g}; widen it"
        )
    return np.clip(values, min(t0, t1), max(t0, t1))


def save_as(saveat: diffrax.SaveAt, dtype: Any) -> diffrax.SaveAt:
    def times(saveat: diffrax.SaveAt) -> list[Any]:
        subs = jax.tree.leaves(saveat.subs, is_leaf=lambda node: isinstance(node, diffrax.SubSaveAt))
        return [sub.ts for sub in subs if sub.ts is not None]

    return eqx.tree_at(times, saveat, replace_fn=lambda ts: ts.astype(dtype))


def time_dtype(y: Any) -> np.dtype:
    """The dtype of the times that go with a state: real, at least float32, since times are sums of many small steps."""
    with jax.numpy_dtype_promotion("standard"):
        widest = jnp.result_type(jnp.float32, *(leaf.dtype for leaf in jax.tree.leaves(y)))
    return np.dtype(jnp.finfo(widest).dtype)


def as_float_array(name: str, leaf: Any) -> Array:
    if not isinstance(leaf, Tracer) and np.isnan(np.asarray(leaf)).any():
        raise ValueError(f"{name}: y0 holds NaN, got {leaf}")
    dtype = jnp.asarray(leaf).dtype
    # Naming the dtype also makes a Python number one of that dtype for good.
    return jnp.asarray(leaf, dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(float))
