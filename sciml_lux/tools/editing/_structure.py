"""Another model with a layer replaced, inserted or removed. Models have no parameters: `carry_over` brings those along."""

from collections.abc import Callable
from typing import Any

from ..._errors import LayerError, PathError, unknown_name
from ...core import AbstractContainer, AbstractLayer, check_layer
from ...flatten import check_name
from ...layers.containers._named_layers import as_layer


def replace_layer(model: Any, path: str, layer: Any) -> Any:
    """The model with another layer at a path.

        new = lux.tools.replace_layer(model, "encoder.layer_1", lux.Dense(8, 16))
        ps, st = lux.tools.carry_over(key, new, ps, st)             # what stays keeps its values

    **Arguments:** `model`: a container; `path`; `layer`: a layer, or a function, which is wrapped.

    **Returns:** a model of the same classes.

    **Errors:** `PathError` for an unknown path, with the nearest; `LayerError` for something that is no layer.
    """
    check_model(model)[path]  # raises here, where the whole path is known
    above, name = _split(path)
    return _changed(model, above, lambda children: {**children, name: as_layer("replace_layer", path, layer)})


def insert_layer(model: Any, path: str, layer: Any, *, before: str | None = None, after: str | None = None) -> Any:
    """The model with one layer more, called by its path. All others keep their names, and with them their parameters.

        new = lux.tools.insert_layer(model, "encoder.dropout", lux.Dropout(0.1), after="layer_0")

    **Arguments:** `model`: a container; `path`: that of the new layer, within a `Chain` or another container of any number of
    layers; `layer`: a layer, or a function, which is wrapped; `before` or `after`: the name of a layer in the same container
    (default: after all).

    **Returns:** a model of the same classes.

    **Errors:** `PathError` for a container or a neighbor that is not there; `LayerError` for a name that is taken, and for
    a container that has just the layers that it has.
    """
    check_model(model)
    if before is not None and after is not None:
        raise LayerError(f"insert_layer: {path} goes before {before} or after {after}; give one of them")
    above, name = _split(path)
    new = (check_name(name), as_layer("insert_layer", path, layer))
    neighbor = after if before is None else before

    def change(children: dict[str, AbstractLayer]) -> dict[str, AbstractLayer]:
        if name in children:
            raise LayerError(
                f"insert_layer: there is a layer {path} already; insert under another name, or replace_layer"
            )
        if neighbor is not None and neighbor not in children:
            raise PathError(unknown_name("layer", neighbor, children))
        items = list(children.items())
        position = len(items) if neighbor is None else list(children).index(neighbor) + (before is None)
        return dict([*items[:position], new, *items[position:]])

    return _changed(model, above, change)


def remove_layer(model: Any, path: str) -> Any:
    """The model without the layer at a path. All others keep their names, and with them their parameters.

    **Arguments:** `model`: a container; `path`, within a `Chain` or another container of any number of layers.

    **Returns:** a model of the same classes.

    **Errors:** `PathError` for an unknown path, with the nearest; `LayerError` for a container that needs all its layers.
    """
    check_model(model)[path]
    above, name = _split(path)
    return _changed(model, above, lambda children: {k: child for k, child in children.items() if k != name})


def check_model(model: Any) -> AbstractContainer:
    """Returns `model` if it is made of layers, and raises `LayerError` otherwise."""
    check_layer(model)
    if not isinstance(model, AbstractContainer):
        raise LayerError(f"expected a model made of layers, such as a lux.Chain, got {type(model).__name__}")
    return model


def _split(path: str) -> tuple[str, str]:
    above, _, name = path.rpartition(".")
    return above, name


def _changed(
    model: AbstractContainer, path: str, change: Callable[[dict[str, AbstractLayer]], dict[str, AbstractLayer]]
) -> AbstractContainer:
    """The model in which the children of the container at `path` (the model itself, if empty) are changed."""
    if not path:
        return model.with_children(change(model.children()))
    model[path]
    name, _, rest = path.partition(".")
    inner = model.children()[name]
    if not isinstance(inner, AbstractContainer):
        raise LayerError(f"{path} is a {type(inner).__name__}, which is not made of layers")
    return model.with_children({**model.children(), name: _changed(inner, rest, change)})
