"""One number for each component of a tree of arrays, given as a number or as tuples."""

import numbers
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import ShapeError
from .._types import StateTree


def per_component(where: str, values: Any, tree: StateTree) -> Any:
    """A tree like `tree` of float64 arrays that broadcast against its leaves.

    **Arguments:** `where`: for messages; `values`: a number for all, a tuple with one for each component along the last axis of an array,
    or a tuple with such an entry for each child of the tree.

    **Errors:** `ShapeError` where they do not fit.
    """
    if isinstance(values, numbers.Real):
        return jax.tree.map(lambda leaf: np.full((1,) * jnp.ndim(leaf), values, np.float64), tree)
    if jax.tree.structure(tree) == jax.tree.structure(0):
        shape = jnp.shape(tree)
        if (len(values),) != shape[-1:] or not all(isinstance(value, numbers.Real) for value in values):
            raise ShapeError(
                f"{where}={values} does not fit an array of shape {shape}; give one number, or one for each component along its last axis"
            )
        return np.asarray(values, np.float64).reshape((1,) * (len(shape) - 1) + (-1,))
    children, structure = eqx.tree_flatten_one_level(tree)
    if len(children) != len(values):
        raise ShapeError(
            f"{where}={values} has {len(values)} entries, for a tree of {len(children)}; give one for each"
        )
    entries = zip(values, children, strict=True)
    return jax.tree.unflatten(structure, [per_component(where, value, child) for value, child in entries])
