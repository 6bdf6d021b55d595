"""One entry of a layout and its value: to the segment that stores it, and back."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._errors import LayoutError
from ..kernels import is_traced
from ._declare import Entry, complex_dtype, join_path
from ._exact_arrays import agree, as_array, nan_unless
from ._named_tree import Params, leaf_paths
from .maps import AbstractRavelMap, ArraySpec, Real


def ravel_entry(entry: Entry, value: Any, dtype: np.dtype, start: bool = False) -> Float[Array, "*batch size"]:
    """The segment of `dtype` that stores `value`: see `Layout.ravel_entry`.

    A map that says itself which values it keeps is asked. Any other is tried; but what it makes of a `start` is the start.
    """
    if isinstance(entry.spec, ArraySpec) and (value is None or type(value) in (list, tuple, str)):
        hint = "; write jnp.asarray(value)" if isinstance(value, list | tuple) else ""
        raise LayoutError(
            f"{entry.path}: got {value!r}, a {type(value).__name__}, expected an array of shape {entry.shape}{hint}"
        )
    ravel_map, batch_axes = entry.ravel_map, len(batch_shape(entry, value))
    known, plain = not is_traced(value), isinstance(ravel_map, Real)

    def one(value: Any) -> Any:
        return jnp.asarray(ravel_map.ravel(value, entry.spec), dtype)

    for _ in range(batch_axes):
        one = jax.vmap(one, axis_size=None)
    # What is known stays known where another function is traced, so that it can be compared.
    with jax.ensure_compile_time_eval() if known and not plain else contextlib.nullcontext():
        given = value
        value = jax.tree.map(lambda leaf: as_array(leaf, _dtype_of(entry, leaf, dtype), entry.path), value)
        if known and not plain:
            _check_value(entry, given)
        segment = one(value)
        tried = not start or type(ravel_map).check is not AbstractRavelMap.check
        if plain or not entry.size or not (known or tried):
            return segment
        if known:
            _check_range(entry, value, segment)
            if type(ravel_map).check is AbstractRavelMap.check and tried:
                _check_kept(entry, value, segment, batch_axes)
            return segment
        shown = unravel_entry(entry, jax.lax.stop_gradient(segment), batch_axes)
        return nan_unless(agree(jax.lax.stop_gradient(value), shown, batch_axes, exactly=False), segment)


def unravel_entry(entry: Entry, segment: Any, batch_axes: int) -> Any:
    """The value that a segment stores; leading axes are a batch."""

    def one(segment: Any) -> Any:
        return entry.ravel_map.unravel(segment, entry.spec)

    for _ in range(batch_axes):
        one = jax.vmap(one)
    return one(segment)


def batch_shape(entry: Entry, value: Any) -> tuple[int, ...]:
    """The leading axes that `value` has beyond the entry's own shape."""
    if isinstance(entry.spec, ArraySpec):
        shapes = [(entry.path, np.shape(value), entry.spec.shape)]
    elif isinstance(value, Params) and tuple(leaf_paths(value)) == tuple(leaf_paths(entry.spec)):
        shapes = [
            (join_path(entry.path, path), np.shape(value[path]), entry.spec[path].shape)
            for path in leaf_paths(entry.spec)
        ]
    else:
        raise LayoutError(
            f"{entry.path}: expected a Params of {', '.join(leaf_paths(entry.spec))}, got {type(value).__name__}"
        )
    for path, got, expected in shapes:
        if got[len(got) - len(expected) :] != expected:
            raise LayoutError(f"{path}: got shape {got}, expected {expected}")
    batches = {got[: len(got) - len(expected)]: path for path, got, expected in shapes}
    if len(batches) > 1:
        (first, first_path), (other, other_path) = list(batches.items())[:2]
        raise LayoutError(f"leading axes differ: {first} for {first_path}, {other} for {other_path}")
    return next(iter(batches), ())


def _dtype_of(entry: Entry, leaf: Any, dtype: np.dtype) -> np.dtype:
    """The dtype of the vector; for complex numbers, where the entry takes them, its complex counterpart."""
    real = isinstance(entry.spec, ArraySpec) and not jnp.issubdtype(entry.spec.dtype, jnp.complexfloating)
    return dtype if real or not np.iscomplexobj(leaf) else complex_dtype(dtype)


def _check_range(entry: Entry, value: Any, segment: Any) -> None:
    finite = all(np.all(np.isfinite(np.asarray(leaf))) for leaf in jax.tree.leaves(value))
    if finite and not np.all(np.isfinite(np.asarray(segment))):
        raise LayoutError(
            f"{entry.path}: got {value!r}, which {ravel_map_name(entry)} stores as a number beyond the range of {segment.dtype}"
        )


def _check_kept(entry: Entry, value: Any, segment: Any, batch_axes: int) -> None:
    try:
        shown = unravel_entry(entry, segment, batch_axes)
    except Exception:  # which whoever reads the value will see
        return
    if not agree(value, shown, batch_axes, exactly=False):
        raise LayoutError(
            f"{entry.path}: got {value!r}, which {ravel_map_name(entry)} stores as {shown!r}; give it a value that it keeps"
        )


def _check_value(entry: Entry, value: Any) -> None:
    try:
        entry.ravel_map.check(value)
    except ValueError as error:
        raise LayoutError(f"{entry.path}: {error} (it is stored as {ravel_map_name(entry)})") from None


def ravel_map_name(entry: Entry) -> str:
    """The map of an entry, for a message."""
    return entry.ravel_map.name or repr(entry.ravel_map)
