"""What an equilibrium is made of, as a matrix with one row for each sample."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..._errors import ShapeError
from ..fixed_point import from_rows, row_lengths, to_rows


@dataclass(frozen=True)
class Rows:
    """The way between a tree of arrays and a matrix `(samples, size)`. Static: it knows shapes, not numbers.

    **Arguments:** `structure`, `shapes`: of the tree; `samples`: how many rows; `batched`: whether the leading axis of every array is
    the sample. Otherwise the whole tree is one row.
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    samples: int
    batched: bool
    dtype: np.dtype

    @property
    def size(self) -> int:
        """How many numbers one sample has."""
        return sum(math.prod(shape) for shape in self.shapes) // self.samples

    def matrix(self, tree: PyTree[Array]) -> Array:
        """The tree as a matrix."""
        return to_rows(tree, self.batched)

    def tree(self, matrix: Array) -> Any:
        """The matrix as a tree."""
        like = [jax.ShapeDtypeStruct(shape, self.dtype) for shape in self.shapes]
        return from_rows(matrix, jax.tree.unflatten(self.structure, like))

    def of_samples(self, values: Array) -> Array:
        """What is known of each row, without the axis where the tree has none for samples."""
        return values if self.batched else values[0]


def rows_of(name: str, z: PyTree, batched: bool) -> Rows:
    """How a tree like `z` becomes a matrix.

    **Errors:** `ShapeError` for arrays that share no leading axis, or no floating-point dtype, or hold nothing.
    """
    leaves, structure = jax.tree.flatten(z)
    shapes = tuple(jnp.shape(leaf) for leaf in leaves)
    dtypes = {jnp.result_type(leaf) for leaf in leaves}
    if len(dtypes) != 1 or not all(jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes):
        raise ShapeError(
            f"{name}: z is made of floating-point arrays of one dtype, got {[str(jnp.result_type(leaf)) for leaf in leaves]}; "
            "init=function or init=layer says what z starts from if it is not like x"
        )
    if any(math.prod(shape) == 0 for shape in shapes):
        raise ShapeError(f"{name}: z holds no numbers, got shapes {list(shapes)}")
    # A vector has features but no batch axis, as for every layer.
    batched = batched and all(len(shape) > 1 for shape in shapes)
    samples = {shape[0] for shape in shapes} if batched else {1}
    if len(samples) != 1:
        raise ShapeError(
            f"{name}: the arrays in z share a leading axis, the samples; got shapes {list(shapes)}. Write batched=False for one sample"
        )
    return Rows(structure, shapes, samples.pop(), batched, np.dtype(dtypes.pop()))


def row_norms(matrix: Array) -> Array:
    """The root mean square of each row."""
    lengths = row_lengths(matrix)
    return lengths / jnp.sqrt(jnp.asarray(matrix.shape[1], lengths.dtype))  # within an export the size may be a symbol
