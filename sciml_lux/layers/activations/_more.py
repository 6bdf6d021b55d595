"""Activations that PyTorch has and JAX has not, or has under an option."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gelu_exact(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x Φ(x)`, with `Φ` the standard normal distribution: PyTorch's default.

    `activations.gelu` is JAX's default, which replaces `Φ` by a formula with tanh (PyTorch's `approximate="tanh"`) and differs by up to
    5e-4 (Hendrycks and Gimpel 2016).
    """
    return jax.nn.gelu(x, approximate=False)


def tanh_shrink(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x - tanh(x)`."""
    return x - jnp.tanh(x)


def soft_shrink(x: Float[Array, "..."], threshold: float = 0.5) -> Float[Array, "..."]:
    """`sign(x) max(|x| - threshold, 0)`: what shrinks by `threshold`, the proximal map of `threshold |x|`."""
    return jnp.where(x > threshold, x - threshold, jnp.where(x < -threshold, x + threshold, 0 * x))


def hard_shrink(x: Float[Array, "..."], threshold: float = 0.5) -> Float[Array, "..."]:
    """`x` where `|x| > threshold`, 0 elsewhere."""
    return jnp.where(jnp.abs(x) > threshold, x, 0 * x)
