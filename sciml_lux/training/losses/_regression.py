"""Losses of numbers against numbers."""

import math
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Shaped

from . import _closed_forms as closed
from ._evaluate import Aggregate, check_range, evaluate
from ._probabilities import weighted


def squared_error(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The squared error, `(predictions - targets)**2`; its mean is the MSE.

    **Arguments:** `predictions`, `targets`: of equal shape; `agg`, `weights`, `mask`: see `sciml_lux.losses`.
    """
    return evaluate(
        "squared_error", optax.losses.squared_error, predictions, targets, agg=agg, weights=weights, mask=mask
    )


def absolute_error(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The absolute error, `|predictions - targets|`; its mean is the MAE. The derivative at 0 is 0.

    **Arguments:** `predictions`, `targets`: of equal shape; `agg`, `weights`, `mask`: see `sciml_lux.losses`.
    """

    return evaluate("absolute_error", _absolute, predictions, targets, agg=agg, weights=weights, mask=mask)


def _absolute(p: Array, t: Array) -> Array:
    e = p - t
    return e * jnp.sign(e)  # jnp.abs, but with a derivative of 0 at 0, where that of jnp.abs is 1


def huber(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    delta: float = 1.0,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The Huber loss of the error `e`: `e**2 / 2` where `|e| <= delta`, `delta * (|e| - delta / 2)` beyond.

    **Arguments:** `predictions`, `targets`: of equal shape; `delta`: the error from which on it grows linearly, more than
    0; `agg`, `weights`, `mask`: see `sciml_lux.losses`.

    Huber (1964), Robust estimation of a location parameter.
    """
    check_range("huber", 0.0, float("inf"), open_ends=True, delta=delta)

    def formula(p: Array, t: Array) -> Array:
        return closed.huber(p - t, delta)

    return evaluate("huber", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def smooth_l1(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    beta: float = 1.0,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The smoothed absolute error: `e**2 / (2 * beta)` where `|e| <= beta`, `|e| - beta / 2` beyond.

    That of `huber` divided by `beta`: the slope far from 0 is 1, whatever `beta`.

    **Arguments:** `predictions`, `targets`: of equal shape; `beta`: the error up to which it is quadratic, 0 or more (0: the absolute
    error); `agg`, `weights`, `mask`: see `sciml_lux.losses`.

    Girshick (2015), Fast R-CNN.
    """
    check_range("smooth_l1", 0.0, float("inf"), beta=beta)

    def formula(p: Array, t: Array) -> Array:
        return closed.huber(p - t, beta) / beta if beta else _absolute(p, t)

    return evaluate("smooth_l1", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def log_cosh(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The logarithm of the hyperbolic cosine of the error: `e**2 / 2` near 0, `|e| - log(2)` far from it, smooth between.

    **Arguments:** `predictions`, `targets`: of equal shape; `agg`, `weights`, `mask`: see `sciml_lux.losses`.
    """

    def formula(p: Array, t: Array) -> Array:
        return closed.log_cosh(p - t)

    return evaluate("log_cosh", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def squared_logarithmic_error(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    offset: float = 1.0,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The squared difference of logarithms, `log((predictions + offset) / (targets + offset))**2`; its mean is the MSLE.

    scikit-learn and Keras have the offset 1; Lux.jl has the machine's epsilon, so that ratios of all magnitudes count alike.

    **Arguments:** `predictions`, `targets`: of equal shape, above `-offset` (NaN below); `offset`: more than 0; `agg`,
    `weights`, `mask`: see `sciml_lux.losses`.
    """
    check_range("squared_logarithmic_error", 0.0, float("inf"), open_ends=True, offset=offset)

    def formula(p: Array, t: Array) -> Array:
        return (closed.relative_log(p, offset) - closed.relative_log(t, offset)) ** 2

    return evaluate("squared_logarithmic_error", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def poisson(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    log_rates: bool = False,
    epsilon: float = 1e-8,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The negative log-likelihood of counts under Poisson distributions, without its constant `log(targets!)`.

    `rate - targets * log(rate + epsilon)` with `rate = predictions`; or `exp(predictions) - targets * predictions`, which needs no
    epsilon, if the predictions are logarithms of rates (the default in PyTorch). Smallest where the rate is the target.

    **Arguments:** `predictions`, `targets`: of equal shape; `log_rates`: whether predictions are logarithms; `epsilon`: keeps the
    logarithm of a rate of 0 finite; `agg`, `weights`, `mask`: see `sciml_lux.losses`.
    """
    check_range("poisson", 0.0, float("inf"), epsilon=epsilon)

    def formula(p: Array, t: Array) -> Array:
        return jnp.exp(p) - weighted(t, p) if log_rates else p - closed.weighted_log(t, p + epsilon)

    return evaluate("poisson", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def gaussian_nll(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    variances: Float[ArrayLike, "..."],
    *,
    log_variances: bool = False,
    full: bool = False,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The negative log-likelihood of numbers under normal distributions, `(log(variance) + (prediction - target)**2 / variance) / 2`.

    **Arguments:** `predictions`: means; `targets`, `variances`: of equal shape; `log_variances`: whether these are logarithms of
    variances, which may be any numbers, while variances are above 0 (PyTorch replaces those below its `eps`, whatever their unit: write
    `jnp.maximum(variances, 1e-6)`); `full`: whether to add the constant `log(2 * pi) / 2`; `agg`, `weights`, `mask`: see
    `sciml_lux.losses`.

    Nix and Weigend (1994), Estimating the mean and variance of the target probability distribution.
    """
    constant = 0.5 * math.log(2 * math.pi) if full else 0.0

    def formula(p: Array, t: Array, v: Array) -> Array:
        e = p - t
        if log_variances:
            return 0.5 * (v + jnp.square(e * jnp.exp(-v / 2))) + constant
        # Not e**2 / v: the square of a small error need not be a number of the dtype.
        return 0.5 * (closed.log(v) + closed.ratio(e, v) * e) + constant

    return evaluate("gaussian_nll", formula, predictions, targets, variances, agg=agg, weights=weights, mask=mask)


def quantile(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    level: float = 0.5,
    agg: Aggregate = "mean",
    weights: Any = None,
    mask: Any = None,
) -> Float[Array, "..."]:
    """The quantile (pinball) loss: `level * e` where `e = targets - predictions >= 0`, `(level - 1) * e` below.

    Its expectation is smallest where the prediction is the quantile of that level of the targets; half the absolute error for the median.

    **Arguments:** `predictions`, `targets`: of equal shape; `level`: strictly between 0 and 1; `agg`, `weights`, `mask`:
    see `sciml_lux.losses`.

    Koenker and Bassett (1978), Regression quantiles.
    """
    check_range("quantile", 0.0, 1.0, open_ends=True, level=level)

    def formula(p: Array, t: Array) -> Array:
        e = t - p
        return jnp.maximum(level * e, (level - 1) * e)

    return evaluate("quantile", formula, predictions, targets, agg=agg, weights=weights, mask=mask)
