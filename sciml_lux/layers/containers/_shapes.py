"""Layers that change the shape of their input and nothing else. Leading axes are a batch, so that they act on the last ones."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from .._checks import axis_size, check_positive, check_whole


class Reshape(AbstractLayer):
    """The last axes of the input in another shape, elements in C order: `(..., 12)` to `(..., 3, 4)` by `Reshape((3, 4))`.

    **Arguments:** `shape`: what replaces the last axes; one size may be -1, what is left; `axes`: how many of the last axes
    are replaced, 1 by default.

    **Call:** an array with `axes` axes or more; those before the last `axes` stay.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for sizes that are not whole numbers; `ShapeError` for another number of elements.
    """

    shape: tuple[int, ...]
    axes: int = 1

    def __post_init__(self) -> None:
        sizes = self.shape
        whole = isinstance(sizes, tuple) and all(type(size) is int and size >= -1 for size in sizes)
        if not whole or sizes.count(-1) > 1:
            raise LayerError(f"Reshape: shape is a tuple of sizes, of which one may be -1, got {sizes!r}")
        check_positive(self, axes=self.axes)

    def __call__(self, x: Shaped[Array, "..."], ps: Parameters, st: State) -> tuple[Shaped[Array, "..."], State]:
        leading, last = _split(self, x, self.axes)
        elements, known = math.prod(last), math.prod(size for size in self.shape if size != -1)
        fits = known and elements % known == 0 if -1 in self.shape else elements == known
        if not fits:
            raise ShapeError(
                f"Reshape({self.shape}, axes={self.axes}) got {elements} elements on the last {self.axes} axes of {x.shape}"
            )
        left = elements // known if -1 in self.shape else 0
        return x.reshape(leading + tuple(left if size == -1 else size for size in self.shape)), st


class Flatten(AbstractLayer):
    """The last axes of the input as one, in C order: `(..., height, width, channels)` to `(..., features)` by `Flatten(3)`.

    Frameworks whose layers take exactly one batch axis flatten all others; here any number of them may lead, so that
    the number of axes to flatten has to be said.

    **Arguments:** `axes`: how many of the last axes become one.

    **Call:** an array with `axes` axes or more. **Parameters** and **states:** none.

    **Errors:** `LayerError` for a number that is not 1 or more; `ShapeError` for an input with fewer axes.
    """

    axes: int

    def __post_init__(self) -> None:
        check_positive(self, axes=self.axes)

    def __call__(self, x: Shaped[Array, "..."], ps: Parameters, st: State) -> tuple[Shaped[Array, "..."], State]:
        leading, last = _split(self, x, self.axes)
        return x.reshape((*leading, math.prod(last))), st


class SelectDim(AbstractLayer):
    """The slice of the input at one index of an axis, which goes: `SelectDim(-2, -1)` is the last step of `(..., time, features)`.

    **Arguments:** `axis`: counted from the end if negative, so that leading batch axes do not matter; `index`: negative from the end.

    **Call:** an array that has the axis. **Parameters** and **states:** none.

    **Errors:** `LayerError` for what is no whole number; `ShapeError` for an axis or an index that the input does not have.
    """

    axis: int
    index: int

    def __post_init__(self) -> None:
        check_whole(self, axis=self.axis, index=self.index)

    def __call__(self, x: Shaped[Array, "..."], ps: Parameters, st: State) -> tuple[Shaped[Array, "..."], State]:
        size = axis_size(self, x, self.axis)
        if not -size <= self.index < size:
            raise ShapeError(f"SelectDim: axis {self.axis} of an input of shape {x.shape} has no index {self.index}")
        return jnp.take(x, self.index % size, axis=self.axis), st


def _split(layer: AbstractLayer, x: Any, axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The leading axes of `x` and its last `axes` ones. **Errors:** `ShapeError` if it has fewer."""
    shape = jnp.shape(x)
    if len(shape) < axes:
        raise ShapeError(f"{type(layer).__name__} acts on the last {axes} axes, got an input of shape {shape}")
    return shape[: len(shape) - axes], shape[len(shape) - axes :]
