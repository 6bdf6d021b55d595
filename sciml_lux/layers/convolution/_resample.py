"""Products with a fixed, sparse matrix along one axis: what interpolation is made of."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Rows(NamedTuple):
    """A matrix by rows: for each, the columns of its entries and their values, filled up with zeros to the same number.

    Held as tuples of tuples, one for each place in the rows, so that it can be compared and hashed. `columns` is the width.
    """

    columns: int
    indices: tuple[tuple[int, ...], ...]
    values: tuple[tuple[float, ...], ...]


def rows(matrix: Float[np.ndarray, "rows columns"]) -> Rows:
    """The rows of a matrix without their zeros."""
    most = max(1, int(np.max(np.count_nonzero(matrix, axis=1), initial=0)))
    places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :most]
    values = np.take_along_axis(matrix, places, axis=1)
    return Rows(matrix.shape[1], tuple(map(tuple, places.T.tolist())), tuple(map(tuple, values.T.tolist())))


@functools.cache
def transposed(matrix: Rows) -> Rows:
    """The rows of the transpose."""
    number = len(matrix.indices[0])
    dense = np.zeros((number, matrix.columns))
    for index, value in zip(matrix.indices, matrix.values, strict=True):
        dense[np.arange(number), index] += value
    return rows(dense.T)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def along(matrix: Rows, axis: int, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The product with a matrix along an axis of `x`.

    Each row takes its few elements of `x`. The gradient takes elements as well, by the rows of the transpose: the transpose that JAX
    would make adds elements up one after the other, several times slower on a CPU.
    """
    return _taken(matrix, axis, x)


@along.defjvp
def _along_jvp(matrix: Rows, axis: int, primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    y = along(matrix, axis, x)
    back = functools.partial(_taken, transposed(matrix), axis)
    return y, jax.linear_transpose(back, y)(dx)[0]


def _taken(matrix: Rows, axis: int, x: Float[Array, "..."]) -> Float[Array, "..."]:
    y: Any = 0.0
    for index, value in zip(matrix.indices, matrix.values, strict=True):
        part = jnp.take(x, np.asarray(index, np.int32), axis, mode="clip")
        along_axis = lambda row, part=part: jnp.broadcast_to(  # noqa: E731
            jnp.expand_dims(row, tuple(range(1, part.ndim - axis))), part.shape
        )
        term = part * along_axis(jnp.asarray(value, x.dtype))
        if (
            0.0 in value
        ):  # a row that was filled up: 0 times what stands in the column would be NaN where that is not finite
            term = jnp.where(along_axis(np.asarray(value) != 0.0), term, 0)
        y = y + term
    return y
