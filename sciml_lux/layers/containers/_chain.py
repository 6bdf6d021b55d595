"""Layers one after the other."""

from typing import Any

from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import LayerError, Params, check_name
from ._function import WrappedFunction


class Chain(AbstractContainer):
    """Layers called one after the other, each on the result of the one before.

    **Arguments:** layers by position, named `layer_0`, `layer_1`, ..., or by name, as in `Chain(encoder=..., decoder=...)`.
    A plain function of the input alone is wrapped in a `WrappedFunction`.

    **Call:** `x` goes to the first layer, the last one's result comes back; an empty chain returns `x`.

    **Parameters** and **states:** those of the layers, by name.

    **Errors:** `LayerError` for something that is neither layer nor function, and for two layers of one name.
    """

    layers: tuple[tuple[str, AbstractLayer], ...]

    def __init__(self, *layers: Any, **named: Any) -> None:
        numbered = [(f"layer_{i}", layer) for i, layer in enumerate(layers)]
        twice = [name for name, _ in numbered if name in named]
        if twice:
            raise LayerError(
                f"Chain got two layers called {twice[0]}: the one at that position and the one by that name; rename one"
            )
        pairs = tuple((check_name(name), _as_layer(name, layer)) for name, layer in [*numbered, *named.items()])
        object.__setattr__(self, "layers", pairs)

    def children(self) -> dict[str, AbstractLayer]:
        return dict(self.layers)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional: list[AbstractLayer] = []
        named: dict[str, AbstractLayer] = {}
        for i, (name, layer) in enumerate(self.layers):
            if name == f"layer_{i}" and not named:
                positional.append(layer)
            else:
                named[name] = layer
        return tuple(positional), named

    def __call__(self, x: Any, ps: Params, st: State) -> tuple[Any, State]:
        states = {}
        for name, layer in self.layers:
            x, states[name] = layer(x, ps[name], st[name])
        return x, State(states)


def _as_layer(name: str, layer: Any) -> AbstractLayer:
    if isinstance(layer, AbstractLayer):
        return layer
    if isinstance(layer, type) and issubclass(layer, AbstractLayer):
        raise LayerError(
            f"Chain: {name} is the class {layer.__name__}, not a layer; write {layer.__name__}(...), with its arguments"
        )
    if callable(layer):
        return WrappedFunction(layer)
    raise LayerError(f"Chain: {name} is neither a layer nor a function, got {layer!r}")
