"""What the functions of a solve refer to without being given it: arrays of a surrounding trace, such as those of a differentiated loss.

A rule for the derivative of a whole solve sees its arguments only.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import get_opaque_trace_state
from jaxtyping import PyTree

from .._types import StateTree, Time
from ._fields import as_terms, is_driven, map_fields

# As it is while this is imported.
_OUTSIDE = get_opaque_trace_state()
_SAVED_AS_IT_IS = diffrax.SubSaveAt(t1=True).fn


def with_closures(
    field: Any,
    args: PyTree,
    saveat: diffrax.SaveAt | None,
    event: diffrax.Event | None,
    y0: StateTree,
    settings: dict[str, Any],
) -> Any:
    """`(field, args, saveat, event)` of a solve, in which traced arrays that the functions refer to are leaves.

    **Arguments:** as for `integrate`.
    """
    # Nothing is traced here, and to look would have all that follows compiled anew.
    if get_opaque_trace_state() == _OUTSIDE:
        return field, args, saveat, event
    t0 = jnp.asarray(settings["t0"])
    found = False

    def closed(function: Callable[..., Any], y: StateTree = y0, **more: Any) -> Any:
        nonlocal found
        converted = eqx.filter_closure_convert(lambda t, y, args: function(t, y, args, **more), t0, y, args)
        found = found or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(converted))
        return converted

    driven = is_driven(field)
    new_field = map_fields(lambda part: jax.tree_util.Partial(_given, closed(part)), field) if driven else None
    # Of two fields each is given the other part of the state.
    fields = () if driven else (closed(field),) if callable(field) else tuple(map(closed, field, reversed(y0)))
    new_saveat = jax.tree.map(lambda sub: _saving(sub, closed), saveat, is_leaf=_is_sub)
    known = {**settings, "terms": as_terms(field), "saveat": saveat}
    new_event = event
    if event is not None:
        conditions = jax.tree.map(
            lambda function: jax.tree_util.Partial(_given, closed(function, **known)), event.cond_fn, is_leaf=callable
        )
        new_event = eqx.tree_at(lambda e: e.cond_fn, event, conditions, is_leaf=lambda node: node is event.cond_fn)
    if not found:
        return field, args, saveat, event
    if driven:
        return new_field, (args, fields), new_saveat, new_event
    called = tuple(jax.tree_util.Partial(_called, i) for i in range(len(fields)))
    return called[0] if callable(field) else called, (args, fields), new_saveat, new_event


def _is_sub(node: object) -> bool:
    return isinstance(node, diffrax.SubSaveAt)


def _saving(sub: Any, closed: Callable[..., Any]) -> Any:
    if not _is_sub(sub) or sub.fn is _SAVED_AS_IT_IS:
        return sub
    return eqx.tree_at(lambda s: s.fn, sub, jax.tree_util.Partial(_given, closed(sub.fn)))


def _called(i: int, t: Time, y: StateTree, args: PyTree) -> Any:
    args, fields = args
    return fields[i](t, y, args)


def _given(function: Callable[..., Any], t: Time, y: StateTree, args: PyTree, **more: Any) -> Any:
    """What a function of the caller's makes of the arguments as they were."""
    del more
    return function(t, y, args[0])
