"""Several parameter vectors of one layout: starts, ensembles, posterior samples."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ._errors import LayoutError
from ._flat_params import FlatParams


def stack(members: Sequence[FlatParams]) -> FlatParams:
    """One batch of parameter vectors, with a new leading axis. **Errors:** `LayoutError` for none, or for differing layouts."""
    if not members:
        raise LayoutError("stack takes at least one FlatParams")
    layout = members[0].layout
    if any(member.layout is not layout for member in members):
        raise LayoutError("stack takes parameters of one layout; these differ")
    return FlatParams(jnp.stack([member.vector for member in members]), layout)


def pick(batch: FlatParams, index: Any) -> FlatParams:
    """One member of a batch, or several: `index` is anything that indexes the leading axes of the vector."""
    if batch.vector.ndim < 2:
        raise LayoutError("pick takes a batch of parameter vectors, got a single one")
    return FlatParams(batch.vector[index], batch.layout)
