"""Logarithms of probabilities, and what is taken out of them."""

import jax.numpy as jnp
from jaxtyping import Array

from ._closed_forms import at_least_tiny, log, log_softmax


def log_probability(predictions: Array, labels: Array, logits: bool) -> Array:
    """The logarithm of the probability, or of the softmax of logits, of the label's class; NaN for a label that is no class."""
    # Of probabilities, the others are left out before the logarithm, whose derivatives may be infinite there.
    if logits:
        return _of_labels(log_softmax(predictions), labels)
    return log(at_least_tiny(_of_labels(predictions, labels)))


def _of_labels(values: Array, labels: Array) -> Array:
    known = (labels >= 0) & (labels < values.shape[-1])
    taken = jnp.take_along_axis(values, jnp.where(known, labels, 0)[..., None], axis=-1)[..., 0]
    return taken * jnp.where(known, 1, jnp.nan)  # a product, so that the gradient is NaN, too


def weighted(weight: Array, loss: Array) -> Array:
    """`weight * loss`, but 0 where what is infinite has no weight: 0 log 0 is 0.

    optax's `safe_softmax_cross_entropy` is NaN there in forward mode.
    """
    return weight * jnp.where((weight == 0) & jnp.isinf(loss), 0, loss)
