"""A tree of arrays as one vector."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree


class Shape(NamedTuple):
    """How a tree of arrays of one dtype is laid out in a vector."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tree: PyTree[Array]) -> "Shape":
        return cls(jax.tree.structure(tree), tuple(leaf.shape for leaf in jax.tree.leaves(tree)))

    def vector(self, tree: PyTree[Array]) -> Float[Array, " state"]:
        return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])

    def tree(self, vector: Float[Array, " state"]) -> Any:
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        pieces = jnp.split(vector, ends[:-1]) if len(ends) > 1 else [vector]
        leaves = [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)
