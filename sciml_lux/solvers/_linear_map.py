"""A linear map that is given its transpose, as an operation of JAX.

`jax.custom_derivatives.linear_call` is one that can be neither mapped nor differentiated once more.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import PyTree

from .._errors import LayerError


def linear_map(
    apply: Callable[[Any, Any], Any],
    transpose: Callable[[Any, Any], Any],
    fixed: PyTree,
    differentiated: PyTree,
    like: PyTree,
    once: str,
) -> Any:
    """`apply(fixed, differentiated)`, which is linear in `differentiated`.

    **Arguments:** `transpose`: `(fixed, bars)` to the cotangents of `differentiated`; neither function refers to a traced array; `fixed`:
    any tree; `differentiated`, `like`: trees of floating-point arrays, the second like the result; `once`: the error for a way back
    through `fixed`.
    """
    arrays, static = eqx.partition(fixed, eqx.is_array)
    arrays, fixed_tree = jax.tree.flatten(arrays)
    differentiated, moving_tree = jax.tree.flatten(differentiated)
    like, like_tree = jax.tree.flatten(like)

    def on_leaves(function: Callable[[Any, Any], Any], given: Any, expected: Any) -> Any:
        def run(arrays: list[Any], leaves: list[Any]) -> Any:
            fixed = eqx.combine(jax.tree.unflatten(fixed_tree, arrays), static)
            result, tree = jax.tree.flatten(function(fixed, jax.tree.unflatten(given, leaves)))
            assert tree == expected, f"a linear map returned {tree}, expected {expected}"
            return result

        return run

    if not differentiated:
        return jax.tree.unflatten(like_tree, list(map(jnp.zeros_like, like)))
    maps = (on_leaves(apply, moving_tree, like_tree), on_leaves(transpose, like_tree, moving_tree))
    avals = (tuple(map(jax.typeof, differentiated)), tuple(map(jax.typeof, like)))
    leaves = _linear.bind(*arrays, *differentiated, maps=maps, avals=avals, once=once)
    return jax.tree.unflatten(like_tree, leaves)


def _evaluate(*operands: Any, maps: tuple[Any, Any], avals: tuple[Any, Any], once: str) -> Any:
    del once
    number = len(operands) - len(avals[0])
    return maps[0](list(operands[:number]), list(operands[number:]))


def _jvp_rule(primals: Any, tangents: Any, *, maps: tuple[Any, Any], avals: tuple[Any, Any], once: str) -> Any:
    number = len(primals) - len(avals[0])
    value = _linear.bind(*primals, maps=maps, avals=avals, once=once)
    terms = []
    if any(type(dot) is not ad.Zero for dot in tangents[number:]):
        dots = [ad.instantiate_zeros(dot) for dot in tangents[number:]]
        terms.append(_linear.bind(*primals[:number], *dots, maps=maps, avals=avals, once=once))
    perturbed = [i for i, dot in enumerate(tangents[:number]) if type(dot) is not ad.Zero]
    if perturbed:
        terms.append(
            _derivative_in_fixed(primals, perturbed, [tangents[i] for i in perturbed], maps, avals, value, once)
        )
    zeros = [ad.Zero(jax.typeof(leaf).to_tangent_aval()) for leaf in value]
    return value, [jax.tree.reduce(jnp.add, parts) for parts in zip(*terms, strict=True)] if terms else zeros


def _derivative_in_fixed(
    primals: Any,
    perturbed: list[int],
    dots: list[Any],
    maps: tuple[Any, Any],
    avals: tuple[Any, Any],
    value: list[Any],
    once: str,
) -> Any:
    """The derivative in what the map is not linear in."""

    def push(primals: list[Any], dots: list[Any]) -> Any:
        def at(some: list[Any]) -> Any:
            operands = list(primals)
            for i, leaf in zip(perturbed, some, strict=True):
                operands[i] = leaf
            return _evaluate(*operands, maps=maps, avals=avals, once=once)

        return jax.jvp(at, ([primals[i] for i in perturbed],), (dots,))[1]

    def refuse(primals: list[Any], bars: list[Any]) -> Any:
        raise LayerError(once)

    return linear_map(push, refuse, list(primals), dots, value, once)


def _transpose_rule(bars: list[Any], *operands: Any, maps: tuple[Any, Any], avals: tuple[Any, Any], once: str) -> Any:
    number = len(operands) - len(avals[0])
    if all(type(bar) is ad.Zero for bar in bars):
        return [None] * number + [ad.Zero(aval) for aval in avals[0]]
    bars = [ad.instantiate_zeros(bar) for bar in bars]
    return [None] * number + _linear.bind(*operands[:number], *bars, maps=maps[::-1], avals=avals[::-1], once=once)


def _batching_rule(operands: Any, axes: Any, *, maps: tuple[Any, Any], avals: tuple[Any, Any], once: str) -> Any:
    number = len(operands) - len(avals[0])
    size = next(leaf.shape[axis] for leaf, axis in zip(operands, axes, strict=True) if axis is not None)
    operands = [
        leaf if axis is None else jnp.moveaxis(leaf, axis, 0) for leaf, axis in zip(operands, axes, strict=True)
    ]
    axes = [None if axis is None else 0 for axis in axes]
    apply, transpose = maps

    def each(fixed: list[Any], differentiated: list[Any]) -> Any:
        return jax.vmap(apply, (axes[:number], axes[number:]), axis_size=size)(fixed, differentiated)

    def each_transposed(fixed: list[Any], bars: list[Any]) -> Any:
        bars = jax.vmap(transpose, (axes[:number], 0), axis_size=size)(fixed, bars)
        return [jnp.sum(bar, axis=0) if axis is None else bar for bar, axis in zip(bars, axes[number:], strict=True)]

    outputs = tuple(aval.update(shape=(size, *aval.shape)) for aval in avals[1])
    avals = (tuple(map(jax.typeof, operands[number:])), outputs)
    return _linear.bind(*operands, maps=(each, each_transposed), avals=avals, once=once), [0] * len(outputs)


_linear = Primitive("linear_map")
_linear.multiple_results = True
_linear.def_impl(_evaluate)
_linear.def_abstract_eval(lambda *operands, maps, avals, once: avals[1])
mlir.register_lowering(_linear, mlir.lower_fun(_evaluate, multiple_results=True))
ad.primitive_jvps[_linear] = _jvp_rule
ad.primitive_transposes[_linear] = _transpose_rule
batching.primitive_batchers[_linear] = _batching_rule
