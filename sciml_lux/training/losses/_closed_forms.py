"""Functions that losses are made of, with derivatives in closed form.

What JAX derives for a quotient divides by the square of the denominator, for a logarithm so does the second derivative, and for a
product with an infinite number it is NaN: derivatives are then lost long before they are infinite themselves. Here each derivative
is made of functions of this file, so that those of any order, forward and reverse, are finite wherever they are so mathematically.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


@jax.custom_jvp
def reciprocal(y: Array) -> Array:
    """`1 / y`."""
    return 1 / y


@reciprocal.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (y,), (dy,) = primals, tangents
    inverse = reciprocal(y)
    return inverse, -inverse * (inverse * dy)


@jax.custom_jvp
def ratio(x: Array, y: Array) -> Array:
    """`x / y`; where `x` is 0 and stays so, derivatives in `y` are 0 however small it is."""
    return x / y


@ratio.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x, y), (dx, dy) = primals, tangents
    quotient, inverse = ratio(x, y), reciprocal(y)
    return quotient, dx * inverse - quotient * (dy * inverse)


@jax.custom_jvp
def log(p: Array) -> Array:
    """The logarithm. At 0, the derivative is that at the smallest normal number, so that 0 times it is 0."""
    return jnp.log(p)


@log.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (p,), (dp,) = primals, tangents
    return log(p), dp * reciprocal(_not_zero(p))


@jax.custom_jvp
def weighted_log(t: Array, p: Array) -> Array:
    """`t * log(p)`, with 0 log 0 = 0."""
    logarithm = jnp.log(p)
    return t * jnp.where((t == 0) & jnp.isinf(logarithm), 0, logarithm)


@weighted_log.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (t, p), (dt, dp) = primals, tangents
    return weighted_log(t, p), dt * log(_not_zero(p)) + ratio(t, _not_zero(p)) * dp


@jax.custom_jvp
def relative_entropy(t: Array, p: Array) -> Array:
    """`t * log(t / p)`, 0 where `t` is 0, of a positive `p`. Few digits are lost where they are nearly equal."""
    return t * (log(at_least_tiny(t)) - log(p))


@relative_entropy.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (t, p), (dt, dp) = primals, tangents
    return relative_entropy(t, p), dt * (log(at_least_tiny(t)) - log(p) + 1) - ratio(t, p) * dp


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def relative_log(p: Array, offset: float) -> Array:
    """`log((p + offset) / offset)`."""
    return jnp.log1p(p / offset)


@relative_log.defjvp
def _(offset: float, primals: Any, tangents: Any) -> Any:
    (p,), (dp,) = primals, tangents
    return relative_log(p, offset), dp * reciprocal(p + offset)


def at_least_tiny(p: Array) -> Array:
    """`p`, or the smallest normal number where it is below that."""
    tiny = jnp.finfo(p.dtype).tiny
    return jnp.where(p < tiny, tiny, p)


@jax.custom_jvp
def sigmoid(z: Array) -> Array:
    """The logistic function."""
    return jax.nn.sigmoid(z)


@sigmoid.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (z,), (dz,) = primals, tangents
    return sigmoid(z), sigmoid(z) * sigmoid(-z) * dz


@jax.custom_jvp
def softplus(z: Array) -> Array:
    """`log(1 + exp(z))`, which is `-log(p)` of the logit `-z`."""
    return jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


@softplus.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (z,), (dz,) = primals, tangents
    return softplus(z), sigmoid(z) * dz


@jax.custom_jvp
def log_softmax(logits: Array) -> Array:
    """The logarithms of `softmax(logits)` over the last axis, in the limit where one logit is inf or some are -inf."""
    # optax's softmax_cross_entropy_with_integer_labels subtracts the label's logit from the logarithm of a sum of exponentials: for
    # logits of 1e4 in float32, three digits are left. So the largest is subtracted first, from itself even if it is infinite.
    top = jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1], dtype=bool)
    largest = jnp.max(logits, -1, keepdims=True)
    shifted = jnp.where(top & ~jnp.isnan(logits), 0, logits - largest)
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), -1, keepdims=True))


@log_softmax.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (logits,), (tangent,) = primals, tangents
    log_p = log_softmax(logits)
    return log_p, tangent - jnp.sum(jnp.exp(log_p) * tangent, -1, keepdims=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def binary_focal_log(z: Array, gamma: float) -> Array:
    """`-(1 - p)**gamma * log(p)` of the probability `p = sigmoid(z)`."""
    return _complement(z, gamma) * softplus(-z)


@binary_focal_log.defjvp
def _(gamma: float, primals: Any, tangents: Any) -> Any:
    (z,), (dz,) = primals, tangents
    slope = _complement(z, gamma) * (sigmoid(-z) + gamma * _surprise(z))
    return binary_focal_log(z, gamma), -slope * dz


def _complement(z: Array, gamma: float) -> Array:
    """`(1 - p)**gamma`. An exponential, because the derivative of a power below 1 is infinite at 0."""
    return jnp.exp(-gamma * softplus(z)) if gamma else jnp.ones_like(z)


@jax.custom_jvp
def _surprise(z: Array) -> Array:
    """`-p log(p)` of `p = sigmoid(z)`."""
    return jnp.where(jnp.isneginf(z), 0, sigmoid(z) * softplus(-z))


@_surprise.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (z,), (dz,) = primals, tangents
    return _surprise(z), sigmoid(-z) * (_surprise(z) - sigmoid(z)) * dz


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def focal_log(log_p: Array, gamma: float) -> Array:
    """`-(1 - p)**gamma * log(p)` of the logarithm of a probability."""
    return _rest(log_p, gamma) * -log_p


@focal_log.defjvp
def _(gamma: float, primals: Any, tangents: Any) -> Any:
    (log_p,), (tangent,) = primals, tangents
    return focal_log(log_p, gamma), -_focal_slope(log_p, gamma) * tangent


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def weighted_focal_log(t: Array, p: Array, gamma: float) -> Array:
    """`t` times that, of a positive probability."""
    return t * focal_log(log(p), gamma)


@weighted_focal_log.defjvp
def _(gamma: float, primals: Any, tangents: Any) -> Any:
    (t, p), (dt, dp) = primals, tangents
    slope = ratio(t, p) * _focal_slope(log(p), gamma)
    return weighted_focal_log(t, p, gamma), dt * focal_log(log(p), gamma) - slope * dp


def _focal_slope(log_p: Array, gamma: float) -> Array:
    # p log(p) / (1 - p), as the power of 1 - p alone may be infinite.
    return _rest(log_p, gamma) * (1 + gamma * _odds_times_log(-log_p))


def _rest(log_p: Array, gamma: float) -> Array:
    """`(1 - p)**gamma`, bounded from 0, where the derivative of a power below 1 is infinite."""
    return jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny) ** gamma if gamma else jnp.ones_like(log_p)


def _odds_times_log(u: Array) -> Array:
    """`u / (exp(u) - 1)`: 1 at 0, 0 at infinity."""
    near = u < 0.1
    series = jnp.where(near, u, 0)
    square = series**2
    series = 1 - series / 2 + square / 12 * (1 - square / 60 * (1 - square / 42))
    far = jnp.where(near | jnp.isinf(u), 1, u)
    return jnp.where(near, series, jnp.where(jnp.isinf(u), 0, far * jnp.exp(-far) / -jnp.expm1(-far)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def huber(e: Array, delta: float) -> Array:
    """`e**2 / 2` up to `|e| = delta`, with the tangent's slope beyond."""
    bounded = jnp.clip(e, -delta, delta)
    return bounded * (e - bounded / 2)


@huber.defjvp
def _(delta: float, primals: Any, tangents: Any) -> Any:
    (e,), (de,) = primals, tangents
    return huber(e, delta), jnp.clip(e, -delta, delta) * de


@jax.custom_jvp
def log_cosh(e: Array) -> Array:
    """The logarithm of the hyperbolic cosine."""
    # optax takes log(2) from a number that is nearly log(2) if e is small: in float32 nothing is left below e = 2e-4.
    # log cosh e = log(1 + 2 sinh(e / 2)**2), the clip keeping the branch that is not taken finite.
    near = jnp.log1p(2 * jnp.sinh(jnp.clip(e, -1, 1) / 2) ** 2)
    far = jnp.abs(e) + jnp.log1p(jnp.exp(-2 * jnp.abs(e))) - jnp.log(2.0).astype(e.dtype)
    return jnp.where(jnp.abs(e) < 1, near, far)


@log_cosh.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (e,), (de,) = primals, tangents
    return log_cosh(e), jnp.tanh(e) * de


def _not_zero(y: Array) -> Array:
    return jnp.where(y == 0, jnp.finfo(y.dtype).tiny, y)
