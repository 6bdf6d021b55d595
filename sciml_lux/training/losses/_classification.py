"""Losses of logits or probabilities against classes. Classes are on the last axis (PyTorch has them on the second)."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..._errors import LayerError
from ._closed_forms import (
    at_least_tiny,
    binary_focal_log,
    focal_log,
    log,
    log_softmax,
    ratio,
    softplus,
    weighted_focal_log,
    weighted_log,
)
from ._evaluate import Aggregate, check_range, evaluate
from ._probabilities import log_probability, weighted


def cross_entropy(
    predictions: Float[ArrayLike, "... classes"],
    targets: Shaped[ArrayLike, "..."],
    *,
    logits: bool = True,
    label_smoothing: float = 0.0,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The cross-entropy of classes that exclude each other, `-sum(targets * log(p))` over the last axis, `p = softmax(predictions)`.

    A class of probability 0 may have the logit `-inf`: 0 log 0 is 0. A label that is no class gives NaN; leave such
    elements out with `mask=labels != -100`.

    **Arguments:** `predictions`: logits `(..., classes)`, or probabilities if `logits=False` (one below the smallest normal
    number counts as that); `targets`: labels, whole numbers from 0, of shape `(...)`, or probabilities `(..., classes)`;
    `label_smoothing`: the part of each target, from 0 to 1, that is spread evenly over all classes; `agg`, `weights`, `mask`: see
    `sciml_lux.losses`, of shape `(...)`. PyTorch's weights of classes are `weights=class_weights[labels]`.
    """
    check_range("cross_entropy", 0.0, 1.0, label_smoothing=label_smoothing)

    def formula(p: Array, t: Array) -> Array:
        if t.ndim < p.ndim:
            own = -log_probability(p, t, logits)
        elif logits:
            own = -jnp.sum(weighted(t, log_softmax(p)), axis=-1)
        else:
            own = -jnp.sum(weighted_log(t, at_least_tiny(p)), axis=-1)
        if label_smoothing == 0:
            return own
        even = -jnp.mean(log_softmax(p) if logits else log(at_least_tiny(p)), axis=-1)
        return even if label_smoothing == 1 else (1 - label_smoothing) * own + label_smoothing * even

    return evaluate(
        "cross_entropy", formula, predictions, targets, agg=agg, weights=weights, mask=mask, axes=(-1,), labels=True
    )


def binary_cross_entropy(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    logits: bool = True,
    label_smoothing: float = 0.0,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The cross-entropy of yes or no, `-t * log(p) - (1 - t) * log(1 - p)`, with `p = sigmoid(predictions)`.

    **Arguments:** `predictions`: logits, or probabilities if `logits=False` (`p` and `1 - p` below the smallest normal number count as
    that); `targets`: of equal shape, 0, 1, booleans or probabilities; `label_smoothing`: the part of each target, from 0
    to 1, that is replaced by 1/2; `agg`, `weights`, `mask`: see `sciml_lux.losses`.
    """
    check_range("binary_cross_entropy", 0.0, 1.0, label_smoothing=label_smoothing)

    def formula(p: Array, t: Array) -> Array:
        t = (1 - label_smoothing) * t + label_smoothing / 2 if label_smoothing else t
        if logits:
            return weighted(t, softplus(-p)) + weighted(1 - t, softplus(p))
        return -weighted_log(t, at_least_tiny(p)) - weighted_log(1 - t, at_least_tiny(1 - p))

    return evaluate("binary_cross_entropy", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def focal(
    predictions: Float[ArrayLike, "... classes"],
    targets: Shaped[ArrayLike, "..."],
    *,
    gamma: float = 2.0,
    logits: bool = True,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The focal loss of classes that exclude each other, `-sum(targets * (1 - p)**gamma * log(p))` over the last axis.

    What is classified well already counts less; with `gamma=0` it is the cross-entropy.

    **Arguments:** `gamma`: 0 or more; the others as in `cross_entropy`.

    Lin et al. (2017), Focal loss for dense object detection.
    """
    check_range("focal", 0.0, float("inf"), gamma=gamma)

    def formula(p: Array, t: Array) -> Array:
        if t.ndim < p.ndim:
            return focal_log(log_probability(p, t, logits), gamma)
        if logits:
            return jnp.sum(weighted(t, focal_log(log_softmax(p), gamma)), axis=-1)
        return jnp.sum(weighted_focal_log(t, at_least_tiny(p), gamma), axis=-1)

    return evaluate(
        "focal", formula, predictions, targets, agg=agg, weights=weights, mask=mask, axes=(-1,), labels=True
    )


def binary_focal(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The focal loss of yes or no, `-t * (1 - p)**gamma * log(p) - (1 - t) * p**gamma * log(1 - p)`, `p = sigmoid(predictions)`.

    That of `focal` for two classes.

    **Arguments:** `predictions`: logits; `targets`: of equal shape, 0, 1, booleans or probabilities; `gamma`: 0 or more, as in
    `focal`; `alpha`: the weight of a yes, from 0 to 1, that of a no being `1 - alpha` (None: both are 1); `agg`, `weights`,
    `mask`: see `sciml_lux.losses`.

    Lin et al. (2017), Focal loss for dense object detection.
    """
    check_range("binary_focal", 0.0, float("inf"), gamma=gamma)
    if alpha is not None:
        check_range("binary_focal", 0.0, 1.0, alpha=alpha)

    def formula(p: Array, t: Array) -> Array:
        yes, no = (t, 1 - t) if alpha is None else (alpha * t, (1 - alpha) * (1 - t))
        return weighted(yes, binary_focal_log(p, gamma)) + weighted(no, binary_focal_log(-p, gamma))

    return evaluate("binary_focal", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def hinge(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The hinge loss, `max(0, 1 - targets * predictions)`.

    **Arguments:** `predictions`: scores; `targets`: of equal shape, -1 or 1; `agg`, `weights`, `mask`: see `sciml_lux.losses`.
    """
    _check_signs("hinge", targets)
    return evaluate("hinge", optax.losses.hinge_loss, predictions, targets, agg=agg, weights=weights, mask=mask)


def squared_hinge(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The squared hinge loss, `max(0, 1 - targets * predictions)**2`.

    **Arguments:** `predictions`: scores; `targets`: of equal shape, -1 or 1; `agg`, `weights`, `mask`: see `sciml_lux.losses`.
    """
    _check_signs("squared_hinge", targets)

    def formula(p: Array, t: Array) -> Array:
        return optax.losses.hinge_loss(p, t) ** 2

    return evaluate("squared_hinge", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def dice(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    smoothing: float = 1.0,
    axes: tuple[int, ...] | None = None,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """One minus the Dice coefficient, by which two regions overlap: `1 - (2 sum(p * t) + s) / (sum(p**2) + sum(t**2) + s)`.

    The denominator has squares, as in the paper and in Lux.jl; optax and others have `sum(p) + sum(t)`.

    **Arguments:** `predictions`: probabilities; `targets`: of equal shape, 0, 1, booleans or probabilities; `smoothing`: `s`,
    more than 0, so that two empty regions overlap; `axes`: those that a region extends over (None: all but the first, or the only one);
    `agg`, `weights`, `mask`: see `sciml_lux.losses`, one for each region. To leave out points of a region, set both to 0 there.

    Milletari, Navab and Ahmadi (2016), V-Net.
    """
    check_range("dice", 0.0, float("inf"), open_ends=True, smoothing=smoothing)
    ndim = jnp.ndim(predictions)
    region = tuple(range(min(1, ndim - 1), ndim)) if axes is None else axes
    if any(not -ndim <= axis < ndim for axis in region):
        raise LayerError(f"dice: axes are those of predictions of shape {jnp.shape(predictions)}, got {axes}")

    def formula(p: Array, t: Array) -> Array:
        overlap = 2 * jnp.sum(p * t, region) + smoothing
        return 1 - ratio(overlap, jnp.sum(p**2, region) + jnp.sum(t**2, region) + smoothing)

    return evaluate("dice", formula, predictions, targets, agg=agg, weights=weights, mask=mask, axes=region)


def _check_signs(name: str, targets: Any) -> None:
    # Of all that is no sign, the one mistake that can be seen without looking at values.
    if jnp.result_type(targets) == jnp.bool_:
        raise LayerError(f"{name}: targets are -1 or 1, got booleans; write jnp.where(targets, 1.0, -1.0)")
