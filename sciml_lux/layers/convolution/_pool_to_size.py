"""Pooling to a given size: to one number for each channel, or to a fixed number of windows."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from .._checks import check_flag
from ._checks import check_shape, spatial_sizes
from ._pool import check_exponent
from ._reduce import norm_over, segment_maximum, segment_norm, segment_sum


class _GlobalPool(AbstractLayer):
    """What the layers that pool over all of the spatial axes share."""

    dimensions: int
    keepdims: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.dimensions, bool) or self.dimensions not in (1, 2, 3):
            raise LayerError(
                f"{type(self).__name__}: dimensions is the number of spatial axes, 1, 2 or 3, got {self.dimensions!r}"
            )
        check_flag(self, keepdims=self.keepdims)

    def _axes(self, x: Any) -> tuple[int, ...]:
        sizes = spatial_sizes(self, x, self.dimensions)
        if min(sizes) < 1:
            raise ShapeError(f"{type(self).__name__}: nothing to pool in spatial axes of {sizes}")
        return tuple(range(-self.dimensions - 1, -1))


class GlobalMaxPool(_GlobalPool):
    """The largest element of each channel. If several are, the gradient goes to the first of them in C order.

    **Arguments:** `dimensions`: the number of spatial axes; `keepdims`: whether they stay, with one element each.

    **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., channels)`. NaN where there is one.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for a number of axes other than 1, 2 or 3; `ShapeError` for fewer axes, or empty ones.
    """

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        axes = self._axes(x)
        for axis in reversed(axes):
            x = segment_maximum(x, [(0, x.shape[axis])], axis % x.ndim)
        return (x if self.keepdims else jnp.squeeze(x, axes)), st


class GlobalMeanPool(_GlobalPool):
    """The mean of each channel.

    **Arguments:** as for `GlobalMaxPool`. **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., channels)`.

    **Parameters** and **states:** none. **Errors:** as for `GlobalMaxPool`.
    """

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        return jnp.mean(widened(x), self._axes(x), keepdims=self.keepdims).astype(x.dtype), st


class GlobalLpPool(_GlobalPool):
    """The p-norm of each channel, `(sum |x|**p)**(1/p)`; its gradient is 0 where the channel is all 0.

    **Arguments:** as for `GlobalMaxPool`, and `p`: 1 or more. **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., channels)`.

    **Parameters** and **states:** none. **Errors:** as for `GlobalMaxPool`, and `LayerError` for `p` below 1.
    """

    p: float | int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_exponent(self, self.p)

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        return norm_over(widened(x), self.p, self._axes(x), self.keepdims).astype(x.dtype), st


class _AdaptivePool(AbstractLayer):
    """What the layers that pool to a fixed number of windows share."""

    output_size: tuple[int, ...]

    def __post_init__(self) -> None:
        check_shape(self, "output_size", self.output_size)

    def _windows(self, x: Any) -> dict[int, list[tuple[int, int]]]:
        """For each spatial axis, where its windows start and stop."""
        dimensions = len(self.output_size)
        sizes = spatial_sizes(self, x, dimensions)
        if min(sizes) < 1:
            raise ShapeError(f"{type(self).__name__}: nothing to pool in spatial axes of {sizes}")
        first = len(x.shape) - dimensions - 1
        return {
            first + i: [(j * size // number, -(-(j + 1) * size // number)) for j in range(number)]
            for i, (size, number) in enumerate(zip(sizes, self.output_size, strict=True))
        }


class AdaptiveMaxPool(_AdaptivePool):
    """The largest element of each of a fixed number of windows. If several are, the gradient goes to the first of them in C order.

    Along an axis of `n` elements, window `j` of `m` goes from `floor(j n / m)` to `ceil((j + 1) n / m)`, as in PyTorch: windows
    differ in size, and overlap, if `m` does not divide `n`.

    **Arguments:** `output_size`: a tuple with the number of windows along each spatial axis.

    **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., *output_size, channels)`.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for an `output_size` of another kind; `ShapeError` for too few axes, or empty ones.
    """

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        for axis, windows in reversed(self._windows(x).items()):
            x = segment_maximum(x, windows, axis)
        return x, st


class AdaptiveMeanPool(_AdaptivePool):
    """The mean of each of a fixed number of windows, which are those of `AdaptiveMaxPool`.

    **Arguments**, **call** and **errors:** as for `AdaptiveMaxPool`. **Parameters** and **states:** none.
    """

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        total = widened(x)
        for axis, windows in reversed(self._windows(x).items()):
            total = segment_sum(total, windows, axis)
        lengths = [np.array([stop - start for start, stop in windows]) for windows in self._windows(x).values()]
        counts = functools.reduce(np.multiply.outer, lengths)[..., None]
        return (total * jnp.broadcast_to(jnp.asarray(1.0 / counts, total.dtype), total.shape)).astype(x.dtype), st


class AdaptiveLpPool(_AdaptivePool):
    """The p-norm of each of a fixed number of windows, which are those of `AdaptiveMaxPool`; its gradient is 0 where one is all 0.

    **Arguments:** `output_size`, as for `AdaptiveMaxPool`; `p`: 1 or more.

    **Call** and **errors:** as for `AdaptiveMaxPool`, and `LayerError` for `p` below 1. **Parameters** and **states:** none.
    """

    p: float | int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_exponent(self, self.p)

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        y = widened(x)
        for axis, windows in reversed(self._windows(x).items()):
            y = segment_norm(y, self.p, windows, axis)
        return y.astype(x.dtype), st
