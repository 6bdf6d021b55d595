"""What surrounds the formula of every loss: shapes that must agree, elements left out, weights, and the aggregate."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import LayerError, ShapeError
from ...flatten import NamedTree

Aggregate = Literal["mean", "sum", "none"]

# Any number at which every loss and its derivatives are finite: a probability, a positive rate, a distance, a logit.
_HARMLESS = 0.5


def evaluate(
    name: str,
    formula: Callable[..., Any],
    predictions: Any,
    targets: Any,
    *others: Any,
    agg: Aggregate,
    weights: Any,
    mask: Any,
    axes: tuple[int, ...] = (),
    labels: bool = False,
) -> Float[Array, "..."]:
    """The aggregate of `formula(predictions, targets, *others)`, called with arrays of one dtype.

    **Arguments:** `name`: of the loss, for errors; `others`: more arrays of the shape of the predictions; `axes`: those of the
    predictions that one loss extends over; `labels`: whether targets may also be integers, one to a loss, which the formula is then
    given as they are.

    Numbers of 16 bits are computed with in 32; the result has the dtype of the predictions.

    **Errors:** `ShapeError` for shapes that differ; `LayerError` for an unknown `agg` and for other dtypes.
    """
    if agg not in ("mean", "sum", "none"):
        raise LayerError(f"{name}: agg is 'mean', 'sum' or 'none', got {agg!r}")
    predictions, targets = _as_array(name, "predictions", predictions), _as_array(name, "targets", targets)
    dtype = _check_dtypes(name, predictions, targets)
    if axes and predictions.ndim == 0:
        raise ShapeError(f"{name}: got predictions of shape (), expected a last axis of classes")
    axes = tuple(axis % predictions.ndim for axis in axes)
    shape = tuple(size for axis, size in enumerate(predictions.shape) if axis not in axes)
    are_labels = labels and targets.shape == shape and jnp.issubdtype(targets.dtype, jnp.integer)
    if not are_labels:
        _check_targets(name, predictions, targets, shape if labels else None)
        targets = targets.astype(dtype)
    original, predictions = predictions.dtype, predictions.astype(dtype)
    others = tuple(_check_other(name, other, predictions) for other in others)
    mask, weights = _check_mask(name, mask, shape), _check_weights(name, weights, shape, dtype)
    arrays = (predictions, targets, *others)
    all_axes = (axes, () if are_labels else axes, *[axes] * len(others))
    losses = _losses(formula, arrays, all_axes, weights, mask)
    return _aggregated(losses, agg, weights, mask).astype(original)


def _as_array(name: str, what: str, value: Any) -> Array:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], NamedTree):
        raise LayerError(
            f"{name}: {what} are an array, got what a layer returns, a result and a state; write y, st = layer(x, ps, st), and give it y"
        )
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"{value!r}"
        raise LayerError(
            f"{name}: {what} are an array, got {got[:100]}; write jnp.stack(rows) for rows of one length"
        ) from error


def _losses(
    formula: Callable[..., Array],
    arrays: tuple[Array, ...],
    axes: tuple[tuple[int, ...], ...],
    weights: Array | None,
    mask: Array | None,
) -> Array:
    """The formula's losses, whose derivatives are finite where the mask or a weight of 0 leaves them out."""
    if mask is not None:
        arrays = _without(arrays, mask, axes)
    if weights is None:
        return formula(*arrays)
    counts = weights != 0
    losses = formula(*_without(arrays, counts, axes))
    # What such a weight would change is the loss itself, a constant to the derivative in everything else.
    own = formula(*jax.lax.stop_gradient(arrays))
    return jnp.where(counts, losses, jnp.where(jnp.isfinite(own), own, 0))


def _without(arrays: tuple[Array, ...], mask: Array, axes: tuple[tuple[int, ...], ...]) -> tuple[Array, ...]:
    """`arrays` with something harmless where `mask`, which lacks their `axes`, is False.

    Before the formula: a NaN that is computed and then dropped would still make the gradient NaN.
    """

    def one(array: Array, axes: tuple[int, ...]) -> Array:
        harmless = jnp.asarray(_HARMLESS if jnp.issubdtype(array.dtype, jnp.floating) else 0, array.dtype)
        return jnp.where(jnp.broadcast_to(jnp.expand_dims(mask, axes), array.shape), array, harmless)

    return tuple(map(one, arrays, axes))


def _aggregated(losses: Array, agg: Aggregate, weights: Array | None, mask: Array | None) -> Array:
    if mask is not None:
        losses = jnp.where(mask, losses, 0)
        weights = mask.astype(losses.dtype) if weights is None else jnp.where(mask, weights, 0)
    weighted = losses if weights is None else weights * losses
    if agg == "none":
        return weighted
    total = jnp.sum(weighted)
    if agg == "sum":
        return total
    if weights is None:
        return total / max(losses.size, 1)
    amount = jnp.sum(weights)
    return total / jnp.where(amount == 0, 1, amount)


def _check_dtypes(name: str, predictions: Array, targets: Array) -> Any:
    """The dtype to compute in."""
    if not jnp.issubdtype(predictions.dtype, jnp.floating):
        hint = (
            "; stack the real and the imaginary part, jnp.stack([z.real, z.imag])"
            if jnp.iscomplexobj(predictions)
            else ""
        )
        raise LayerError(f"{name}: predictions are real floating-point numbers, got {predictions.dtype}{hint}")
    if jnp.iscomplexobj(targets):
        raise LayerError(f"{name}: targets are real numbers, got {targets.dtype}")
    return jnp.dtype(jnp.float32) if predictions.dtype.itemsize < 4 else predictions.dtype


def _check_targets(name: str, predictions: Array, targets: Array, label_shape: tuple[int, ...] | None) -> None:
    if targets.shape == predictions.shape:
        return
    expected = f"{predictions.shape}, the shape of the predictions"
    if label_shape is not None:
        expected += f", or whole numbers of shape {label_shape}"
    raise ShapeError(
        f"{name}: got targets of shape {targets.shape} and dtype {targets.dtype}, expected {expected}. "
        "Nothing is broadcast; write targets.reshape(...) or jnp.broadcast_to(targets, ...)"
    )


def _check_other(name: str, other: Any, predictions: Array) -> Array:
    other = jnp.asarray(other)
    if jnp.iscomplexobj(other):
        raise LayerError(f"{name}: variances are real numbers, got {other.dtype}")
    return _check_shape(name, "variances", other, predictions.shape).astype(predictions.dtype)


def _check_mask(name: str, mask: Any, shape: tuple[int, ...]) -> Array | None:
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_:
        raise LayerError(f"{name}: mask is boolean, True for what counts, got {mask.dtype}; write mask != 0")
    return _check_shape(name, "mask", mask, shape)


def _check_weights(name: str, weights: Any, shape: tuple[int, ...], dtype: Any) -> Array | None:
    if weights is None:
        return None
    weights = jnp.asarray(weights)
    if jnp.iscomplexobj(weights):
        raise LayerError(f"{name}: weights are real numbers, got {weights.dtype}")
    return _check_shape(name, "weights", weights, shape).astype(dtype)


def _check_shape(name: str, what: str, array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape != shape:
        raise ShapeError(
            f"{name}: got {what} of shape {array.shape}, expected {shape}, one for each loss. "
            f"Nothing is broadcast; write jnp.broadcast_to({what}[..., None], {shape}), for example"
        )
    return array


def check_range(name: str, lower: float, upper: float, *, open_ends: bool = False, **numbers: Any) -> None:
    """Raises `LayerError` unless each of `numbers` is a real number from `lower` to `upper`; strictly between if `open_ends`."""
    for what, number in numbers.items():
        fits = isinstance(number, int | float) and not isinstance(number, bool) and lower <= number <= upper
        if not fits or (open_ends and number in (lower, upper)):
            span = f"strictly between {lower} and {upper}" if open_ends else f"from {lower} to {upper}"
            raise LayerError(f"{name}: {what} is a number {span}, got {number!r}")
