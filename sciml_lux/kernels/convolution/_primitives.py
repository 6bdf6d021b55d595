"""The three products behind convolutions as operations of JAX, each the derivative of the others to every order.

With windows of stride `s`, dilation `d` and padding `p` in front, one spatial axis shown:

    correlate(x, w)[n, i, o] = sum over k, c of x[n, i s + k d - p, c] w[k, c, o]
    spread(z, w):   its transpose in x, which a transposed convolution computes
    weigh(x, z):    its transpose in w

Each is bilinear: `defbilinear` makes all derivatives of its two transposes, which are the two others. Rules of `custom_jvp` would
hold for first derivatives alone, as the transpose of a tangent leaves them.

Under `vmap`, a mapped operand is folded into the index that it shares with the result, so that one larger product is computed:
batch `n`, channels in `c`, or channels out `o`. Where both are mapped there is none. A loop then takes images one after the
other, as XLA's CPU backend is slow with groups; but not with those of weights, the gradients of each sample, which are left to
it, with their derivatives.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from .._placement import check_off_mesh
from ._products import Images, Weight, correlate_now, spread_now, weigh_now
from ._window import Sizes, Window


def correlate_one(x: Images, weight: Weight, window: Window) -> Images:
    """The cross-correlation of one group."""
    return _correlate.bind(x, weight, window=window)


def spread_one(z: Images, weight: Weight, window: Window, sizes: Sizes) -> Images:
    """Its transpose in `x`, whose spatial axes have `sizes`."""
    return _spread.bind(z, weight, window=window, sizes=sizes)


def _weigh_one(x: Images, z: Images, window: Window) -> Weight:
    return _weigh.bind(x, z, window=window)


def _primitive(
    name: str, product: Callable[..., Array], folds: tuple[tuple[int, int], tuple[int, int]], loops: bool
) -> Primitive:
    """`folds`: for each operand its axis, and the axis of the result, that are the index which only those two have; `loops`:
    whether a loop takes several pairs of operands, one after the other."""
    primitive = Primitive(name)
    settings = list(inspect.signature(product).parameters)[2:]
    primitive.def_impl(jax.jit(product, static_argnames=settings))

    @primitive.def_abstract_eval
    def shape(a: Any, b: Any, **settings: Any) -> Any:
        check_off_mesh(name, a, b)
        result = jax.eval_shape(lambda a, b: product(a, b, **settings), _struct(a), _struct(b))
        return ShapedArray(result.shape, result.dtype)

    def mapped(operands: Any, axes: Any, **settings: Any) -> tuple[Array, int]:
        one = functools.partial(primitive.bind, **settings)
        first, second = axes
        if second is None:
            return _fold(lambda x: one(x, operands[1]), operands[0], first, folds[0])
        if first is None:
            return _fold(lambda x: one(operands[0], x), operands[1], second, folds[1])
        pairs = [jnp.moveaxis(each, axis, 0) for each, axis in zip(operands, axes, strict=True)]
        if loops:
            return lax.map(lambda pair: one(*pair), pairs), 0
        return jax.vmap(functools.partial(product, **settings))(*pairs), 0

    batching.primitive_batchers[primitive] = mapped
    mlir.register_lowering(primitive, mlir.lower_fun(product, multiple_results=False))
    return primitive


def _struct(value: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype)


def _fold(one: Callable[[Array], Array], several: Array, mapped: int, axes: tuple[int, int]) -> tuple[Array, int]:
    """`one` of all operands along the axis `mapped`, by making that a part of another axis: which it is in the operand, and in the
    result. Returns the axis that it is in the result, too."""
    several = jnp.moveaxis(several, mapped, 0)
    count, shape = several.shape[0], several.shape[1:]
    own = axes[0] % len(shape)
    y = one(jnp.moveaxis(several, 0, own).reshape(*shape[:own], count * shape[own], *shape[own + 1 :]))
    place = axes[1] % y.ndim
    return y.reshape(*y.shape[:place], count, shape[own], *y.shape[place + 1 :]), place


_correlate = _primitive("correlate", correlate_now, ((0, 0), (-1, -1)), loops=True)
_spread = _primitive("spread", spread_now, ((0, 0), (-2, -1)), loops=True)
_weigh = _primitive("weigh", weigh_now, ((-1, -2), (-1, -1)), loops=False)


def _sizes(images: Any) -> Sizes:
    return images.aval.shape[1:-1]


ad.defbilinear(
    _correlate,
    lambda z, x, weight, window: spread_one(z, weight, window, _sizes(x)),
    lambda z, x, weight, window: _weigh_one(x, z, window),
)
ad.defbilinear(
    _spread,
    lambda x, z, weight, window, sizes: correlate_one(x, weight, window),
    lambda x, z, weight, window, sizes: _weigh_one(x, z, window),
)
ad.defbilinear(
    _weigh,
    lambda weight, x, z, window: spread_one(z, weight, window, _sizes(x)),
    lambda weight, x, z, window: correlate_one(x, weight, window),
)
