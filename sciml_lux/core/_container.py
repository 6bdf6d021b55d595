"""`AbstractContainer`: a layer made of named layers."""

import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jaxtyping import Array, Key

from .._errors import LayerError, PathError, unknown_name
from ._declared import declared_parameters, declared_states
from ._layer import AbstractLayer, check_fields


class AbstractContainer(AbstractLayer):
    """A layer whose fields are layers: each is a child, with its parameters and state under the field's name.

        class Autoencoder(lux.AbstractContainer):
            encoder: lux.AbstractLayer
            decoder: lux.AbstractLayer

            def __call__(self, x, ps, st):
                z, encoder = self.encoder(x, ps.encoder, st.encoder)
                y, decoder = self.decoder(z, ps.decoder, st.decoder)
                return y, {"encoder": encoder, "decoder": decoder}

    `model["encoder.layer_0"]` is the layer at a path, as `ps["encoder.layer_0"]` are its parameters.

    **Parameters** and **states**: those of the children, by name. To add some of its own, extend `initial_parameters`:
    `return {**super().initial_parameters(key), "scale": jnp.ones(())}`.
    """

    def children(self) -> dict[str, AbstractLayer]:
        """The child layers by name, in order. By default the fields that are layers; override it together with the fields."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, AbstractLayer)}

    def with_children(self, children: Mapping[str, AbstractLayer]) -> "AbstractContainer":
        """The same container of other layers. By default they take the place of those in the fields, under the same names.

        Override it together with `children()`. **Errors:** `LayerError` for other names than this container has.
        """
        known = self.children()
        fields = {field.name for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        if set(children) != set(known):
            raise LayerError(
                f"{type(self).__name__} is made of {list(known) or 'no layers'}, got {list(children)}; layers can be added to and removed "
                "from a lux.Chain and its like. Replace one by another (lux.NoOp() does nothing) elsewhere"
            )
        if not set(known) <= fields:
            raise LayerError(
                f"{type(self).__name__} makes its layers itself, so that none can be replaced; write with_children beside children"
            )
        return with_fields(self, **children)

    def __getitem__(self, path: str) -> AbstractLayer:
        """The layer at a path. **Errors:** `PathError` with the nearest paths."""
        layer: AbstractLayer = self
        for name in str(path).split("."):
            inner = layer.children() if isinstance(layer, AbstractContainer) else {}
            if name not in inner:
                raise PathError(unknown_name("layer", path, [known for known, _ in _walk(self, "") if known]))
            layer = inner[name]
        return layer

    # Python would otherwise iterate by asking for the items 0, 1, ...
    __iter__ = None

    def initial_parameters(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        return {name: declared_parameters(child, child_key(key, name)) for name, child in self.children().items()}

    def initial_states(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        return {name: declared_states(child, child_key(key, name)) for name, child in self.children().items()}


def with_fields(layer: AbstractLayer, /, **changed: Any) -> Any:
    """A layer of the same class in which some fields hold other values, checked as at construction, however it is constructed."""
    new: Any = object.__new__(type(layer))
    for field in dataclasses.fields(layer):  # type: ignore[arg-type]
        object.__setattr__(new, field.name, changed.get(field.name, getattr(layer, field.name)))
    if hasattr(new, "__post_init__"):
        new.__post_init__()
    check_fields(new)
    return new


def child_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """The key of the child called `name`: it depends on nothing else, so that adding a sibling changes no other layer's start."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def layer_paths(layer: AbstractLayer, kind: type[AbstractLayer]) -> tuple[str, ...]:
    """The paths of the layers of a type within `layer`, for `lux.flatten.select` and its like.

    **Errors:** `PathError` if there are none.
    """
    found = tuple(path for path, inner in _walk(layer, "") if isinstance(inner, kind) and path)
    if not found:
        types = sorted({type(inner).__name__ for _, inner in _walk(layer, "")})
        raise PathError(
            f"no layer of type {kind.__name__} below {type(layer).__name__}, which is made of {', '.join(types)}"
        )
    return found


def _walk(layer: AbstractLayer, path: str) -> Iterator[tuple[str, AbstractLayer]]:
    yield path, layer
    if isinstance(layer, AbstractContainer):
        for name, child in layer.children().items():
            yield from _walk(child, f"{path}.{name}" if path else name)
