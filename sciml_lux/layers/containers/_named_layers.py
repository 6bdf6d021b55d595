"""Any number of layers with names: what `Chain`, `Parallel` and their like have in common."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..._errors import LayerError, PathError
from ...core import AbstractContainer, AbstractLayer, kind_of, with_fields
from ...flatten import check_name
from ._function import WrappedFunction


class AbstractNamedLayers(AbstractContainer):
    """A container of any number of layers, each given by position (`layer_0`, `layer_1`, ...) or by name.

    `len` counts the layers, iteration yields them; an integer, a name or a path picks one, a slice a container of some.
    """

    layers: tuple[tuple[str, AbstractLayer], ...]

    def __init__(self, *layers: Any, **named: Any) -> None:
        kind = type(self).__name__
        numbered = [(f"layer_{i}", layer) for i, layer in enumerate(layers)]
        twice = [name for name, _ in numbered if name in named]
        if twice:
            raise LayerError(
                f"{kind} got two layers called {twice[0]}: the one at that position and the one by that name; rename one"
            )
        pairs = [(check_name(name), as_layer(kind, name, layer)) for name, layer in [*numbered, *named.items()]]
        object.__setattr__(self, "layers", tuple(pairs))

    def children(self) -> dict[str, AbstractLayer]:
        return dict(self.layers)

    def with_children(self, children: Mapping[str, AbstractLayer]) -> "AbstractNamedLayers":
        """The same container of other layers, any number of them, under their names."""
        return with_fields(self, layers=tuple(children.items()))

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[AbstractLayer]:  # type: ignore[override]
        return iter(self.children().values())

    def __getitem__(self, index: int | slice | str) -> Any:
        """The layer at a position or path, or a container of the layers in a slice, which keep their names."""
        if isinstance(index, slice):
            return self._part(self.layers[index])
        if isinstance(index, str):
            return super().__getitem__(index)
        try:
            return self.layers[index][1]
        except IndexError:
            raise PathError(f"{type(self).__name__} has {len(self)} layers, none at {index}") from None

    def _part(self, layers: tuple[tuple[str, AbstractLayer], ...]) -> "AbstractNamedLayers":
        return with_fields(self, layers=layers)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        _, options = super().constructor_arguments()
        options.pop("layers", None)
        positional: list[AbstractLayer] = []
        named: dict[str, AbstractLayer] = {}
        for i, (name, layer) in enumerate(self.layers):
            if name == f"layer_{i}" and not named:
                positional.append(layer)
            else:
                named[name] = layer
        return tuple(positional), named | options


def as_layer(kind: str, name: str, layer: Any) -> AbstractLayer:
    """`layer`, or the function wrapped as one. **Errors:** `LayerError` for anything else, naming it within the `kind` of container."""
    if isinstance(layer, AbstractLayer):
        return layer
    if isinstance(layer, type) and issubclass(layer, AbstractLayer):
        raise LayerError(
            f"{kind}: {name} is the class {layer.__name__}, not a layer; write {layer.__name__}(...), with its arguments"
        )
    if callable(layer):
        return WrappedFunction(layer)
    raise LayerError(f"{kind}: {name} is neither a layer nor a function, got {kind_of(layer)}; {_hint(kind, layer)}")


def _hint(kind: str, layer: Any) -> str:
    if isinstance(layer, list | tuple):
        return f"write {kind}(*layers)"
    if isinstance(layer, Mapping):
        return f"write {kind}(**layers)"
    return "write lux.NoOp() for nothing" if layer is None else "write lux.Dense(2, 3), or a function of the input"


def check_combine(kind: str, combine: Any) -> None:
    """Raises `LayerError` unless `combine` is a function."""
    if not callable(combine) or isinstance(combine, AbstractLayer):
        raise LayerError(f"{kind}: combine is a function of arrays such as jnp.add, got {combine!r}")
