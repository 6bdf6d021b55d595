"""Events that end a solve: located by bisection within the step in which they occur, and their derivatives.

diffrax locates an event only if it is given a root finder, and one that is true or false not even then; the others it reports at the end of
a step that nobody chose, as if that did not depend on anything. It differentiates through the root finder, where lineax raises an
error of its own if the condition has no slope; and it shows conditions the time of the solve, which runs backwards in one that does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..._errors import ShapeError
from .._constant import constant
from .._types import Fields, StateTree, TermTree, Time
from ._bracket import Bracket
from ._fields import as_terms
from ._moving import shifted, with_rate

_TRUE_OR_FALSE = (
    "the time of an event that is true or false has no derivative: return a real number that changes sign there, such as y[0] - 1.0 in "
    "place of y[0] > 1.0, or save at given times, ts"
)


class Locating(NamedTuple):
    """An event as diffrax is given it, and what it was: `conditions`, in its order; `is_boolean`: whether any is true or false;
    `is_ours`: whether its derivative is that of this module."""

    event: diffrax.Event
    conditions: list[Any]
    is_boolean: bool
    is_ours: bool


def locating(event: diffrax.Event, field: Fields, y0: StateTree, args: PyTree, settings: dict[str, Any]) -> Locating:
    """The event with a way to locate it, of a solve by `diffrax.diffeqsolve` with these `settings`.

    **Errors:** `ShapeError` for a condition that returns neither a real number nor a truth value.
    """
    known = {**settings, "saveat": None, "terms": as_terms(field)}

    def is_boolean(condition: Callable[..., Any]) -> bool:
        value = jax.eval_shape(lambda y, args: condition(settings["t0"], y, args, **known), y0, args)
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(value) if leaf.shape == ()]
        if len(dtypes) == 1 == len(jax.tree.leaves(value)):
            if dtypes[0] == jnp.bool_:
                return True
            if jnp.issubdtype(dtypes[0], jnp.floating):
                return False
        got = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", value)
        raise ShapeError(f"event: a condition returns a real number that changes sign, or a truth value, got {got}")

    conditions, structure = jax.tree.flatten(event.cond_fn, is_leaf=callable)
    directions = jax.tree.leaves(event.direction, is_leaf=lambda node: node is None)
    kinds = [is_boolean(condition) for condition in conditions]
    is_ours = event.root_finder is None or any(kinds)
    shown = [_Condition(*pair, is_ours) for pair in zip(conditions, kinds, strict=True)]
    directions = [True if kind else direction for kind, direction in zip(kinds, directions, strict=True)]
    located = diffrax.Event(
        jax.tree.unflatten(structure, shown),
        Bracket(is_oriented=False) if is_ours else event.root_finder,
        jax.tree.unflatten(structure, directions),
    )
    return Locating(located, conditions, any(kinds), is_ours)


class _Condition(eqx.Module):
    """A condition of the real time, and a real number: 1 and -1 for true and false. `is_constant`: nothing is differentiated through it."""

    function: Callable[..., Any]
    is_boolean: bool = eqx.field(static=True)
    is_constant: bool = eqx.field(static=True)

    def __call__(
        self, t: Time, y: StateTree, args: PyTree, *, terms: TermTree, t0: Time, t1: Time, **known: Any
    ) -> Any:
        wrapped = jax.tree.leaves(terms, is_leaf=lambda node: isinstance(node, diffrax.AbstractTerm))
        direction = wrapped[0].direction
        terms = jax.tree.map(lambda term: term.term, terms, is_leaf=lambda node: isinstance(node, diffrax.AbstractTerm))
        given = (direction * t, y, args)
        given = constant(given) if self.is_constant else given
        value = self.function(*given, terms=terms, t0=direction * t0, t1=direction * t1, **known)
        if self.is_boolean:
            # What is true at the start ends the solve there.
            value = jnp.where(value & (t != t0), 1.0, -1.0)
        value = jnp.asarray(value, jnp.result_type(float))
        # As a function of the time, whose slope at the root is then none that could vanish.
        return value + (t - constant(t)).astype(value.dtype) if self.is_constant else value


def differentiated(
    found: Locating,
    solution: diffrax.Solution,
    at_end: bool,
    chosen: bool,
    field: Callable[..., Any],
    args: PyTree,
    settings: dict[str, Any],
) -> diffrax.Solution:
    """A solution whose end moves with the time of the event.

    **Arguments:** `at_end`: whether the value at the end is all that was saved; `chosen`: whether what was saved is the user's choice.
    """
    if not found.is_ours or not (at_end or chosen):
        return solution
    where = lambda s: (s.ts, s.ys)  # noqa: E731
    if found.is_boolean or chosen:
        message = _TRUE_OR_FALSE if found.is_boolean else _GIVE_A_ROOT_FINDER
        return eqx.tree_at(where, solution, eqxi.nondifferentiable((solution.ts, solution.ys), msg=message))
    times: Any = solution.ts
    occurred = solution.result == diffrax.RESULTS.event_occurred
    t, y = constant(times[0]), jax.tree.map(lambda leaf: leaf[0], solution.ys)
    masks = jax.tree.leaves(solution.event_mask)
    known = {**settings, "saveat": None, "terms": diffrax.ODETerm(field)}

    def condition(t: Time, y: StateTree, args: PyTree) -> Any:
        values = [jnp.asarray(one(t, y, args, **known), jnp.result_type(float)) for one in found.conditions]
        return sum(jnp.where(mask, value, 0) for mask, value in zip(masks, values, strict=True))

    value, rate = with_rate(condition, field, t, y, args)
    moving = shifted(t, (-1 / jnp.where(occurred, rate, 1)).astype(t.dtype), value.astype(t.dtype))
    moved = shifted(y, field(t, y, args), moving)
    end = jnp.where(occurred, moving, times[0])
    ys = jax.tree.map(lambda moved, y: jnp.where(occurred, moved, y)[None], moved, y)
    return eqx.tree_at(where, solution, (end[None], ys))


_GIVE_A_ROOT_FINDER = (
    "what a saveat saves at an event is differentiated through the root finder of the event: give it one, such as "
    "diffrax.Event(condition, optimistix.Newton(1e-8, 1e-8)), or leave out saveat"
)
