"""Linear systems `u - A u = g` by LU factors of each row's matrix."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...fixed_point import row_lengths


def solve_dense(operator: Callable[[Array], Array], g: Array, wanted: Array, max_steps: int) -> tuple[Array, Array]:
    """The solution of each row up to a residual of the norm `wanted`, and how many products with the operator it took.

    The columns of all matrices come from one product with each unit vector, the same for every row, which is right
    where no row depends on another. Otherwise the factors are no more than near, and refinement by products with the true operator, up to
    `max_steps` of them, has to do the rest.
    """
    samples, size = g.shape
    units = jnp.broadcast_to(jnp.eye(size, dtype=g.dtype)[:, None, :], (size, samples, size))
    matrices = jnp.eye(size, dtype=g.dtype)[None] - jnp.transpose(jax.vmap(operator)(units), (1, 2, 0))
    factors, pivots, order = lax.linalg.lu(matrices)
    del pivots

    def step(carry: tuple[Array, ...]) -> Any:
        u, residual, done, num_steps, count = carry
        new = u + _solved(factors, order, residual)
        after = g - (new - operator(new))
        # Refinement that does not lead nearer is rounding, or hopeless.
        better = ~done & ((row_lengths(after) < row_lengths(residual)) | (count == 0))
        u = jnp.where(better[:, None], new, u)
        residual = jnp.where(better[:, None], after, residual)
        num_steps = num_steps + (~done).astype(jnp.int32)
        return u, residual, done | ~better | ~(row_lengths(residual) > wanted), num_steps, count + 1

    start = (
        jnp.zeros_like(g), g, ~(row_lengths(g) > 0), jnp.full((samples,), size, jnp.int32), jnp.zeros((), jnp.int32)
    )  # fmt: skip
    u, _, _, num_steps, _ = lax.while_loop(lambda c: (c[-1] < max_steps) & ~jnp.all(c[2]), step, start)
    return u, num_steps


def _solved(factors: Array, order: Array, rows: Array) -> Array:
    permuted = jnp.take_along_axis(rows, order, axis=1)[..., None]
    lower = lax.linalg.triangular_solve(factors, permuted, left_side=True, lower=True, unit_diagonal=True)
    return lax.linalg.triangular_solve(factors, lower, left_side=True, lower=False)[..., 0]
