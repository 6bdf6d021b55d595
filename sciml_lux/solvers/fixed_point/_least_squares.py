"""The small linear systems of all samples at once, as arithmetic on vectors over the samples."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact


def solve_normalized(
    matrix: Inexact[Array, "memory memory samples"],
    target: Inexact[Array, "memory samples"],
    used: Bool[Array, "memory samples"],
    damping: float,
    hermitian: bool,
) -> Inexact[Array, "memory samples"]:
    """`(matrix + damping) x = target` after rows and columns are scaled such that the diagonal is 1 in magnitude; 0 where not `used`."""
    memory = matrix.shape[0]
    diagonal = jnp.abs(jnp.stack([matrix[i, i] for i in range(memory)]))
    used = used & (diagonal > 0)
    scale = jnp.where(used, 1 / jnp.sqrt(jnp.where(used, diagonal, 1)), 0)
    eye = jnp.eye(memory, dtype=bool)[:, :, None]
    a = matrix * (scale[:, None] * scale[None, :]).astype(matrix.dtype)
    a = jnp.where(eye, jnp.where(used[:, None], a + damping, 1), a)
    b = target * scale.astype(target.dtype)
    for k in range(memory):
        factor = a[:, k] / a[k, k][None]
        factor = jnp.where(jnp.arange(memory)[:, None] == k, 0, factor)
        a = a - factor[:, None] * a[k][None]
        b = b - factor * b[k][None]
    x = b / jnp.stack([a[i, i] for i in range(memory)])
    x = jnp.where(used & jnp.isfinite(x), x, 0)
    return x * scale.astype(x.dtype)
