"""Loss functions. Each is a layer of predictions and targets (and weights); gradients are of all that are floating point."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

from .case import Case, numbers

P, T, W = numbers(3, 4, seed=1), numbers(3, 4, seed=2), np.exp(numbers(3, 4, seed=3))
LABELS = np.array([[0, 4, 2], [1, 1, 3]])
CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0, 0.1, 3.0])
IGNORED = np.array([0, -100, 2, -100])


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def case(name: str, loss: Callable[..., Any], theirs: Callable[..., Any], *inputs: np.ndarray) -> Case:
    """`loss(*inputs)` of ours and `theirs(torch.nn.functional, *inputs)`."""
    return Case(
        name,
        lambda: lux.WrappedFunction(lambda given: loss(*given)),
        lambda torch: lambda *given: theirs(torch.nn.functional, *given),
        inputs,
        modes=("test",),
    )


def classes_second(logits: Any) -> Any:
    return logits.movedim(-1, 1)


losses = lux.losses
REGRESSION = [
    *(
        case(
            f"squared error, {agg}",
            lambda p, t, agg=agg: losses.squared_error(p, t, agg=agg),
            lambda F, p, t, agg=agg: F.mse_loss(p, t, reduction=agg),
            P,
            T,
        )
        for agg in ("mean", "sum", "none")
    ),
    case(
        "squared error, weights",
        lambda p, t, w: losses.squared_error(p, t, weights=w),
        lambda F, p, t, w: F.mse_loss(p, t, weight=w),  # reduced by the sum of the weights
        P,
        T,
        W,
    ),
    case("absolute error", losses.absolute_error, lambda F, p, t: F.l1_loss(p, t), P, T),
    case(
        "Huber",
        lambda p, t: losses.huber(p, t, delta=0.7),
        lambda F, p, t: F.huber_loss(p, t, delta=0.7),
        P,
        T,
    ),
    case(
        "smooth L1",
        lambda p, t: losses.smooth_l1(p, t, beta=0.7),
        lambda F, p, t: F.smooth_l1_loss(p, t, beta=0.7),
        P,
        T,
    ),
    case(
        "Gaussian",
        lambda p, t, v: losses.gaussian_nll(p, t, v, full=True, agg="none"),
        lambda F, p, t, v: F.gaussian_nll_loss(p, t, v, full=True, reduction="none"),
        P,
        T,
        W,
    ),
    case(
        "Poisson",
        lambda p, t: losses.poisson(p, t, agg="none"),
        lambda F, p, t: F.poisson_nll_loss(p, t, log_input=False, reduction="none"),
        np.exp(P),
        np.round(np.exp(T)),
    ),
    case(
        "Poisson of logarithms",
        lambda p, t: losses.poisson(p, t, log_rates=True),
        lambda F, p, t: F.poisson_nll_loss(p, t),
        P,
        np.round(np.exp(T)),
    ),
]

CLASSIFICATION = [
    case(
        "binary cross-entropy",
        lambda p, t: losses.binary_cross_entropy(p, t, weights=W, agg="sum"),
        lambda F, p, t: F.binary_cross_entropy_with_logits(p, t, weight=p.new_tensor(W), reduction="sum"),
        3 * P,
        sigmoid(T),
    ),
    case(
        "binary cross-entropy of probabilities",
        lambda p, t: losses.binary_cross_entropy(p, t, logits=False, agg="none"),
        lambda F, p, t: F.binary_cross_entropy(p, t, reduction="none"),
        sigmoid(P),
        sigmoid(T),
    ),
    case(
        "cross-entropy of labels",
        losses.cross_entropy,
        lambda F, p, t: F.cross_entropy(classes_second(p), t),
        numbers(2, 3, 5),
        LABELS,
    ),
    case(
        "cross-entropy of smoothed labels",
        lambda p, t: losses.cross_entropy(p, t, label_smoothing=0.2, agg="none"),
        lambda F, p, t: F.cross_entropy(classes_second(p), t, label_smoothing=0.2, reduction="none"),
        numbers(2, 3, 5),
        LABELS,
    ),
    case(
        "cross-entropy of probabilities",
        lambda p, t: losses.cross_entropy(p, t, label_smoothing=0.1, agg="sum"),
        lambda F, p, t: F.cross_entropy(p, t, label_smoothing=0.1, reduction="sum"),
        numbers(4, 5),
        softmax(numbers(4, 5, seed=1)),
    ),
    case(
        "cross-entropy with weights of classes",
        lambda p, t: losses.cross_entropy(p, t, weights=jnp.asarray(CLASS_WEIGHTS)[t]),
        lambda F, p, t: F.cross_entropy(classes_second(p), t, weight=p.new_tensor(CLASS_WEIGHTS)),
        numbers(2, 3, 5),
        LABELS,
    ),
    case(
        "cross-entropy with labels left out",
        lambda p, t: losses.cross_entropy(p, t, mask=t != -100),
        lambda F, p, t: F.cross_entropy(p, t),
        numbers(4, 3),
        IGNORED,
    ),
    case(
        "cross-entropy of normalized probabilities",
        lambda p, t: losses.cross_entropy(p, t, logits=False, agg="none"),
        lambda F, p, t: F.nll_loss(p.log(), t, reduction="none"),
        softmax(numbers(4, 3)),
        np.array([0, 2, 1, 1]),
    ),
    case(
        "Kullback-Leibler divergence",
        lambda p, t: losses.kl_divergence(jax.nn.log_softmax(p), t),
        lambda F, p, t: F.kl_div(F.log_softmax(p, -1), t, reduction="batchmean"),
        numbers(4, 5),
        softmax(numbers(4, 5, seed=1)),
    ),
]

CASES = REGRESSION + CLASSIFICATION
