"""Where a trained layer's parameters are stored: frozen in the state, back in the vector, shared between layers."""

from typing import Any

from ..._errors import LayerError
from ...core import State, as_state, declared_layout
from ...flatten import Entry, FlatParams
from ...layers.containers import Frozen, Share
from ._carry import carried_parameters, check_flat, is_within
from ._structure import check_model, replace_layer


def freeze(model: Any, ps: FlatParams, st: Any, *paths: str) -> tuple[Any, FlatParams, State]:
    """The model with some layers frozen: their parameters are in the state, and no longer in the vector.

        model, ps, st = lux.tools.freeze(model, ps, st, "encoder", "head.layer_0")
        model, ps, st = lux.tools.freeze(model, ps, st, *lux.layer_paths(model, lux.Dense))

    **Arguments:** `model`, `ps`, `st`; `paths`: of layers, at least one; a whole container is frozen as one.

    **Returns:** `(model, ps, st)` with `Frozen` layers at the paths, which compute what they did. What is tied to a
    frozen parameter by hand has a value of its own from here on.

    **Errors:** `PathError` for an unknown path, with the nearest; `LayerError` for a layer that is frozen already, or lies within
    another one, and for one of several that `Share` their parameters.
    """
    st = _checked(model, ps, st, paths, "freeze")
    for path in paths:
        layer = model[path]
        if isinstance(layer, Frozen):
            raise LayerError(f"freeze: {path} is frozen already")
        model = replace_layer(model, path, Frozen(layer))
        st = st.set(path, State(parameters=ps.params[path], layer=st[path]))
        ps = carried_parameters(ps, declared_layout(model, ps.layout.dtype), _nothing_new)
    return model, ps, st


def unfreeze(model: Any, ps: FlatParams, st: Any, *paths: str) -> tuple[Any, FlatParams, State]:
    """The way back of `freeze`: the parameters of frozen layers are in the vector again.

        model, ps, st = lux.tools.unfreeze(model, ps, st, *lux.layer_paths(model, lux.Frozen))

    **Arguments:** `model`, `ps`, `st`; `paths`: of `Frozen` layers, at least one. **Returns:** `(model, ps, st)`.

    **Errors:** `PathError` for an unknown path, with the nearest; `LayerError` for a layer that is not frozen.
    """
    st = _checked(model, ps, st, paths, "unfreeze")
    for path in paths:
        layer = model[path]
        if not isinstance(layer, Frozen):
            raise LayerError(f"unfreeze: {path} is a {type(layer).__name__}, which is not frozen")
        frozen = st[path]
        model = replace_layer(model, path, layer.layer)
        new = declared_layout(model, ps.layout.dtype)

        def thawed(entry: Entry, path: str = path, frozen: State = frozen, new: Any = new) -> Any:
            below = entry.path[len(path) + 1 :]
            return new.ravel_entry(entry, frozen.parameters[below] if below else frozen.parameters)

        ps = carried_parameters(ps, new, thawed)
        st = st.set(path, frozen.layer)
    return model, ps, st


def share_parameters(model: Any, ps: FlatParams, st: Any, *paths: str) -> tuple[Any, FlatParams, State]:
    """The model with some layers sharing their parameters: those of the first, which all have from here on.

        model, ps, st = lux.tools.share_parameters(model, ps, st, "encoder.layer_0", "decoder.layer_0")

    **Arguments:** `model`, `ps`, `st`; `paths`: of two layers or more, of equal structure. Call it once for each group.

    **Returns:** `(model, ps, st)`, the model within a `Share`, which keeps all paths as they are.

    **Errors:** `PathError` for an unknown path, with the nearest; `LayerError` for fewer than two paths, and for layers that differ.
    """
    st = _checked(model, ps, st, paths, "share_parameters")
    for path in paths:
        model[path]
    shared = Share(model, paths[0], *paths[1:])
    return shared, carried_parameters(ps, declared_layout(shared, ps.layout.dtype), _nothing_new), st


def _checked(model: Any, ps: Any, st: Any, paths: tuple[str, ...], verb: str) -> State:
    check_model(model)
    check_flat(ps)
    if not paths or not all(isinstance(path, str) for path in paths):
        raise LayerError(f"{verb} takes the paths of layers, such as 'layer_0', at least one; got {paths}")
    for path in paths:
        outer = next((other for other in paths if other != path and is_within(other, path)), None)
        if outer is not None:
            raise LayerError(f"{verb}: {path} lies within {outer}; name one of them")
        if paths.count(path) > 1:
            raise LayerError(f"{verb}: {path} is named twice")
    return as_state(st)


def _nothing_new(entry: Entry) -> Any:
    raise LayerError(f"{entry.path} is not among the parameters, which belong to another model")
