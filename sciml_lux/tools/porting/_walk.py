"""The layers that hold arrays, in order, with where these are."""

import dataclasses
from collections.abc import Iterator

from ..._errors import LayerError
from ...core import AbstractContainer, AbstractLayer, declared_layout
from ...layers.containers import Frozen, Repeated
from ._port import Port
from ._ports import ports_of


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a layer's arrays are.

    `path`: of the layer, for messages; `parameters`, `states`: what their paths begin with; `frozen`: whether the
    parameters are in the state, too; `index`: which one of a stack of layers it is.
    """

    path: str = ""
    parameters: str = ""
    states: str = ""
    frozen: bool = False
    index: tuple[int, ...] = ()

    def child(self, name: str) -> "Place":
        """That of a layer of a container."""
        below = {key: join(getattr(self, key), name) for key in ("path", "parameters", "states")}
        return dataclasses.replace(self, **below)

    def array(self, port: Port) -> tuple[bool, str]:
        """Whether the port's array is in the state, and its path there or in the parameters."""
        return port.state or self.frozen, join(self.states if port.state else self.parameters, port.ours)

    def __str__(self) -> str:
        which = "".join(f"[{i}]" for i in self.index)
        return f"{self.path}{which}" or "the top"


def join(path: str, name: str) -> str:
    """`name` below `path`."""
    return f"{path}.{name}" if path else name


def ported_layers(layer: AbstractLayer, place: Place) -> Iterator[tuple[Place, AbstractLayer, tuple[Port, ...]]]:
    """The layers in order, down to those that have ports.

    **Errors:** `LayerError` for parameters that no port names.
    """
    ports = ports_of(layer)
    if ports is not None:
        _check_complete(layer, place, [port.ours for port in ports if not port.state])
        if ports:
            yield place, layer, ports
    elif isinstance(layer, Frozen):
        parameters, states = join(place.states, "parameters"), join(place.states, "layer")
        inner = dataclasses.replace(place.child("layer"), parameters=parameters, states=states, frozen=True)
        yield from ported_layers(layer.layer, inner)
    elif isinstance(layer, Repeated) and not layer.tied:
        inner = place.child("layer")
        for i in range(layer.number):
            yield from ported_layers(layer.layer, dataclasses.replace(inner, index=(*place.index, i)))
    elif isinstance(layer, AbstractContainer):
        _check_complete(layer, place, list(layer.children()))
        for name, child in layer.children().items():
            yield from ported_layers(child, place.child(name))
    else:
        _check_complete(layer, place, [])


def _check_complete(layer: AbstractLayer, place: Place, known: list[str]) -> None:
    """Raises unless all parameters that the layer stores are at or below the paths that are `known`."""
    stored = [entry.path for entry in declared_layout(layer).entries if entry.size]
    missing = [path for path in stored if path and not any(f"{path}.".startswith(f"{name}.") for name in known)]
    if missing or (stored and not known):
        name = type(layer).__name__
        raise LayerError(
            f"PyTorch has no counterpart of {', '.join(missing) or 'the parameters'} of {name}, at {place}; name its tensors with "
            f"lux.layers.porting.register_torch_ports({name}, ...)"
        )
