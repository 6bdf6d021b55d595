"""Trees of arrays as matrices: one row a sample, one column a number of it."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jaxtyping import Array, Float, Inexact, PyTree, Scalar

from ..._errors import ShapeError


def to_rows(tree: PyTree, batched: bool) -> Inexact[Array, "samples size"]:
    """The numbers of each sample side by side, in the one dtype that holds them all; one row if not `batched`."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    samples = _samples(leaves, batched)
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*leaves)
    rows = [leaf.astype(dtype).reshape(samples, math.prod(leaf.shape) // max(samples, 1)) for leaf in leaves]
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=1)


def from_rows(rows: Inexact[Array, "samples size"], like: PyTree) -> PyTree:
    """The tree of the structure, shapes and dtypes of `like` whose numbers are `rows`."""
    leaves, structure = jax.tree.flatten(like)
    pieces, start = [], 0
    for leaf in leaves:
        size = math.prod(leaf.shape) // max(rows.shape[0], 1)
        piece = rows[:, start : start + size].reshape(leaf.shape)
        start += size
        if jnp.iscomplexobj(piece) and not jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            piece = piece.real
        pieces.append(piece.astype(leaf.dtype))
    return jax.tree.unflatten(structure, pieces)


def _samples(leaves: list[Array], batched: bool) -> int:
    if not leaves:
        raise ShapeError("The solver got a tree without arrays. Pass at least one array to solve for.")
    if not batched:
        return 1
    shapes = [leaf.shape for leaf in leaves]
    if any(not shape or shape[0] != (shapes[0] or (0,))[0] for shape in shapes):
        raise ShapeError(
            f"With batched=True the first axis of every array counts the samples, and must have one length. Got shapes {shapes}."
            " Put the samples first, or set batched=False to solve for everything as one sample."
        )
    return shapes[0][0]


def row_norms(
    norm: Callable[[PyTree], Scalar], rows: Inexact[Array, "samples size"], like: PyTree, batched: bool
) -> Float[Array, " samples"]:
    """`norm` of each sample. The norms of optimistix are the same for a tree and for its numbers in a row; any other one gets the
    sample as a tree like the user's."""
    if norm is optx.rms_norm:
        return row_lengths(rows) / max(rows.shape[1], 1) ** 0.5
    if norm is optx.two_norm:
        return row_lengths(rows)
    if norm is optx.max_norm:
        return jnp.max(jnp.abs(rows), axis=1, initial=0)
    tree = from_rows(rows, like)
    return jax.vmap(norm)(tree) if batched else norm(tree)[None]


def row_products(
    left: Inexact[Array, "samples size"], right: Inexact[Array, "samples size"]
) -> Inexact[Array, " samples"]:
    """The inner product of each row of `left` with that of `right`."""
    # As a product, not as a sum: XLA's CPU backend adds up a row one number after the other.
    return jnp.einsum("sd,sd->s", left.conj(), right, precision=lax.Precision.HIGHEST)


def row_lengths(rows: Inexact[Array, "samples size"]) -> Float[Array, " samples"]:
    """The 2-norm of each row."""
    square = row_products(rows, rows).real
    # A root that can be differentiated at 0, where samples that have converged stand still.
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), square)
