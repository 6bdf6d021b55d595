"""The matrix product of samples and a weight, with a gradient in the weight that XLA's CPU backend is fast with.

The gradient of `x @ weight` in the weight is `x.T @ dy`. XLA multiplies slowly where the first operand is transposed and the second is
narrow. Where outputs are few for the inputs and the samples, as in the last layer of most networks, it is computed as the
transpose of `dy.T @ x`, both transpositions by themselves, or XLA would undo them. `benchmarks/products.py` measures what this saves.
Each is one more kernel to compile.

Only an operation of JAX can say what its transpose is, so that the product is one. It is bilinear, and its two transposes are
products again: derivatives of all orders follow.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray, Tracer
from jax.experimental import jet
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from ._backend import compiled_apart
from ._placement import check_off_mesh, may_specialize

# Where transposing pays, by far. For a single output XLA has another routine.
_FEWEST_OUTPUTS = 2
_FOR_AN_OUTPUT = 4  # inputs, and samples
_FEWEST_NUMBERS = 2**14  # samples times inputs

_transpose = jax.jit(jnp.transpose)

Weight = Float[Array, "in out"]


def product(x: Float[Array, "... in"], weight: Weight) -> Float[Array, "... out"]:
    """`x @ weight`."""
    if not _may_pay(x, weight):
        return x @ weight
    return _product.bind(x.reshape(-1, x.shape[-1]), weight).reshape(*x.shape[:-1], weight.shape[1])


def _may_pay(x: Any, weight: Any) -> bool:
    """Whether the gradient may be faster, for the number of samples that the batching of `vmap` leads to."""
    inputs, outputs = weight.shape
    return (
        _FEWEST_OUTPUTS <= outputs <= inputs // _FOR_AN_OUTPUT
        and (isinstance(x, Tracer) or isinstance(weight, Tracer))
        and x.dtype == weight.dtype
        and may_specialize(x, weight)
    )


def _multiply(x: Float[Array, "samples in"], weight: Weight) -> Float[Array, "samples out"]:
    return x @ weight


def _type(x: Any, weight: Any) -> ShapedArray:
    check_off_mesh("product", x, weight)
    return ShapedArray((x.shape[0], weight.shape[1]), x.dtype)


def _gradient(dy: Float[Array, "samples out"], x: Float[Array, "samples in"], _: Any) -> Weight:
    if dy.shape[1] > x.shape[0] // _FOR_AN_OUTPUT or x.size < _FEWEST_NUMBERS:
        return x.T @ dy
    transpose = compiled_apart(_transpose)
    return transpose(transpose(dy) @ x)


def _mapped(operands: Any, axes: Any) -> tuple[Array, int]:
    """A mapped operand is folded into the axis that only it shares with the result; two mapped ones are products side by side."""
    x, weight = (
        operand if axis is None else jnp.moveaxis(operand, axis, 0)
        for operand, axis in zip(operands, axes, strict=True)
    )
    if axes[1] is None:
        return _product.bind(x.reshape(-1, x.shape[-1]), weight).reshape(*x.shape[:2], -1), 0
    if axes[0] is None:
        y = _product.bind(x, jnp.moveaxis(weight, 0, 1).reshape(weight.shape[1], -1))
        return y.reshape(len(x), len(weight), -1), 1
    return x @ weight, 0


_product = Primitive("product")
_product.def_impl(jax.jit(_multiply))
_product.def_abstract_eval(_type)
mlir.register_lowering(_product, mlir.lower_fun(_multiply, multiple_results=False))
batching.primitive_batchers[_product] = _mapped
ad.defbilinear(_product, lambda dy, _, weight: dy @ weight.T, _gradient)
jet.jet_rules[_product] = lambda primals, series: jet.jet(_multiply, primals, series)
