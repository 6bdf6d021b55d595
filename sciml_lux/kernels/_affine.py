"""Products with a weight and a bias, with samples in rows or in columns."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._product import product
from ._widened import widened


def affine(
    x: Float[Array, "... in"], weight: Float[Array, "in out"], bias: Float[Array, " out"] | None
) -> Float[Array, "... out"]:
    """`x @ weight + bias`, the bias summed in no fewer digits than float32 has."""
    y = product(x, weight)
    return y if bias is None else y + jnp.broadcast_to(widened(bias), y.shape).astype(y.dtype)


def affine_on_columns(
    x: Float[Array, "in samples"], weight: Float[Array, "in out"], bias: Float[Array, " out"] | None
) -> Float[Array, "out samples"]:
    """The same for samples in columns, `weight.T @ x + bias[:, None]`."""
    y = weight.T @ x
    if bias is None:
        return y
    bias = widened(bias)
    # The bias for each column is a product, as its gradient is then one: faster than a sum, mostly.
    return y + (bias[:, None] @ jnp.ones((1, x.shape[1]), bias.dtype)).astype(y.dtype)
