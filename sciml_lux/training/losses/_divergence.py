"""Losses of distributions against distributions, and of distances."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from ._closed_forms import at_least_tiny, log, log_softmax, relative_entropy
from ._evaluate import Aggregate, check_range, evaluate
from ._probabilities import weighted


def kl_divergence(
    predictions: Float[ArrayLike, "... classes"],
    targets: Shaped[ArrayLike, "..."],
    *,
    logits: bool = True,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The Kullback-Leibler divergence, `sum(targets * log(targets / p))` over the last axis, with `p = softmax(predictions)`.

    0 or more, and 0 where the distributions are equal; the cross-entropy less the entropy of the targets. Logarithms of probabilities are
    logits, too. The mean is over the divergences, which is PyTorch's `batchmean`; its `mean` also divides by the number of classes.

    **Arguments:** `predictions`: logits `(..., classes)`, or probabilities if `logits=False`; `targets`: probabilities of
    equal shape; `agg`, `weights`, `mask`: see `sciml_lux.losses`, of shape `(...)`.
    """

    def formula(p: Array, t: Array) -> Array:
        # Subtracted class by class, so that little is lost where the distributions are nearly equal.
        if logits:
            return jnp.sum(weighted(t, log(at_least_tiny(t)) - log_softmax(p)), axis=-1)
        return jnp.sum(relative_entropy(t, at_least_tiny(p)), axis=-1)

    return evaluate("kl_divergence", formula, predictions, targets, agg=agg, weights=weights, mask=mask, axes=(-1,))


def siamese_contrastive(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    margin: float = 1.0,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The contrastive loss of the distances of pairs, `(1 - t) * d**2 + t * max(0, margin - d)**2`.

    It draws similar pairs together and pushes others apart until they are `margin` away.

    **Arguments:** `predictions`: distances `d`, 0 or more (with `optax.safe_norm`, whose gradient at 0 is finite);
    `targets`: of equal shape, 0 for similar pairs, 1 for others; `margin`: 0 or more; `agg`, `weights`, `mask`: see `sciml_lux.losses`.

    Hadsell, Chopra and LeCun (2006), Dimensionality reduction by learning an invariant mapping.
    """
    check_range("siamese_contrastive", 0.0, float("inf"), margin=margin)

    def formula(d: Array, t: Array) -> Array:
        # The square of a large distance, beyond the margin anyway, need not be a number of the dtype.
        return (1 - t) * d * d + t * jnp.maximum(0, margin - d) ** 2

    return evaluate("siamese_contrastive", formula, predictions, targets, agg=agg, weights=weights, mask=mask)
