"""Storage policy: what dtype a layer computes in, over a vector of one dtype."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from ..._errors import LayoutError
from ...kernels import is_traced
from .._exact_arrays import as_array
from .._flat_params import FlatParams
from .._layout import Layout, layout_of
from ..maps import ArraySpec
from ._selection import select

Where = TypeVar("Where", Layout, FlatParams)


def compute_dtype(where: Where, dtypes: Mapping[str, Any]) -> Where:
    """Shows selected parameters in another floating dtype than that of the vector; gradients come back in the vector's.

        ps = lux.flatten.compute_dtype(ps, {"*.weight": jnp.bfloat16})     # float32 vector, bfloat16 products

    **Arguments:** `where`: a layout, or parameters; `dtypes`: from patterns, as for `select`, to dtypes; later patterns win.

    **Errors:** `PathError` for a pattern that selects nothing; `LayoutError` for a dtype that is not floating, and for an
    entry that holds a whole layer, and for a value beyond the range of the dtype.
    """
    layout = layout_of(where)
    changed = {}
    for pattern, dtype in dtypes.items():
        dtype = np.dtype(dtype)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise LayoutError(f"{pattern}: got dtype {dtype}; parameters are computed with in a floating dtype")
        for entry in select(layout, pattern).entries:
            if not isinstance(entry.spec, ArraySpec):
                raise LayoutError(f"{entry.path} holds a whole layer; cast within its ravel map")
            changed[entry.path] = dataclasses.replace(entry, spec=ArraySpec(entry.spec.shape, dtype))
    stored = layout.with_entries(changed)
    if isinstance(where, FlatParams):
        if not is_traced(where.vector):
            for path, entry in changed.items():
                as_array(np.asarray(where[path]), entry.spec.dtype, path)
        return FlatParams(where.vector, stored)  # type: ignore[return-value]
    return stored
