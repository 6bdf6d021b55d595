"""Pooling: what lies in a window becomes one number, channel by channel."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from ...kernels.convolution import Padding, PerAxis, Sizes, Window, window_over
from .._checks import check_flag
from ._checks import check_fits, check_padding, check_per_axis, check_shape, spatial_sizes
from ._reduce import filled, window_maximum, window_norm, window_sum


class _Pool(AbstractLayer):
    """What the layers that pool over a sliding window share."""

    kernel_size: tuple[int, ...]
    stride: PerAxis | None = None
    padding: Padding = "VALID"

    def __post_init__(self) -> None:
        check_shape(self, "kernel_size", self.kernel_size)
        dimensions = len(self.kernel_size)
        if self.stride is not None:
            check_per_axis(self, dimensions, stride=self.stride)
        check_padding(self, dimensions, self.padding)

    def _window(self, x: Any, dilation: PerAxis) -> tuple[Window, Sizes]:
        sizes = spatial_sizes(self, x, len(self.kernel_size))
        stride = self.kernel_size if self.stride is None else self.stride
        window = window_over(sizes, self.kernel_size, stride, self.padding, dilation)
        check_fits(self, window, sizes)
        if any(np.min(counts) == 0 for counts in filled(window, sizes)):
            raise ShapeError(
                f"{type(self).__name__}: padding of {window.padding} puts windows of {window.extent} wholly outside of spatial axes "
                f"of {sizes}; pad by less than a window"
            )
        return window, sizes


class MaxPool(_Pool):
    """The largest element of each window, channel by channel. If several are, the gradient goes to the first of them in C order.

    **Arguments:** `kernel_size`: a tuple with the window's size along each spatial axis; `stride`: a number, or one for each axis; by
    default the window's size, so that windows do not overlap; `padding`: "VALID", "SAME" or numbers, as for `Conv`; padded elements
    are never the largest; `dilation`.

    **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., *spatial', channels)`, where
    `size' = (size + padding - dilation * (kernel - 1) - 1) // stride + 1` along each axis. NaN where the window has one.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for arguments of another kind; `ShapeError` for too few axes, inputs smaller than the window, and
    windows that hold nothing but padding.
    """

    dilation: PerAxis = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_per_axis(self, len(self.kernel_size), dilation=self.dilation)

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        window, sizes = self._window(x, self.dilation)
        return window_maximum(x, window, x.ndim - len(sizes) - 1), st


class MeanPool(_Pool):
    """The mean of each window, channel by channel.

    **Arguments:** `kernel_size`, `stride`, `padding`, `dilation`: as for `MaxPool`; `count_include_pad`: whether padded zeros count as
    elements, as in PyTorch by default (Lux and TensorFlow do not count those of "SAME").

    **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., *spatial', channels)`, as for `MaxPool`. Sums of bfloat16 are
    taken in float32.

    **Parameters** and **states:** none. **Errors:** as for `MaxPool`.
    """

    count_include_pad: bool = True
    dilation: PerAxis = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag(self, count_include_pad=self.count_include_pad)
        check_per_axis(self, len(self.kernel_size), dilation=self.dilation)

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        window, sizes = self._window(x, self.dilation)
        total = window_sum(widened(x), window, x.ndim - len(sizes) - 1)
        if self.count_include_pad:
            return (total / window.taps).astype(x.dtype), st
        counts = functools.reduce(np.multiply.outer, filled(window, sizes))[..., None]
        weights = jnp.asarray(1.0 / counts, total.dtype)
        return (total * jnp.broadcast_to(weights, total.shape)).astype(x.dtype), st


class LpPool(_Pool):
    """The p-norm of each window, `(sum |x|**p)**(1/p)`, channel by channel.

    Where a window is all 0, the gradient is 0. Powers are those of shares of the largest element, which neither overflow nor vanish.
    PyTorch sums `x**p` without the absolute value: the same for even `p`, and for inputs that are not negative.

    **Arguments:** `p`: 1 or more (`MaxPool` of absolute values for infinity); `kernel_size`, `stride`, `padding`, `dilation`: as for
    `MaxPool`.

    **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., *spatial', channels)`, as for `MaxPool`. Sums of bfloat16 are
    taken in float32.

    **Parameters** and **states:** none. **Errors:** as for `MaxPool`, and `LayerError` for `p` below 1.
    """

    p: float | int = 2
    dilation: PerAxis = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_exponent(self, self.p)
        check_per_axis(self, len(self.kernel_size), dilation=self.dilation)

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        window, sizes = self._window(x, self.dilation)
        return window_norm(widened(x), self.p, window, x.ndim - len(sizes) - 1).astype(x.dtype), st


def check_exponent(layer: AbstractLayer, p: Any) -> None:
    """Raises `LayerError` unless `p` is a finite number, 1 or more."""
    if isinstance(p, bool) or not isinstance(p, int | float) or not 1 <= p < float("inf"):
        raise LayerError(f"{type(layer).__name__}: p is a finite number, 1 or more, got {p!r}")
