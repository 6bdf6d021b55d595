"""`layer_map`: a function of layer, parameters and state, applied to every layer of a model."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from ..._errors import LayerError, LayoutError
from ...core import AbstractContainer, AbstractLayer, State, as_state, check_layer, declared_layout
from ...flatten import Entry, FlatParams, Params, Tied
from ._carry import carried_parameters, check_flat, is_within

Function = Callable[[AbstractLayer, Params, State, str], tuple[AbstractLayer, Any, Any]]


def layer_map(function: Function, model: Any, ps: FlatParams, st: Any) -> tuple[Any, FlatParams, State]:
    """Calls `function(layer, ps, st, path)` on every layer of a model that is not made of others, and rebuilds all three.

        def softer(layer, ps, st, path):
            if isinstance(layer, lux.Dense):
                ps = ps.set("weight", 0.5 * ps.weight)
            return layer, ps, st

        model, ps, st = lux.tools.layer_map(softer, model, ps, st)

    **Arguments:** `function`: gets the layer, its `Params`, its `State` and its path, and returns the three, changed or not;
    `model`, `ps`, `st`.

    **Returns:** `(model, ps, st)`. What is not changed keeps its bits. A parameter that is tied to another follows it, whatever
    comes back for it. Below a `Repeated` that is not tied, arrays have one axis more. A container's own parameters, and the
    layers in a `Frozen` one, are not visited.

    **Errors:** `LayerError` for a result that is not such a triple; `LayoutError` for parameters that do not fit the new layer.
    """
    check_layer(model)
    check_flat(ps)
    changed: list[str] = []
    new_model, params, state = _mapped(function, model, ps.params, as_state(st), "", changed)
    carried = carried_parameters(ps, declared_layout(new_model, ps.layout.dtype), lambda entry: jnp.zeros(entry.size))
    vector = carried.layout.ravel(params)
    if vector.ndim != 1:
        raise LayoutError(f"layer_map: the function added {vector.ndim - 1} axes to all parameters")
    pieces = []
    for entry in carried.layout.entries:
        touched = any(not path or is_within(path, entry.path) or is_within(entry.path, path) for path in changed)
        if touched:
            _check_value(entry, params[entry.path] if entry.path else params)
        # A constrained value is not ravelled to the very bits that it came from.
        source = vector if touched else carried.vector
        pieces.append(source[entry.offset : entry.offset + entry.size])
    return new_model, carried.replace(jnp.concatenate(pieces) if pieces else vector), state


def _mapped(
    function: Function, layer: AbstractLayer, ps: Params, st: State, path: str, changed: list[str]
) -> tuple[AbstractLayer, Params, State]:
    children = layer.children() if isinstance(layer, AbstractContainer) else {}
    if not children or not all(name in ps and name in st for name in children):
        return _mapped_leaf(function, layer, ps, st, path, changed)
    assert isinstance(layer, AbstractContainer)
    layers, params, states = {}, dict(ps), dict(st)
    for name, child in children.items():
        layers[name], params[name], states[name] = _mapped(
            function, child, ps[name], st[name], f"{path}.{name}" if path else name, changed
        )
    same = all(layers[name] is child for name, child in children.items())
    return layer if same else layer.with_children(layers), Params(params), State(states)


def _mapped_leaf(
    function: Function, layer: AbstractLayer, ps: Params, st: State, path: str, changed: list[str]
) -> tuple[AbstractLayer, Params, State]:
    result = function(layer, ps, st, path)
    if not isinstance(result, tuple) or len(result) != 3:
        raise LayerError(
            f"layer_map: the function returns (layer, ps, st), got {type(result).__name__} at {path or 'the top'}"
        )
    new, new_ps, new_st = result
    check_layer(new)
    for name, value in (("ps", new_ps), ("st", new_st)):
        if not isinstance(value, Mapping):
            raise LayerError(f"layer_map: {name} is a mapping, got {type(value).__name__} at {path or 'the top'}")
    if new is not layer or new_ps is not ps:
        changed.append(path)
    return new, Params(new_ps), State(new_st)


def _check_value(entry: Entry, value: Any) -> None:
    if isinstance(entry.ravel_map, Tied) or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
        return
    try:
        entry.ravel_map.check(value)
    except ValueError as error:
        raise LayoutError(f"{entry.path}: {error}") from None
