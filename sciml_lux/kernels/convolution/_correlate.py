"""Cross-correlations and their transposes, with groups, by whatever is fast where they run.

XLA's CPU backend runs a convolution fast only if the axes stand in one order, which it restores outside of loops alone
(https://github.com/jax-ml/jax/issues/12868): within a `scan`, such as over the steps of a fit, gradients took 20 to 50 times as
long. So there the products and their derivatives are ours (`_primitives.py`), in that order (`_products.py`). Three more things
it does slowly, by factors of 3 to 100, are avoided: products with one input channel, groups, and strides in `spread` and so in
gradients. Elsewhere than on the CPU, XLA finds all that by itself.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._placement import may_specialize
from ._primitives import correlate_one, spread_one
from ._products import FEW, Images, convolution, dilated, sum_of_shifted
from ._window import Sizes, Window

Weight = Float[Array, "..."]  # (*kernel, in // groups, out)


def correlate(x: Images, weight: Weight, window: Window, groups: int) -> Images:
    """Cross-correlation; `weight` is `(*kernel, in // groups, out)`."""
    x, weight = _of_one_dtype(x, weight)
    if not may_specialize(x, weight):
        return convolution(x, weight, window, groups=groups)
    if groups == 1:
        return correlate_one(x, weight, window)
    if weight.shape[-2] == 1 and window.taps <= FEW:
        return sum_of_shifted(jnp.repeat(x, weight.shape[-1] // groups, axis=-1), weight, window)
    return _by_group(functools.partial(correlate_one, window=window), x, weight, groups)


def spread(z: Images, weight: Weight, window: Window, sizes: Sizes, groups: int) -> Images:
    """The transpose of `correlate` for inputs with spatial axes of `sizes`; `weight` is `(*kernel, out // groups, in)`.

    In and out are those of `spread`, so that the weight is that of the `correlate` that it transposes.
    """
    z, weight = _of_one_dtype(z, weight)
    if not may_specialize(z, weight):
        joined = jnp.swapaxes(weight, -1, -2)  # (*kernel, in, out // groups)
        joined = joined.reshape(*window.kernel, groups, -1, joined.shape[-1])
        joined = jnp.moveaxis(joined, -3, -2).reshape(*window.kernel, joined.shape[-2], -1)
        return dilated(z, joined, window, sizes, groups)
    if groups == 1:
        return spread_one(z, weight, window, sizes)
    if weight.shape[-2] == 1 and window.taps <= FEW:
        # Transposing the sum of shifted products gives a sum of shifted products.
        x = jax.ShapeDtypeStruct((z.shape[0], *sizes, groups), z.dtype)
        multiple = weight.shape[-1] // groups
        shifted = lambda x: sum_of_shifted(jnp.repeat(x, multiple, axis=-1), weight, window)  # noqa: E731
        return jax.linear_transpose(shifted, x)(z)[0]
    return _by_group(functools.partial(spread_one, window=window, sizes=sizes), z, weight, groups)


def _by_group(product: Callable[[Images, Weight], Images], x: Images, weight: Weight, groups: int) -> Images:
    of_x, of_weight = (
        jnp.moveaxis(each.reshape(*each.shape[:-1], groups, each.shape[-1] // groups), -2, 0) for each in (x, weight)
    )
    ys = jnp.moveaxis(lax.map(lambda pair: product(*pair), (of_x, of_weight)), 0, -2)
    return ys.reshape(*ys.shape[:-2], groups * ys.shape[-1])


def _of_one_dtype(x: Images, weight: Weight) -> tuple[Images, Weight]:
    """Both as matrix products take them; XLA's convolutions take one dtype only."""
    dtype = jnp.result_type(x, weight)
    return x.astype(dtype), weight.astype(dtype)
