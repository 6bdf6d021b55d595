"""Windows that slide over spatial axes: sizes, strides, dilations and padding, per axis."""

import math
from typing import Any, NamedTuple

from jaxtyping import Array

Pairs = tuple[tuple[int, int], ...]
Sizes = tuple[int, ...]
PerAxis = int | tuple[int, ...]
"""One number for all spatial axes, or one for each."""
Padding = str | int | tuple[int, ...] | tuple[tuple[int, int], ...]
"""`"SAME"`, `"VALID"`, or what is added before and after each spatial axis."""


class Window(NamedTuple):
    """A window over some spatial axes: one entry for each axis in each field."""

    kernel: Sizes
    stride: Sizes
    padding: Pairs
    dilation: Sizes

    @property
    def extent(self) -> Sizes:
        """The elements that a window spans, gaps included."""
        return tuple((size - 1) * step + 1 for size, step in zip(self.kernel, self.dilation, strict=True))

    @property
    def taps(self) -> int:
        """The elements that a window takes."""
        return math.prod(self.kernel)

    def positions(self, sizes: Sizes) -> Sizes:
        """Along each axis of `sizes`, the number of places of the window; 0 or less if it does not fit."""
        axes = zip(sizes, self.padding, self.extent, self.stride, strict=True)
        return tuple((size + sum(pair) - extent) // stride + 1 for size, pair, extent, stride in axes)


def per_axis(value: PerAxis, dimensions: int) -> Sizes:
    """One number for each axis."""
    return value if isinstance(value, tuple) else (value,) * dimensions


def explicit_padding(padding: int | tuple[Any, ...], dimensions: int) -> Pairs:
    """A pair for each axis, of padding that is given in numbers."""
    each = padding if isinstance(padding, tuple) else (padding,) * dimensions
    return tuple(pair if isinstance(pair, tuple) else (pair, pair) for pair in each)


def window_over(sizes: Sizes, kernel: Sizes, stride: PerAxis, padding: Padding, dilation: PerAxis) -> Window:
    """The window over spatial axes of these sizes, its padding in numbers.

    "SAME" makes `ceil(size / stride)` places of the window, with the odd element of padding behind; "VALID" pads nothing.
    """
    dimensions = len(kernel)
    window = Window(kernel, per_axis(stride, dimensions), ((0, 0),) * dimensions, per_axis(dilation, dimensions))
    if padding == "SAME":
        axes = zip(sizes, window.extent, window.stride, strict=True)
        total = [max((-(-size // stride) - 1) * stride + extent - size, 0) for size, extent, stride in axes]
        return window._replace(padding=tuple((each // 2, each - each // 2) for each in total))
    return window if isinstance(padding, str) else window._replace(padding=explicit_padding(padding, dimensions))


def unpadded(window: Window) -> Window:
    """The window over an input that has its padding already."""
    return window._replace(padding=((0, 0),) * len(window.kernel))


def one_batch_axis(x: Array, dimensions: int) -> tuple[Array, Sizes]:
    """`x` with all leading axes made one, and what they were."""
    leading = x.shape[: -dimensions - 1]
    return x.reshape(math.prod(leading), *x.shape[-dimensions - 1 :]), leading
