"""Logarithms of probabilities, and what is taken out of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def bounded_log(p: Array) -> Array:
    """The logarithm, of the smallest normal number where `p` is below that."""
    return jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))


def log_probabilities(predictions: Array, logits: bool) -> Array:
    """The logarithms of the probabilities that `predictions` are, or are the logits of."""
    # optax's softmax_cross_entropy_with_integer_labels subtracts the label's logit from the logarithm of a sum of exponentials: for
    # logits of 1e4 in float32, three digits are left. log_softmax subtracts the largest logit first.
    return jax.nn.log_softmax(predictions) if logits else bounded_log(predictions)


def of_labels(values: Array, labels: Array) -> Array:
    """The value of each label on the last axis; NaN for a label that is no class."""
    known = (labels >= 0) & (labels < values.shape[-1])
    taken = jnp.take_along_axis(values, jnp.where(known, labels, 0)[..., None], axis=-1)[..., 0]
    return taken * jnp.where(known, 1, jnp.nan)  # a product, so that the gradient is NaN, too


def where_possible(log_p: Array, targets: Array) -> Array:
    """`log_p`, but 0 where a class that is no target is impossible, so that `targets * log_p` follows 0 log 0 = 0.

    optax's `safe_softmax_cross_entropy` is NaN there in forward mode.
    """
    return jnp.where((targets == 0) & jnp.isneginf(log_p), 0, log_p)
