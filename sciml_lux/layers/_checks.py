"""What the arguments and inputs of layers are checked for, with messages of one form."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from .._errors import LayerError, ShapeError
from ..core import AbstractLayer, as_input, kind_of, no_layer


def check_sizes(layer: AbstractLayer, /, **sizes: Any) -> None:
    """Raises `LayerError` unless each of `sizes` is a whole number, 0 or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise LayerError(f"{type(layer).__name__}: {name} is a number of features, 0 or more, got {size!r}")


def check_activation(layer: AbstractLayer, activation: Any) -> None:
    """Raises `LayerError` unless `activation` is a function or None."""
    if activation is not None and not callable(activation):
        raise LayerError(
            f"{type(layer).__name__}: activation is a function such as jnp.tanh, or None, got {activation!r}"
        )


def check_last_axis(layer: AbstractLayer, x: Any, features: int) -> None:
    """Raises `ShapeError` unless the last axis of `x` has `features` elements."""
    shape = jnp.shape(as_input(layer, x))
    if not shape or shape[-1] != features:
        raise ShapeError(
            f"{type(layer).__name__} expects {features} features on the last axis, got an input of shape {shape}{_fitting(shape, features)}"
        )


def _fitting(shape: tuple[int, ...], features: int) -> str:
    """What to write where the features are on another axis, or there are others."""
    if not shape:
        return "; write x[None] for one number"
    if features in shape:
        return f"; write jnp.moveaxis(x, {shape.index(features)}, -1) if they are on axis {shape.index(features)}"
    return f"; build the layer for {shape[-1]} features, or give it an input of {features}"


def check_positive(layer: AbstractLayer, /, **sizes: Any) -> None:
    """Raises `LayerError` unless each of `sizes` is a whole number, 1 or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise LayerError(f"{type(layer).__name__}: {name} is a whole number, 1 or more, got {size!r}")


def check_number(layer: AbstractLayer, lower: float, upper: float, /, **numbers: Any) -> None:
    """Raises `LayerError` unless each of `numbers` is a real number from `lower` to `upper`, both included."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not lower <= number <= upper:
            raise LayerError(f"{type(layer).__name__}: {name} is a number from {lower} to {upper}, got {number!r}")


def check_flag(layer: AbstractLayer, /, **flags: Any) -> None:
    """Raises `LayerError` unless each of `flags` is True or False."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise LayerError(f"{type(layer).__name__}: {name} is True or False, got {flag!r}")


def check_choice(layer: AbstractLayer, choices: Sequence[Any], /, **given: Any) -> None:
    """Raises `LayerError` unless each of `given` is one of `choices`."""
    for name, value in given.items():
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            shown = ", ".join(map(repr, choices))
            raise LayerError(f"{type(layer).__name__}: {name} is one of {shown}, got {value!r}")


def check_is_layer(layer: AbstractLayer, /, **given: Any) -> None:
    """Raises `LayerError` unless each of `given` is a layer."""
    for name, value in given.items():
        if not isinstance(value, AbstractLayer):
            raise LayerError(f"{type(layer).__name__}: {name} is a layer, got {kind_of(value)}; {no_layer(value)}")


def check_whole(layer: AbstractLayer, /, **numbers: Any) -> None:
    """Raises `LayerError` unless each of `numbers` is a whole number of either sign, such as an axis or an index."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise LayerError(f"{type(layer).__name__}: {name} is a whole number, got {number!r}")


def axis_size(layer: AbstractLayer, x: Any, axis: int) -> int:
    """The size of an axis of `x`. Raises `ShapeError` if it has no such axis."""
    shape = jnp.shape(as_input(layer, x))
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(f"{type(layer).__name__} acts along axis {axis}, got an input of shape {shape}")
    return shape[axis]


def check_mask(layer: Any, mask: Any, shape: tuple[int, ...], what: str) -> None:
    """Raises `ShapeError` unless `mask` is boolean and has `shape`. `layer`: one, or the name of a function."""
    name = layer if isinstance(layer, str) else type(layer).__name__
    got = jnp.shape(mask)
    if jnp.result_type(mask) != jnp.bool_:
        raise ShapeError(
            f"{name}: a mask is boolean, True where there is something to take, got {jnp.result_type(mask)}; write mask != 0"
        )
    if got != shape:
        raise ShapeError(f"{name}: the mask of {what} has the shape {shape}, got {got}")
