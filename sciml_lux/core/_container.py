"""`AbstractContainer`: a layer made of named layers."""

import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jaxtyping import Array, Key

from ..flatten import PathError
from ._declared import declared_parameters, declared_states
from ._layer import AbstractLayer


class AbstractContainer(AbstractLayer):
    """A layer whose fields are layers: each is a child, with its parameters and state under the field's name.

        class Autoencoder(lux.AbstractContainer):
            encoder: lux.AbstractLayer
            decoder: lux.AbstractLayer

            def __call__(self, x, ps, st):
                z, encoder = self.encoder(x, ps.encoder, st.encoder)
                y, decoder = self.decoder(z, ps.decoder, st.decoder)
                return y, {"encoder": encoder, "decoder": decoder}

    **Parameters** and **states**: those of the children, by name. To add some of its own, extend `initial_parameters`:
    `return {**super().initial_parameters(key), "scale": jnp.ones(())}`.
    """

    def children(self) -> dict[str, AbstractLayer]:
        """The child layers by name, in order. By default the fields that are layers; override it together with the fields."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, AbstractLayer)}

    def initial_parameters(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        return {name: declared_parameters(child, child_key(key, name)) for name, child in self.children().items()}

    def initial_states(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        return {name: declared_states(child, child_key(key, name)) for name, child in self.children().items()}


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
