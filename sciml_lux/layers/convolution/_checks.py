"""What layers that slide windows over spatial axes ask of their arguments and inputs."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer
from ...kernels.convolution import Sizes, Window


def check_shape(layer: AbstractLayer, name: str, shape: Any) -> None:
    """Raises `LayerError` unless `shape` is a tuple of one to three whole numbers, 1 or more: a size for each spatial axis."""
    if isinstance(shape, int) and not isinstance(shape, bool):
        raise LayerError(
            f"{type(layer).__name__}: {name} is a tuple with one number for each spatial axis, whose length says how many axes "
            f"there are; got {shape}. Write {name}=({shape},) for series, {name}=({shape}, {shape}) for images"
        )
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 3 or not all(_whole(size, 1) for size in shape):
        raise LayerError(
            f"{type(layer).__name__}: {name} is a tuple of one to three whole numbers, 1 or more, one for each spatial axis, got {shape!r}"
        )


def check_per_axis(layer: AbstractLayer, dimensions: int, lowest: int = 1, **values: Any) -> None:
    """Raises `LayerError` unless each of `values` is a whole number or one for each of the spatial axes, `lowest` or more."""
    for name, value in values.items():
        each = value if isinstance(value, tuple) else (value,) * dimensions
        if len(each) != dimensions or not all(_whole(number, lowest) for number in each):
            raise LayerError(
                f"{type(layer).__name__}: {name} is a whole number, {lowest} or more, or a tuple of {dimensions}, one for each "
                f"spatial axis, got {value!r}"
            )


def check_padding(layer: AbstractLayer, dimensions: int, padding: Any) -> None:
    """Raises `LayerError` unless `padding` is "SAME", "VALID", or numbers for each spatial axis."""
    if isinstance(padding, str) and padding in ("SAME", "VALID"):
        return
    each = padding if isinstance(padding, tuple) else (padding,) * dimensions
    pairs = [pair if isinstance(pair, tuple) else (pair, pair) for pair in each]
    if len(pairs) != dimensions or not all(len(pair) == 2 and all(_whole(n, 0) for n in pair) for pair in pairs):
        raise LayerError(
            f'{type(layer).__name__}: padding is "SAME", "VALID", a whole number, 0 or more, or for each of the {dimensions} spatial '
            f"axes a number or a pair (before, after), got {padding!r}"
        )


def _whole(number: Any, lowest: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= lowest


def spatial_sizes(layer: AbstractLayer, x: Array, dimensions: int, channels: int | None = None) -> Sizes:
    """The sizes of the spatial axes of `x`, which stand before its last axis, the channels.

    **Errors:** `ShapeError` if `x` has too few axes, or another number of channels.
    """
    shape = jnp.shape(x)
    if len(shape) < dimensions + 1 or (channels is not None and shape[-1] != channels):
        last = "channels" if channels is None else f"{channels} channels"
        raise ShapeError(
            f"{type(layer).__name__} expects an input of shape (..., {dimensions} spatial {'axes' if dimensions > 1 else 'axis'}, "
            f"{last}), with the channels last, got {shape}"
        )
    return shape[-dimensions - 1 : -1]


def check_fits(layer: AbstractLayer, window: Window, sizes: Sizes) -> None:
    """Raises `ShapeError` if the window does not fit once into the padded input."""
    if min(window.positions(sizes)) < 1:
        raise ShapeError(
            f"{type(layer).__name__}: a window that spans {window.extent} does not fit into spatial axes of {sizes}, "
            f"padded by {window.padding}"
        )
