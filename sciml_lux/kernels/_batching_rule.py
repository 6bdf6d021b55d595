"""Functions that `vmap` does not map but has run for all lanes at once, and their derivatives, which run so too.

`jax.custom_batching.custom_vmap` has a derivative of its own, in which what is mapped without a mapped tangent is mapped by itself: the
lanes of the value then lie otherwise than those of the tangent.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.custom_batching
import jax.numpy as jnp
import numpy as np
from jax import dtypes

Single = Callable[..., Any]
Batched = Callable[..., Any]


def with_batching_rule(single: Single, batched: Batched) -> Single:
    """`single(*arrays)`, whose mapping over lanes is `batched(size, is_mapped, *arrays)`.

    **Arguments:** `single`: a function of arrays to a tree of arrays; `batched`: the same for `size` lanes, where the arrays that are
    mapped have a first axis for the lanes, which all results that depend on the lane have too: it returns them, and a tree
    of the same structure that says of each whether it does. Where nothing is mapped it is not called.
    """

    @jax.custom_batching.custom_vmap
    def mapped(*arrays: Any) -> Any:
        return single(*arrays)

    mapped.def_vmap(batched)

    @jax.custom_jvp
    def function(*arrays: Any) -> Any:
        return mapped(*arrays)

    @function.defjvp
    def _(arrays: Sequence[Any], dots: Sequence[Any]) -> tuple[Any, Any]:
        pushforward = _Pushforward(single, batched, [_has_tangent(array) for array in arrays])
        given_tangents = [dot for dot, has_tangent in zip(dots, pushforward.has_tangent, strict=True) if has_tangent]
        # The derivative is such a function as well, so that its own derivatives are.
        value, tangents = with_batching_rule(pushforward.single, pushforward.batched)(*arrays, *given_tangents)
        leaves, structure = jax.tree.flatten(value)
        given = iter(tangents)
        return value, jax.tree.unflatten(
            structure, [next(given) if _has_tangent(leaf) else _zero_tangent(leaf) for leaf in leaves]
        )

    return function


class _Pushforward:
    """The value and the tangents of a function; `has_tangent`: which of its arrays have any, which whole numbers have not."""

    def __init__(self, single: Single, batched: Batched, has_tangent: list[bool]) -> None:
        self._single, self._batched, self.has_tangent = single, batched, has_tangent

    def single(self, *both: Any) -> tuple[Any, list[Any]]:
        return self._jvp(self._single, both)

    def batched(self, size: int, is_mapped: Sequence[bool], *both: Any) -> tuple[Any, Any]:
        number = len(self.has_tangent)
        if not any(is_mapped[:number]):
            # The lanes are one, and only directions are mapped over.
            values, axes = both[:number], [0 if each else None for each in is_mapped[number:]]
            value = self._single(*values)
            dots = jax.vmap(lambda *dots: self.single(*values, *dots)[1], axes, axis_size=size)(*both[number:])
            return (value, dots), (jax.tree.map(lambda _: False, value), [True] * len(dots))
        # What has a lane's direction gets a lane, and what has a lane a direction of its own.
        given = iter(is_mapped[number:])
        directed = [has_tangent and next(given) for has_tangent in self.has_tangent]
        lanes = [mapped or own for mapped, own in zip(is_mapped[:number], directed, strict=True)]
        wanted = [*lanes, *self._with_tangent(lanes)]
        both = tuple(
            jnp.broadcast_to(leaf, (size, *jnp.shape(leaf))) if want and not mapped else leaf
            for leaf, want, mapped in zip(both, wanted, is_mapped, strict=True)
        )
        which: list[Any] = []

        def run(*values: Any) -> Any:
            results, mapped = self._batched(size, lanes, *values)
            which.append(mapped)
            return results

        value, dots = self._jvp(run, both)
        pairs = zip(jax.tree.leaves(which[0]), jax.tree.leaves(value), strict=True)
        return (value, dots), (which[0], [mapped for mapped, leaf in pairs if _has_tangent(leaf)])

    def _with_tangent(self, items: Sequence[Any]) -> list[Any]:
        return [item for item, has_tangent in zip(items, self.has_tangent, strict=True) if has_tangent]

    def _jvp(self, function: Callable[..., Any], both: Sequence[Any]) -> tuple[Any, list[Any]]:
        values, given = tuple(both[: len(self.has_tangent)]), iter(both[len(self.has_tangent) :])
        dots = tuple(
            next(given) if has_tangent else _zero_tangent(leaf)
            for leaf, has_tangent in zip(values, self.has_tangent, strict=True)
        )
        value, tangent = jax.jvp(function, values, dots)
        return value, [
            dot for leaf, dot in zip(*map(jax.tree.leaves, (value, tangent)), strict=True) if _has_tangent(leaf)
        ]


def _has_tangent(array: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(array), jnp.inexact)


def _zero_tangent(array: Any) -> Any:
    return np.zeros(jnp.shape(array), dtypes.float0)
