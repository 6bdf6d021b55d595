"""The outcomes that solves leave in the state, in programs exported by `jax.export`."""

from typing import Any

import equinox.internal as eqxi
import jax
import jax.export
import optimistix as optx

# An outcome is a number, and, statically, the enumeration that it counts in; beside that stands a marker of equinox.
_MARKER, _ = jax.tree.structure(optx.RESULTS.successful).node_data()[1]


def _to_bytes(static: tuple[Any, type]) -> bytes:
    _, enumeration = static
    return f"{enumeration.__module__.partition('.')[0]}:{enumeration.__qualname__}".encode()


def _from_bytes(text: Any) -> Any:
    name = bytes(text).decode()
    found = [cls for cls in _subclasses(eqxi.Enumeration) if _to_bytes((_MARKER, cls)).decode() == name]
    if not found:
        raise ValueError(
            f"the program has outcomes of {name}, an enumeration that is not defined here; import it before"
        )
    return _MARKER, found[-1]


def _subclasses(cls: type) -> list[type]:
    return [found for child in type.__subclasses__(cls) for found in (child, *_subclasses(child))]


jax.export.register_pytree_node_serialization(
    type(optx.RESULTS.successful),
    serialized_name="sciml_lux.outcome",
    serialize_auxdata=_to_bytes,
    deserialize_auxdata=_from_bytes,
)
