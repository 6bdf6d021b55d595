"""Convolutions and transposed convolutions in one to three spatial dimensions."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from ...kernels.convolution import (
    Padding,
    Pairs,
    PerAxis,
    Sizes,
    Window,
    correlate,
    explicit_padding,
    one_batch_axis,
    per_axis,
    spread,
    unpadded,
    window_over,
)
from .._checks import check_activation, check_flag, check_positive
from .._starts import DEFAULT_WEIGHT, initial_affine
from ._checks import check_fits, check_padding, check_per_axis, check_shape, spatial_sizes
from ._pad import check_padding_mode, folded, padded


class _Convolution(AbstractLayer):
    """What a convolution and a transposed one share: fields, checks, and parameters."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    activation: Callable[[Any], Any] | None = None
    stride: PerAxis = 1
    padding: Padding = "VALID"
    dilation: PerAxis = 1
    groups: int = 1
    use_bias: bool = True
    init_weight: Callable[..., Any] = DEFAULT_WEIGHT
    init_bias: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        check_positive(self, in_channels=self.in_channels, out_channels=self.out_channels, groups=self.groups)
        check_shape(self, "kernel_size", self.kernel_size)
        check_activation(self, self.activation)
        check_per_axis(self, len(self.kernel_size), stride=self.stride, dilation=self.dilation)
        check_padding(self, len(self.kernel_size), self.padding)
        check_flag(self, use_bias=self.use_bias)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise LayerError(
                f"{type(self).__name__}: groups must divide in_channels and out_channels, got groups={self.groups} for "
                f"{self.in_channels} and {self.out_channels}"
            )

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional, named = super().constructor_arguments()
        activation = named.pop("activation", None)
        return (positional if activation is None else (*positional, activation)), named

    def _initial(self, key: Key[Array, ""], *channels: int) -> dict[str, Any]:
        """The parameters, where the last axes of the weight are `channels`."""
        shape = (*self.kernel_size, *channels)
        return initial_affine(key, shape, self.out_channels, self.init_weight, self.init_bias, self.use_bias)

    def _finished(self, y: Float[Array, "..."], ps: Parameters, leading: Sizes) -> Float[Array, "..."]:
        y = y.reshape(*leading, *y.shape[1:])
        if self.use_bias:
            # Wide, as its gradient is a long sum.
            y = y + jnp.broadcast_to(widened(ps.bias), y.shape).astype(y.dtype)
        return y if self.activation is None else self.activation(y)


class Conv(_Convolution):
    """A convolution in one to three spatial dimensions, channels last.

    A cross-correlation, as everywhere in deep learning: with one spatial axis, stride `s`, dilation `d`, padding `p` in front,

        y[i, o] = activation(bias[o] + sum over k, c of x[i s + k d - p, c] weight[k, c, o])

    With `groups`, the channels of input and output are cut into so many consecutive parts, each convolved apart.

    **Arguments:** `in_channels`, `out_channels`; `kernel_size`: a tuple with the window's size along each spatial axis;
    `activation`: an elementwise function, or None; `stride`, `dilation`: a number, or one for each axis; `padding`: elements around
    the input: "VALID" (none), "SAME" (such that the output has `ceil(size / stride)` elements; an odd one stands behind),
    a number, one for each axis, or a pair (before, after) for each; `groups`; `use_bias`; `init_weight`, `init_bias`: initializers; by
    default, with None for the bias, both are uniform within `1 / sqrt(inputs)`, as in PyTorch and Equinox, where `inputs` are those of
    the weight, `prod(kernel_size)` times its second last axis; `padding_mode`: what the padding is: "zeros", or "circular", "reflect" or
    "edge", as for `Pad`.

    **Call:** `x` of shape `(..., *spatial, in_channels)`, with any leading axes, gives `(..., *spatial', out_channels)`, where
    `size' = (size + padding - dilation * (kernel - 1) - 1) // stride + 1` along each axis.

    **Parameters:** `weight` `(*kernel_size, in_channels // groups, out_channels)`; `bias` `(out_channels,)` if `use_bias`.

    **States:** none.

    **Errors:** `LayerError` for arguments of another kind, and for groups that do not divide the channels; `ShapeError` for
    other channels, too few axes, and inputs smaller than the window.
    """

    padding_mode: str = "zeros"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_padding_mode(self, self.padding_mode)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return self._initial(key, self.in_channels // self.groups, self.out_channels)

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        sizes = spatial_sizes(self, x, len(self.kernel_size), self.in_channels)
        window = window_over(sizes, self.kernel_size, self.stride, self.padding, self.dilation)
        check_fits(self, window, sizes)
        if self.padding_mode != "zeros":
            x, window = padded(self, x, window.padding, self.padding_mode), unpadded(window)
        images, leading = one_batch_axis(x, len(sizes))
        return self._finished(correlate(images, ps.weight, window, self.groups), ps, leading), st


class ConvTranspose(_Convolution):
    """A transposed convolution in one to three spatial dimensions, channels last: the gradient of a `Conv` in its input, as a layer.

    Each element of the input puts a window of values, scaled, into the output. With one spatial axis, stride `s`, dilation `d`,
    and `p` elements cropped in front,

        y[j, o] = activation(bias[o] + sum over i, k with i s + k d - p = j, and over c, of x[i, c] weight[k, c, o])

    `padding` is that of the convolution which is transposed, as in PyTorch: it crops the output. "VALID" crops nothing; "SAME"
    crops (behind, if odd), or appends zeros, such that the output has `size * stride` elements.

    **Arguments:** as for `Conv`, and `output_padding`: elements that the output gets more behind, fewer than the stride or the
    dilation; not with "SAME", which fixes the size. With another `padding_mode` than "zeros", what would be cropped is added to the
    elements from which that convolution's padding is taken: a periodic output is "circular".

    **Call:** `x` of shape `(..., *spatial, in_channels)`, with any leading axes, gives `(..., *spatial', out_channels)`, where
    `size' = (size - 1) * stride + dilation * (kernel - 1) + 1 - padding + output_padding` along each axis.

    **Parameters:** `weight` `(*kernel_size, in_channels, out_channels // groups)`; `bias` `(out_channels,)` if `use_bias`.

    **States:** none.

    **Errors:** as for `Conv`; `ShapeError` also if nothing is left of the output.
    """

    output_padding: PerAxis = 0
    padding_mode: str = "zeros"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_padding_mode(self, self.padding_mode)
        dimensions = len(self.kernel_size)
        check_per_axis(self, dimensions, lowest=0, output_padding=self.output_padding)
        extra = per_axis(self.output_padding, dimensions)
        largest = [
            max(pair)
            for pair in zip(per_axis(self.stride, dimensions), per_axis(self.dilation, dimensions), strict=True)
        ]
        if self.padding == "SAME" and any(extra):
            raise LayerError(
                f'ConvTranspose: padding="SAME" fixes the output size; leave out output_padding={self.output_padding}'
            )
        if any(extra) and any(number >= limit for number, limit in zip(extra, largest, strict=True)):
            raise LayerError(
                f"ConvTranspose: output_padding is less than the stride or the dilation along its axis, got {self.output_padding} for "
                f"stride={self.stride}, dilation={self.dilation}"
            )

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return self._initial(key, self.in_channels, self.out_channels // self.groups)

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        sizes = spatial_sizes(self, x, len(self.kernel_size), self.in_channels)
        window = window_over(sizes, self.kernel_size, self.stride, "VALID", self.dilation)
        full = tuple(
            (size - 1) * stride + extent
            for size, stride, extent in zip(sizes, window.stride, window.extent, strict=True)
        )
        window = window._replace(padding=self._crop(window))
        new = tuple(size - sum(pair) for size, pair in zip(full, window.padding, strict=True))
        if min(*sizes, *new) < 1:
            raise ShapeError(
                f"ConvTranspose: spatial axes of {sizes} give an output of {new}, cropped by {window.padding}"
            )
        images, leading = one_batch_axis(x, len(sizes))
        # Of the convolution that is transposed, our output is the input: its weight is (*kernel, out // groups, in).
        weight = jnp.swapaxes(ps.weight, -1, -2)
        if self.padding_mode == "zeros":
            return self._finished(spread(images, weight, window, new, self.groups), ps, leading), st
        more = per_axis(self.output_padding, len(sizes))
        taken = tuple((low, max(high + extra, 0)) for (low, high), extra in zip(window.padding, more, strict=True))
        whole = tuple(size + sum(pair) for size, pair in zip(new, taken, strict=True))
        behind = tuple((0, size - larger) for size, larger in zip(full, whole, strict=True))
        y = spread(images, weight, window._replace(padding=behind), whole, self.groups)
        return self._finished(folded(self, y, new, taken, self.padding_mode), ps, leading), st

    def _crop(self, window: Window) -> Pairs:
        """What is cut off in front and behind, negative where zeros are appended instead."""
        if self.padding == "SAME":
            surplus = [extent - stride for extent, stride in zip(window.extent, window.stride, strict=True)]
            return tuple((max(total, 0) // 2, total - max(total, 0) // 2) for total in surplus)
        dimensions = len(window.kernel)
        explicit = window.padding if isinstance(self.padding, str) else explicit_padding(self.padding, dimensions)
        extra = per_axis(self.output_padding, dimensions)
        return tuple((low, high - more) for (low, high), more in zip(explicit, extra, strict=True))
