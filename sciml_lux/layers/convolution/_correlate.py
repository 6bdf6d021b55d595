"""The three products behind convolutions, and their derivatives.

With windows of stride `s`, dilation `d` and padding `p` in front, one spatial axis shown:

    correlate(x, w)[n, i, o] = sum over k, c of x[n, i s + k d - p, c] w[k, c, o]
    spread(z, w):   its transpose in x, which a transposed convolution computes
    weigh(x, z):    its transpose in w

Each is bilinear and is the derivative of the others. XLA could find them by itself, and elsewhere than on the CPU it does. XLA's CPU
backend, however, runs a convolution fast only if the axes stand in one order, which it restores outside of loops alone
(https://github.com/jax-ml/jax/issues/12868): within a `scan`, such as over the steps of a fit, gradients took 20 to 50 times as
long. So derivatives are written here in that order. Three more things it does slowly, by factors of 3 to 100, are avoided:
products with one input channel, groups, and strides in `spread` and so in gradients.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from ._window import Pairs, Sizes, Window

_FEW = 32  # taps up to which a sum of products with shifted inputs compiles quickly

Images = Float[Array, "..."]  # (batch, *spatial, channels)
Weight = Float[Array, "..."]  # (*kernel, in // groups, out)


def correlate(x: Images, weight: Weight, window: Window, groups: int) -> Images:
    """Cross-correlation; `weight` is `(*kernel, in // groups, out)`."""
    if not _on_cpu():
        return _convolution(x, weight, window, groups=groups)
    if groups == 1:
        return _correlate(window, x, weight)
    if weight.shape[-2] == 1 and window.taps <= _FEW:
        return _sum_of_shifted(jnp.repeat(x, weight.shape[-1] // groups, axis=-1), weight, window)
    return _by_group(functools.partial(_correlate, window), x, _out_by_group(weight, groups), groups)


def spread(z: Images, weight: Weight, window: Window, sizes: Sizes, groups: int) -> Images:
    """The transpose of `correlate` for inputs with spatial axes of `sizes`; `weight` is `(*kernel, out // groups, in)`.

    In and out are those of `spread`, so that the weight is that of the `correlate` that it transposes.
    """
    if not _on_cpu():
        joined = jnp.swapaxes(weight, -1, -2)  # (*kernel, in, out // groups)
        joined = joined.reshape(*window.kernel, groups, -1, joined.shape[-1])
        joined = jnp.moveaxis(joined, -3, -2).reshape(*window.kernel, joined.shape[-2], -1)
        return _dilated(z, joined, window, sizes, groups)
    if groups == 1:
        return _spread(window, sizes, z, weight)
    if weight.shape[-2] == 1 and window.taps <= _FEW:
        # Transposing the sum of shifted products gives a sum of shifted products.
        x = jax.ShapeDtypeStruct((z.shape[0], *sizes, groups), z.dtype)
        multiple = weight.shape[-1] // groups
        shifted = lambda x: _sum_of_shifted(jnp.repeat(x, multiple, axis=-1), weight, window)  # noqa: E731
        return jax.linear_transpose(shifted, x)(z)[0]
    return _by_group(functools.partial(_spread, window, sizes), z, _out_by_group(weight, groups), groups)


# The products with their derivatives, on the CPU. A tangent is the transpose of a product in the fast order: transposed
# once more, in reverse mode, it is that product.


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _correlate(window: Window, x: Images, weight: Weight) -> Images:
    if weight.shape[-2] == 1 and window.taps <= _FEW:
        return _sum_of_shifted(x, weight, window)
    return _convolution(x, weight, window)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _spread(window: Window, sizes: Sizes, z: Images, weight: Weight) -> Images:
    return _spread_now(window, sizes, z, weight)


def _correlate_jvp(window: Window, primals: Any, tangents: Any) -> tuple[Images, Images]:
    (x, weight), (dx, dweight) = primals, tangents
    y, sizes = _correlate(window, x, weight), x.shape[1:-1]
    parts = [
        _transposed(lambda z: _spread_now(window, sizes, z, weight), y, dx),
        _transposed(lambda z: _weigh(window, x, z), y, dweight),
    ]
    return y, _total(parts, y)


def _spread_jvp(window: Window, sizes: Sizes, primals: Any, tangents: Any) -> tuple[Images, Images]:
    (z, weight), (dz, dweight) = primals, tangents
    x = _spread(window, sizes, z, weight)
    parts = [
        _transposed(lambda x: _convolution(x, weight, window), x, dz),
        _transposed(lambda x: _weigh(window, x, z), x, dweight),
    ]
    return x, _total(parts, x)


_correlate.defjvp(_correlate_jvp, symbolic_zeros=True)
_spread.defjvp(_spread_jvp, symbolic_zeros=True)


def _transposed(product: Callable[[Images], Any], example: Images, tangent: Any) -> Images | None:
    if isinstance(tangent, SymbolicZero):
        return None
    return jax.linear_transpose(product, jax.ShapeDtypeStruct(example.shape, example.dtype))(tangent)[0]


def _total(parts: list[Images | None], like: Images) -> Images:
    return sum((part for part in parts if part is not None), jnp.zeros_like(like))


# The products, in the fast order of axes.


def _convolution(x: Images, weight: Weight, window: Window, expansion: Sizes | None = None, groups: int = 1) -> Images:
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


def _weigh(window: Window, x: Images, z: Images) -> Weight:
    """The sums over batch and places of products of inputs and outputs: outputs are the windows, dilated by the stride."""
    axes = zip(x.shape[1:-1], window.padding, z.shape[1:-1], window.stride, window.extent, strict=True)
    padding = tuple(
        (pair[0], (places - 1) * stride + extent - size - pair[0]) for size, pair, places, stride, extent in axes
    )
    batch_last = jnp.moveaxis(jnp.moveaxis(x, -1, 0), 1, -1)
    over = Window(z.shape[1:-1], window.dilation, padding, window.stride)
    return jnp.moveaxis(_convolution(batch_last, jnp.moveaxis(z, 0, -2), over), 0, -2)


def _spread_now(window: Window, sizes: Sizes, z: Images, weight: Weight) -> Images:
    if max(window.stride) > 1 and window.taps <= _FEW:
        return _sum_of_placed(z, weight, window, sizes)
    return _dilated(z, jnp.swapaxes(weight, -1, -2), window, sizes)


def _dilated(z: Images, weight: Weight, window: Window, sizes: Sizes, groups: int = 1) -> Images:
    """`spread` as a convolution of `z` with zeros between its elements; `weight` is `(*kernel, in // groups, out)`."""
    axes = zip(window.padding, window.extent, window.stride, z.shape[1:-1], sizes, strict=True)
    padding: Pairs = tuple(
        (extent - 1 - pair[0], size - 1 - (places - 1) * stride + pair[0])
        for pair, extent, stride, places, size in axes
    )
    over = Window(window.kernel, (1,) * len(sizes), padding, window.dilation)
    return _convolution(z, jnp.flip(weight, range(len(sizes))), over, window.stride, groups)


def _sum_of_shifted(x: Images, weight: Weight, window: Window) -> Images:
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


# Groups


def _out_by_group(weight: Weight, groups: int) -> Float[Array, "groups *kernel in out"]:
    return jnp.moveaxis(weight.reshape(*weight.shape[:-1], groups, weight.shape[-1] // groups), -2, 0)


def _by_group(
    product: Callable[[Images, Weight], Images], x: Images, weights: Float[Array, "groups ..."], groups: int
) -> Images:
    by_group = jnp.moveaxis(x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups), -2, 0)
    ys = jnp.moveaxis(lax.map(lambda pair: product(*pair), (by_group, weights)), 0, -2)
    return ys.reshape(*ys.shape[:-2], groups * ys.shape[-1])


def _accumulator(x: Array) -> Any:
    return jnp.float32 if x.dtype.itemsize < 4 else x.dtype


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"
