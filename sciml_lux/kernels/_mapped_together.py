"""Functions that `vmap` does not map but has run for all lanes together, and their derivatives, which run so too.

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

Alone = Callable[..., Any]
Together = Callable[..., Any]


def mapped_together(alone: Alone, together: Together) -> Alone:
    """`alone(*arrays)`, whose mapping over lanes is `together(size, is_mapped, *arrays)`.

    **Arguments:** `alone`: a function of arrays to a tree of arrays; `together`: the same for `size` lanes, where the arrays that are
    mapped have a first axis for the lanes, which all results that depend on the lane have too: it returns them, and a tree
    of the same structure that says of each whether it does. Where nothing is mapped it is not called.
    """

    @jax.custom_batching.custom_vmap
    def mapped(*arrays: Any) -> Any:
        return alone(*arrays)

    mapped.def_vmap(together)

    @jax.custom_jvp
    def function(*arrays: Any) -> Any:
        return mapped(*arrays)

    @function.defjvp
    def _(arrays: Sequence[Any], dots: Sequence[Any]) -> tuple[Any, Any]:
        pushed = _Pushed(alone, together, [_moves(array) for array in arrays])
        moving = [dot for dot, moves in zip(dots, pushed.moves, strict=True) if moves]
        # The derivative is such a function as well, so that its own derivatives are.
        value, tangents = mapped_together(pushed.alone, pushed.together)(*arrays, *moving)
        leaves, structure = jax.tree.flatten(value)
        given = iter(tangents)
        return value, jax.tree.unflatten(structure, [next(given) if _moves(leaf) else _still(leaf) for leaf in leaves])

    return function


class _Pushed:
    """The value and the tangents of a function; `moves`: which of its arrays have any, which whole numbers have not."""

    def __init__(self, alone: Alone, together: Together, moves: list[bool]) -> None:
        self._alone, self._together, self.moves = alone, together, moves

    def alone(self, *both: Any) -> tuple[Any, list[Any]]:
        return self._push(self._alone, both)

    def together(self, size: int, is_mapped: Sequence[bool], *both: Any) -> tuple[Any, Any]:
        number = len(self.moves)
        if not any(is_mapped[:number]):
            # The lanes are one, and only directions are mapped over.
            values, axes = both[:number], [0 if each else None for each in is_mapped[number:]]
            value = self._alone(*values)
            dots = jax.vmap(lambda *dots: self.alone(*values, *dots)[1], axes, axis_size=size)(*both[number:])
            return (value, dots), (jax.tree.map(lambda _: False, value), [True] * len(dots))
        # What has a lane's direction gets a lane, and what has a lane a direction of its own.
        given = iter(is_mapped[number:])
        directed = [moves and next(given) for moves in self.moves]
        lanes = [mapped or own for mapped, own in zip(is_mapped[:number], directed, strict=True)]
        wanted = [*lanes, *self._moving(lanes)]
        both = tuple(
            jnp.broadcast_to(leaf, (size, *jnp.shape(leaf))) if want and not mapped else leaf
            for leaf, want, mapped in zip(both, wanted, is_mapped, strict=True)
        )
        which: list[Any] = []

        def run(*values: Any) -> Any:
            results, mapped = self._together(size, lanes, *values)
            which.append(mapped)
            return results

        value, dots = self._push(run, both)
        pairs = zip(jax.tree.leaves(which[0]), jax.tree.leaves(value), strict=True)
        return (value, dots), (which[0], [mapped for mapped, leaf in pairs if _moves(leaf)])

    def _moving(self, items: Sequence[Any]) -> list[Any]:
        return [item for item, moves in zip(items, self.moves, strict=True) if moves]

    def _push(self, function: Callable[..., Any], both: Sequence[Any]) -> tuple[Any, list[Any]]:
        values, given = tuple(both[: len(self.moves)]), iter(both[len(self.moves) :])
        dots = tuple(next(given) if moves else _still(leaf) for leaf, moves in zip(values, self.moves, strict=True))
        value, tangent = jax.jvp(function, values, dots)
        return value, [dot for leaf, dot in zip(*map(jax.tree.leaves, (value, tangent)), strict=True) if _moves(leaf)]


def _moves(array: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(array), jnp.inexact)


def _still(array: Any) -> Any:
    return np.zeros(jnp.shape(array), dtypes.float0)
