"""Derivatives in both modes, where each mode has a way of its own.

A solve is differentiated backwards from what it recorded, or from checkpoints, and forwards by carrying tangents along. `jax.custom_vjp`
knows the first only, and refuses `jax.jvp`; `jax.custom_jvp` has JAX transpose the second, which it cannot where a loop ends when it
is done. What joins them is a linear map that is given its transpose, as an operation of JAX: `jax.custom_derivatives.linear_call` is
one that can be neither mapped nor differentiated once more.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.custom_batching
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._errors import LayerError
from ..core import differentiation_mode, failure_mode
from ..kernels import is_traced


def in_both_modes(
    reverse: Callable[[Any], Any], forward: Callable[[Any], Any], x: Any, once: str, *, twice: bool
) -> Any:
    """`reverse(x)`, differentiated backwards as that function is, and forwards as `forward(x)`, whose value is the same.

    **Arguments:** `reverse`, `forward`: functions of a tree that refer to no traced array, whose results have the same floating-point
    arrays; `x`; `once`: the error for derivatives of second order that there are not, two ways back, and, unless `twice`, any.
    """
    seen = _Seen()
    arrays = _in_both_modes(x, reverse=_as_now(reverse), forward=_as_now(forward), seen=seen, once=_Once(once, twice))
    return eqx.combine(arrays, seen.static)


def isolated(solve: Callable[[Any], tuple[Any, Any]], x: Any, once: str) -> tuple[Any, Any]:
    """`solve(x) = (values, okay)`, whose derivatives are zero unless it is okay, rather than zero times what overflowed on the way.

    **Arguments:** `once`: the error for a derivative of second order.
    """
    seen = _Seen()
    return eqx.combine(_isolated(x, solve=solve, seen=seen, once=once), seen.static)


def forward_only(function: Callable[[Any], Any], x: Any, message: str) -> Any:
    """`function(x)`, of whose derivatives one that is taken backwards is a `LayerError` with this message."""
    seen = _Seen()
    return eqx.combine(_forward_only(x, function=function, seen=seen, message=message), seen.static)


class _Once(NamedTuple):
    message: str
    twice: bool


class _Seen:
    """What of a result is no array, and so cannot be returned by a rule."""

    static: Any = None


@eqx.filter_custom_jvp
def _in_both_modes(x: Any, *, reverse: Any, forward: Any, seen: _Seen, once: _Once) -> Any:
    del forward, once
    arrays, seen.static = eqx.partition(reverse(x), eqx.is_array)
    return _mapped_as_tangents(x, arrays)


@_in_both_modes.def_jvp
def _(primals: Any, tangents: Any, *, reverse: Any, forward: Any, seen: _Seen, once: _Once) -> Any:
    (x,), (x_dot,) = primals, tangents
    moving, still = _split(x, x_dot)
    if not once.twice:
        moving = eqx.internal.nondifferentiable(moving, msg=once.message)

    def value(moving: Any) -> tuple[Any, Any]:
        arrays, seen.static = eqx.partition(reverse(eqx.combine(moving, still)), eqx.is_array)
        return eqx.partition(arrays, eqx.is_inexact_array)

    floating, pull, rest = jax.vjp(value, moving, has_aux=True)

    def push(fixed: Any, moving_dot: Any) -> Any:
        moving, still, _ = fixed
        value = lambda moving: eqx.filter(forward(eqx.combine(moving, still)), eqx.is_inexact_array)  # noqa: E731
        return jax.jvp(value, (moving,), (moving_dot,))[1]

    fixed, moving_dot = (moving, still, pull), eqx.filter(x_dot, eqx.is_array)
    dot = linear_map(push, lambda fixed, bar: fixed[2](bar)[0], fixed, moving_dot, floating, once.message)
    return eqx.combine(floating, rest), dot


@eqx.filter_custom_jvp
def _isolated(x: Any, *, solve: Any, seen: _Seen, once: str) -> Any:
    del once
    arrays, seen.static = eqx.partition(solve(x), eqx.is_array)
    return _mapped_as_tangents(x, arrays)


@_isolated.def_jvp
def _(primals: Any, tangents: Any, *, solve: Any, seen: _Seen, once: str) -> Any:
    (x,), (x_dot,) = primals, tangents
    moving, still = _split(x, x_dot)

    def value(moving: Any) -> tuple[Any, Any]:
        arrays, seen.static = eqx.partition(solve(eqx.combine(moving, still)), eqx.is_array)
        floating, rest = eqx.partition(arrays, eqx.is_inexact_array)
        return floating, (rest, arrays[1])

    floating, line, (rest, okay) = jax.linearize(value, moving, has_aux=True)

    def only(okay: Any, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.where(okay, leaf, jnp.zeros((), leaf.dtype)), tree)

    def push(fixed: Any, moving_dot: Any) -> Any:
        line, okay, _ = fixed
        return only(okay, line(moving_dot))

    def pull(fixed: Any, bars: Any) -> Any:
        line, okay, moving = fixed
        return only(okay, jax.linear_transpose(line, moving)(bars)[0])

    dots = linear_map(push, pull, (line, okay, moving), eqx.filter(x_dot, eqx.is_array), floating, once)
    return eqx.combine(floating, rest), dots


@eqx.filter_custom_jvp
def _forward_only(x: Any, *, function: Any, seen: _Seen, message: str) -> Any:
    del message
    arrays, seen.static = eqx.partition(function(x), eqx.is_array)
    return _mapped_as_tangents(x, arrays)


@_forward_only.def_jvp
def _(primals: Any, tangents: Any, *, function: Any, seen: _Seen, message: str) -> Any:
    (x,), (x_dot,) = primals, tangents
    floating, rest = eqx.partition(
        _forward_only(x, function=function, seen=seen, message=message), eqx.is_inexact_array
    )

    def push(fixed: Any, moving_dot: Any) -> Any:
        moving, still = fixed
        value = lambda moving: eqx.filter(function(eqx.combine(moving, still)), eqx.is_inexact_array)  # noqa: E731
        return jax.jvp(value, (moving,), (moving_dot,))[1]

    def refuse(fixed: Any, bars: Any) -> Any:
        raise LayerError(message)

    dot = linear_map(push, refuse, _split(x, x_dot), eqx.filter(x_dot, eqx.is_array), floating, message)
    return eqx.combine(floating, rest), dot


def _mapped_as_tangents(x: Any, arrays: Any) -> Any:
    """The result of a rule's function, of which every floating-point number is mapped over where any number of `x` is.

    Their tangents are, since the linear map says it of all of them alike; and JAX takes the word of the function for the rule. Where a
    function that was compiled is differentiated, a result of which only the tangent is mapped would be an error of JAX's own.
    """
    floating, rest = eqx.partition(arrays, eqx.is_inexact_array)
    if not is_traced(floating):
        return arrays
    return eqx.combine(_alike(eqx.filter(x, eqx.is_array), floating), rest)


@jax.custom_batching.custom_vmap
def _alike(given: Any, values: Any) -> Any:
    del given
    return values


@_alike.def_vmap
def _(axis_size: int, is_mapped: Any, given: Any, values: Any) -> tuple[Any, Any]:
    rows = jax.tree.map(
        lambda leaf, mapped: leaf if mapped else jnp.broadcast_to(leaf, (axis_size, *leaf.shape)), values, is_mapped[1]
    )
    return _alike(given, rows), jax.tree.map(lambda _: True, rows)


def _split(x: Any, x_dot: Any) -> tuple[Any, Any]:
    """What is differentiated, and the rest."""
    moving, still = eqx.partition(
        x, jax.tree.map(lambda dot: dot is not None, x_dot, is_leaf=lambda node: node is None)
    )
    return jax.tree.map(_as_array, moving), still


def _as_array(leaf: Any) -> Any:
    # A number of Python's that is differentiated is none of JAX's arrays in a rule.
    return leaf if eqx.is_array(leaf) else jnp.asarray(np.asarray(leaf, jnp.result_type(leaf)))


def _as_now(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function, which knows the contexts in which it is met when it is traced later."""
    mode, failure = differentiation_mode.value, failure_mode.value

    def call(x: Any) -> Any:
        with differentiation_mode(mode), failure_mode(failure):
            return function(x)

    return call


# The operation


def linear_map(apply: Any, transpose: Any, fixed: Any, moving: Any, like: Any, once: str) -> Any:
    """`apply(fixed, moving)`, which is linear in `moving`.

    **Arguments:** `transpose`: `(fixed, bars)` to the cotangents of `moving`; neither function refers to a traced array; `fixed`: any tree;
    `moving`, `like`: trees of floating-point arrays, the second like the result; `once`: the error for a way back through `fixed`.
    """
    arrays, static = eqx.partition(fixed, eqx.is_array)
    arrays, fixed_tree = jax.tree.flatten(arrays)
    moving, moving_tree = jax.tree.flatten(moving)
    like, like_tree = jax.tree.flatten(like)

    def on_leaves(function: Any, given: Any, expected: Any) -> Any:
        def run(arrays: Any, leaves: Any) -> Any:
            fixed = eqx.combine(jax.tree.unflatten(fixed_tree, arrays), static)
            result, tree = jax.tree.flatten(function(fixed, jax.tree.unflatten(given, leaves)))
            assert tree == expected, f"a linear map returned {tree}, expected {expected}"
            return result

        return run

    if not moving:
        return jax.tree.unflatten(like_tree, list(map(jnp.zeros_like, like)))
    maps = (on_leaves(apply, moving_tree, like_tree), on_leaves(transpose, like_tree, moving_tree))
    avals = (tuple(map(jax.typeof, moving)), tuple(map(jax.typeof, like)))
    leaves = _linear.bind(*arrays, *moving, maps=maps, avals=avals, once=once)
    return jax.tree.unflatten(like_tree, leaves)


def _evaluated(*operands: Any, maps: Any, avals: Any, once: str) -> Any:
    del once
    number = len(operands) - len(avals[0])
    return maps[0](list(operands[:number]), list(operands[number:]))


def _differentiated(primals: Any, tangents: Any, *, maps: Any, avals: Any, once: str) -> Any:
    number = len(primals) - len(avals[0])
    value = _linear.bind(*primals, maps=maps, avals=avals, once=once)
    terms = []
    if any(type(dot) is not ad.Zero for dot in tangents[number:]):
        dots = [ad.instantiate_zeros(dot) for dot in tangents[number:]]
        terms.append(_linear.bind(*primals[:number], *dots, maps=maps, avals=avals, once=once))
    moved = [i for i, dot in enumerate(tangents[:number]) if type(dot) is not ad.Zero]
    if moved:
        terms.append(_in_fixed(primals, moved, [tangents[i] for i in moved], maps, avals, value, once))
    zeros = [ad.Zero(jax.typeof(leaf).to_tangent_aval()) for leaf in value]
    return value, [jax.tree.reduce(jnp.add, parts) for parts in zip(*terms, strict=True)] if terms else zeros


def _in_fixed(primals: Any, moved: list[int], dots: list[Any], maps: Any, avals: Any, value: Any, once: str) -> Any:
    """The derivative in what the map is not linear in."""

    def push(primals: Any, dots: Any) -> Any:
        def at(some: list[Any]) -> Any:
            operands = list(primals)
            for i, leaf in zip(moved, some, strict=True):
                operands[i] = leaf
            return _evaluated(*operands, maps=maps, avals=avals, once=once)

        return jax.jvp(at, ([primals[i] for i in moved],), (dots,))[1]

    def refuse(primals: Any, bars: Any) -> Any:
        raise LayerError(once)

    return linear_map(push, refuse, list(primals), dots, value, once)


def _transposed(bars: Any, *operands: Any, maps: Any, avals: Any, once: str) -> Any:
    number = len(operands) - len(avals[0])
    if all(type(bar) is ad.Zero for bar in bars):
        return [None] * number + [ad.Zero(aval) for aval in avals[0]]
    bars = [ad.instantiate_zeros(bar) for bar in bars]
    return [None] * number + _linear.bind(*operands[:number], *bars, maps=maps[::-1], avals=avals[::-1], once=once)


def _mapped(operands: Any, axes: Any, *, maps: Any, avals: Any, once: str) -> Any:
    number = len(operands) - len(avals[0])
    size = next(leaf.shape[axis] for leaf, axis in zip(operands, axes, strict=True) if axis is not None)
    operands = [
        leaf if axis is None else jnp.moveaxis(leaf, axis, 0) for leaf, axis in zip(operands, axes, strict=True)
    ]
    axes = [None if axis is None else 0 for axis in axes]
    apply, transpose = maps

    def each(fixed: Any, moving: Any) -> Any:
        return jax.vmap(apply, (axes[:number], axes[number:]), axis_size=size)(fixed, moving)

    def each_transposed(fixed: Any, bars: Any) -> Any:
        bars = jax.vmap(transpose, (axes[:number], 0), axis_size=size)(fixed, bars)
        return [jnp.sum(bar, axis=0) if axis is None else bar for bar, axis in zip(bars, axes[number:], strict=True)]

    outputs = tuple(aval.update(shape=(size, *aval.shape)) for aval in avals[1])
    avals = (tuple(map(jax.typeof, operands[number:])), outputs)
    return _linear.bind(*operands, maps=(each, each_transposed), avals=avals, once=once), [0] * len(outputs)


_linear = Primitive("linear_map")
_linear.multiple_results = True
_linear.def_impl(_evaluated)
_linear.def_abstract_eval(lambda *operands, maps, avals, once: avals[1])
mlir.register_lowering(_linear, mlir.lower_fun(_evaluated, multiple_results=True))
ad.primitive_jvps[_linear] = _differentiated
ad.primitive_transposes[_linear] = _transposed
batching.primitive_batchers[_linear] = _mapped
