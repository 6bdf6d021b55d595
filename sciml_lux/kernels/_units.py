"""Units in which numbers of any size can be squared."""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def inverse_unit(largest: Float[Array, "..."], epsilon: float = 0.0) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The inverse of a unit in which numbers, the largest of these magnitudes, are at most 1 or so, and `sqrt(epsilon)` in that unit.

    Squares of numbers beyond 1e19 or below 1e-19 leave float32, and the derivative of `variance**-0.5` does from a millionth of
    that on. In a unit of their own they do not, in derivatives of any order. It is a power of two, so that nothing is rounded by it,
    and to be a constant to the derivative, as the result does not depend on it: pass `stop_gradient` of the numbers.
    """
    digits = jnp.finfo(largest.dtype)
    # Where all numbers are equal, epsilon is what they are divided by: it may be small, but not vanish beside them.
    root_epsilon = max(math.sqrt(epsilon), float(digits.tiny))
    largest = jnp.clip(largest, max(root_epsilon, 8 * float(digits.tiny)), float(digits.max) / 8)
    unit = lax.reduce_precision(largest, digits.nexp, 0)
    return 1.0 / unit, root_epsilon / unit
