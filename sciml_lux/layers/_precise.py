"""Numbers of few digits."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def precise(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` in a dtype that holds angles, knots and intermediate sums: float32 for halves, its own otherwise."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
