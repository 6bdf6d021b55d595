"""Several parameter vectors of one layout: starts, ensembles, posterior samples."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._errors import IndexRangeError, LayoutError
from ..kernels import is_traced
from ._flat_params import FlatParams


def stack(members: Sequence[FlatParams]) -> FlatParams:
    """One batch of parameter vectors, with a new leading axis. **Errors:** `LayoutError` for none, or for differing layouts."""
    if isinstance(members, FlatParams) or not all(isinstance(member, FlatParams) for member in members):
        raise LayoutError(f"stack takes a list of FlatParams, got {type(members).__name__}; write stack([ps_1, ps_2])")
    if not members:
        raise LayoutError("stack takes at least one FlatParams")
    layout, batch = members[0].layout, members[0].vector.shape[:-1]
    if any(member.layout is not layout for member in members):
        raise LayoutError("stack takes parameters of one layout; these differ")
    if any(member.vector.shape[:-1] != batch for member in members):
        raise LayoutError(
            f"stack takes parameters with the same leading axes, got {[member.vector.shape[:-1] for member in members]}"
        )
    return FlatParams(jnp.stack([member.vector for member in members]), layout)


def pick(batch: FlatParams, index: Any) -> FlatParams:
    """One member of a batch, or several: `index` is anything that indexes the leading axes of the vector, as NumPy takes it.

    **Errors:** `IndexRangeError` for a member that is not there; a traced index is not checked, and takes the nearest member.
    `LayoutError` for a single vector.
    """
    if batch.vector.ndim < 2:
        raise LayoutError("pick takes a batch of parameter vectors, got a single one")
    index = np.asarray(index) if isinstance(index, list) else index
    check_index(index, batch.vector.shape[:-1], "pick")
    return FlatParams(batch.vector[index], batch.layout)


def check_index(index: Any, shape: tuple[int, ...], what: str) -> None:
    """Raises `IndexRangeError` unless NumPy takes `index` of an array of `shape`. JAX takes the nearest element instead."""
    if is_traced(index):
        return
    try:
        np.broadcast_to(np.int8(0), shape)[index]
    except IndexError as error:
        raise IndexRangeError(f"{what}: {error}; there are {shape} along the leading axes, counted from 0") from None
