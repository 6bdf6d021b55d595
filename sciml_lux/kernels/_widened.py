"""Numbers of few digits."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def widened(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` in a dtype that holds sums, angles and knots: float32 for numbers of 16 bits, its own otherwise."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
