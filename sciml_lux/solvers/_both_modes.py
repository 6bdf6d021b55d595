"""Derivatives in both modes, where each mode has a way of its own.

A solve is differentiated backwards from what it recorded, or from checkpoints, and forwards by carrying tangents along. `jax.custom_vjp`
knows the first only, and refuses `jax.jvp`; `jax.custom_jvp` has JAX transpose the second, which it cannot where a loop ends when it
is done. What joins them is a linear map that is given its transpose (`_linear_map.py`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._errors import LayerError
from ..core import differentiation_mode, failure_mode
from ..kernels import is_traced, with_batching_rule
from ._linear_map import linear_map


def in_both_modes(
    reverse: Callable[[Any], Any], forward: Callable[[Any], Any], x: Any, once: str, *, twice: bool
) -> Any:
    """`reverse(x)`, differentiated backwards as that function is, and forwards as `forward(x)`, whose value is the same.

    **Arguments:** `reverse`, `forward`: functions of a tree that refer to no traced array, whose results have the same floating-point
    arrays; `x`; `once`: the error for derivatives of second order that there are not, two ways back, and, unless `twice`, any.
    """
    static_part = _StaticPart()
    arrays = _in_both_modes(
        x,
        reverse=_in_present_context(reverse),
        forward=_in_present_context(forward),
        static_part=static_part,
        once=_NoSecondOrder(once, twice),
    )
    return eqx.combine(arrays, static_part.static)


def isolated(solve: Callable[[Any], tuple[Any, Any]], x: Any, once: str) -> tuple[Any, Any]:
    """`solve(x) = (values, okay)`, whose derivatives are zero unless it is okay, rather than zero times what overflowed on the way.

    **Arguments:** `once`: the error for a derivative of second order.
    """
    static_part = _StaticPart()
    return eqx.combine(_isolated(x, solve=solve, static_part=static_part, once=once), static_part.static)


def forward_only(function: Callable[[Any], Any], x: Any, message: str) -> Any:
    """`function(x)`, of whose derivatives one that is taken backwards is a `LayerError` with this message."""
    static_part = _StaticPart()
    return eqx.combine(
        _forward_only(x, function=function, static_part=static_part, message=message), static_part.static
    )


class _NoSecondOrder(NamedTuple):
    message: str
    twice: bool


class _StaticPart:
    """What of a result is no array, and so cannot be returned by a rule."""

    static: Any = None


@eqx.filter_custom_jvp
def _in_both_modes(
    x: Any,
    *,
    reverse: Callable[[Any], Any],
    forward: Callable[[Any], Any],
    static_part: _StaticPart,
    once: _NoSecondOrder,
) -> Any:
    del forward, once
    arrays, static_part.static = eqx.partition(reverse(x), eqx.is_array)
    return _mapped_as_tangents(x, arrays)


@_in_both_modes.def_jvp
def _(
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    reverse: Callable[[Any], Any],
    forward: Callable[[Any], Any],
    static_part: _StaticPart,
    once: _NoSecondOrder,
) -> Any:
    (x,), (x_dot,) = primals, tangents
    differentiated, constants = _split(x, x_dot)
    if not once.twice:
        differentiated = eqx.internal.nondifferentiable(differentiated, msg=once.message)

    def value(differentiated: Any) -> tuple[Any, Any]:
        arrays, static_part.static = eqx.partition(reverse(eqx.combine(differentiated, constants)), eqx.is_array)
        return eqx.partition(arrays, eqx.is_inexact_array)

    floating, pull, rest = jax.vjp(value, differentiated, has_aux=True)

    def push(fixed: Any, tangents: Any) -> Any:
        differentiated, constants, _ = fixed

        def value(differentiated: PyTree[Array]) -> Any:
            return eqx.filter(forward(eqx.combine(differentiated, constants)), eqx.is_inexact_array)

        return jax.jvp(value, (differentiated,), (tangents,))[1]

    fixed, tangents = (differentiated, constants, pull), eqx.filter(x_dot, eqx.is_array)
    dot = linear_map(push, lambda fixed, bar: fixed[2](bar)[0], fixed, tangents, floating, once.message)
    return eqx.combine(floating, rest), dot


@eqx.filter_custom_jvp
def _isolated(x: Any, *, solve: Callable[[Any], Any], static_part: _StaticPart, once: str) -> Any:
    del once
    arrays, static_part.static = eqx.partition(solve(x), eqx.is_array)
    return _mapped_as_tangents(x, arrays)


@_isolated.def_jvp
def _(
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    solve: Callable[[Any], Any],
    static_part: _StaticPart,
    once: str,
) -> Any:
    (x,), (x_dot,) = primals, tangents
    differentiated, constants = _split(x, x_dot)

    def value(differentiated: Any) -> tuple[Any, Any]:
        arrays, static_part.static = eqx.partition(solve(eqx.combine(differentiated, constants)), eqx.is_array)
        floating, rest = eqx.partition(arrays, eqx.is_inexact_array)
        return floating, (rest, arrays[1])

    floating, line, (rest, okay) = jax.linearize(value, differentiated, has_aux=True)

    def only(okay: Any, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.where(okay, leaf, jnp.zeros((), leaf.dtype)), tree)

    def push(fixed: Any, tangents: Any) -> Any:
        line, okay, _ = fixed
        return only(okay, line(tangents))

    def pull(fixed: Any, bars: Any) -> Any:
        line, okay, differentiated = fixed
        return only(okay, jax.linear_transpose(line, differentiated)(bars)[0])

    dots = linear_map(push, pull, (line, okay, differentiated), eqx.filter(x_dot, eqx.is_array), floating, once)
    return eqx.combine(floating, rest), dots


@eqx.filter_custom_jvp
def _forward_only(x: Any, *, function: Callable[[Any], Any], static_part: _StaticPart, message: str) -> Any:
    del message
    arrays, static_part.static = eqx.partition(function(x), eqx.is_array)
    return _mapped_as_tangents(x, arrays)


@_forward_only.def_jvp
def _(
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    function: Callable[[Any], Any],
    static_part: _StaticPart,
    message: str,
) -> Any:
    (x,), (x_dot,) = primals, tangents
    floating, rest = eqx.partition(
        _forward_only(x, function=function, static_part=static_part, message=message), eqx.is_inexact_array
    )

    def push(fixed: Any, tangents: Any) -> Any:
        differentiated, constants = fixed

        def value(differentiated: Any) -> Any:
            return eqx.filter(function(eqx.combine(differentiated, constants)), eqx.is_inexact_array)

        return jax.jvp(value, (differentiated,), (tangents,))[1]

    def refuse(fixed: Any, bars: Any) -> Any:
        raise LayerError(message)

    dot = linear_map(push, refuse, _split(x, x_dot), eqx.filter(x_dot, eqx.is_array), floating, message)
    return eqx.combine(floating, rest), dot


def _mapped_as_tangents(x: Any, arrays: PyTree) -> Any:
    """The result of a rule's function, of which every floating-point number is mapped over where any number of `x` is.

    Their tangents are, since the linear map says it of all of them alike; and JAX takes the word of the function for the rule. Where a
    function that was compiled is differentiated, a result of which only the tangent is mapped would be an error of JAX's own.
    """
    floating, rest = eqx.partition(arrays, eqx.is_inexact_array)
    if not is_traced(floating):
        return arrays
    leaves, structure = jax.tree.flatten(floating)
    leaves = _mapped_alike(jax.tree.leaves(eqx.filter(x, eqx.is_array)), leaves)
    return eqx.combine(jax.tree.unflatten(structure, leaves), rest)


def _mapped_alike(given: list[Any], values: list[Any]) -> list[Any]:
    """`values`, all of which are mapped over where any of `given` or of them is."""
    number = len(values)

    def single(*arrays: Any) -> list[Any]:
        return list(arrays[:number])

    def batched(size: int, is_mapped: list[bool], *arrays: Any) -> tuple[list[Any], list[bool]]:
        pairs = zip(arrays[:number], is_mapped, strict=False)
        rows = [leaf if mapped else jnp.broadcast_to(leaf, (size, *leaf.shape)) for leaf, mapped in pairs]
        # What this is called in may be mapped as well.
        return _mapped_alike(list(arrays[number:]), rows), [True] * number

    return with_batching_rule(single, batched)(*values, *given)


def _split(x: Any, x_dot: Any) -> tuple[Any, Any]:
    """What is differentiated, and the rest."""
    differentiated, constants = eqx.partition(
        x, jax.tree.map(lambda dot: dot is not None, x_dot, is_leaf=lambda node: node is None)
    )
    return jax.tree.map(_as_array, differentiated), constants


def _as_array(leaf: Any) -> Any:
    # A number of Python's that is differentiated is none of JAX's arrays in a rule.
    return leaf if eqx.is_array(leaf) else jnp.asarray(np.asarray(leaf, jnp.result_type(leaf)))


def _in_present_context(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function, which knows the contexts in which it is met when it is traced later."""
    mode, failure = differentiation_mode.value, failure_mode.value

    def call(x: PyTree) -> Any:
        with differentiation_mode(mode), failure_mode(failure):
            return function(x)

    return call
