"""What convolutions compute, in the order of axes and by the operations that XLA's CPU backend is fast with.

`_primitives.py` says how these are each other's derivatives.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ._window import Pairs, Sizes, Window

FEW = 32  # taps up to which a sum of products with shifted inputs compiles quickly

Images = Float[Array, "..."]  # (batch, *spatial, channels)
Weight = Float[Array, "..."]  # (*kernel, in, out)


def correlate_now(x: Images, weight: Weight, window: Window) -> Images:
    """`correlate` of one group."""
    if weight.shape[-2] == 1 and window.taps <= FEW:
        return sum_of_shifted(x, weight, window)
    return convolution(x, weight, window)


def convolution(x: Images, weight: Weight, window: Window, expansion: Sizes | None = None, groups: int = 1) -> Images:
    """`correlate` by XLA, of an input with `expansion - 1` zeros between its elements."""
    last = x.ndim - 1
    channels_last, out_last = (0, last, *range(1, last)), (last, last - 1, *range(last - 1))
    return lax.conv_general_dilated(
        x,
        weight,
        window.stride,
        window.padding,
        expansion,
        window.dilation,
        lax.ConvDimensionNumbers(channels_last, out_last, channels_last),
        groups,
    )


def weigh_now(x: Images, z: Images, window: Window) -> Weight:
    """The sums over batch and places of products of inputs and outputs: outputs are the windows, dilated by the stride."""
    axes = zip(x.shape[1:-1], window.padding, z.shape[1:-1], window.stride, window.extent, strict=True)
    padding = tuple(
        (pair[0], (places - 1) * stride + extent - size - pair[0]) for size, pair, places, stride, extent in axes
    )
    batch_last = jnp.moveaxis(jnp.moveaxis(x, -1, 0), 1, -1)
    over = Window(z.shape[1:-1], window.dilation, padding, window.stride)
    return jnp.moveaxis(convolution(batch_last, jnp.moveaxis(z, 0, -2), over), 0, -2)


def spread_now(z: Images, weight: Weight, window: Window, sizes: Sizes) -> Images:
    if max(window.stride) > 1 and window.taps <= FEW:
        return _sum_of_placed(z, weight, window, sizes)
    return dilated(z, jnp.swapaxes(weight, -1, -2), window, sizes)


def dilated(z: Images, weight: Weight, window: Window, sizes: Sizes, groups: int = 1) -> Images:
    """`spread` as a convolution of `z` with zeros between its elements; `weight` is `(*kernel, in // groups, out)`."""
    axes = zip(window.padding, window.extent, window.stride, z.shape[1:-1], sizes, strict=True)
    padding: Pairs = tuple(
        (extent - 1 - pair[0], size - 1 - (places - 1) * stride + pair[0])
        for pair, extent, stride, places, size in axes
    )
    over = Window(window.kernel, (1,) * len(sizes), padding, window.dilation)
    return convolution(z, jnp.flip(weight, range(len(sizes))), over, window.stride, groups)


def sum_of_shifted(x: Images, weight: Weight, window: Window) -> Images:
    """`correlate` channel by channel: the channels of `x` are one, or as many as those of the result."""
    wide = _accumulator(x)
    padded = jnp.pad(x, ((0, 0), *((max(low, 0), max(high, 0)) for low, high in window.padding), (0, 0)))
    ends = [
        (places - 1) * stride + 1 for places, stride in zip(window.positions(x.shape[1:-1]), window.stride, strict=True)
    ]
    factors = lax.split(weight.reshape(window.taps, -1).astype(wide), (1,) * window.taps)
    y: Any = 0.0
    for factor, offset in zip(factors, _offsets(window), strict=True):
        stop = [start + end for start, end in zip(offset, ends, strict=True)]
        part = lax.slice(padded, (0, *offset, 0), (x.shape[0], *stop, x.shape[-1]), (1, *window.stride, 1)).astype(wide)
        y = y + part * jnp.broadcast_to(factor[0], (*part.shape[:-1], factor.size))
    return y.astype(x.dtype)


def _sum_of_placed(z: Images, weight: Weight, window: Window, sizes: Sizes) -> Images:
    """`spread` tap by tap: one matrix product makes the contributions of all taps, which are placed and summed up."""
    wide, rows = _accumulator(z), weight.shape[-2]
    matrix = jnp.moveaxis(weight, -1, 0).reshape(weight.shape[-1], -1)
    products = lax.dot_general(z, matrix, (((z.ndim - 1,), (0,)), ((), ())), preferred_element_type=wide)
    parts = lax.split(products, (rows,) * window.taps, axis=products.ndim - 1)
    x: Any = 0.0
    for part, offset in zip(parts, _offsets(window), strict=True):
        axes = zip(offset, window.padding, window.stride, z.shape[1:-1], sizes, strict=True)
        places = [
            (start - pair[0], size - (count - 1) * stride - 1 - start + pair[0], stride - 1)
            for start, pair, stride, count, size in axes
        ]
        x = x + lax.pad(part, jnp.zeros((), wide), [(0, 0, 0), *places, (0, 0, 0)])
    return x.astype(z.dtype)


def _offsets(window: Window) -> Iterator[Sizes]:
    """The distances of a window's elements from its start, in the order of its weights."""
    return itertools.product(
        *(range(0, extent, step) for extent, step in zip(window.extent, window.dilation, strict=True))
    )


def _accumulator(x: Array) -> Any:
    return jnp.float32 if x.dtype.itemsize < 4 else x.dtype
