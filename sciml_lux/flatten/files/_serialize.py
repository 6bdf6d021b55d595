"""Parameters and state in what others write: programs exported by `jax.export`, and flax's state dictionaries."""

import json
import sys
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from ..._errors import LayoutError
from .._flat_params import FlatParams
from .._flax import FOR_FLAX
from .._layout import Layout
from .._named_tree import NamedTree, Params, check_name
from ._decode import decode_layout
from ._encode import encode_layout
from ._format import compact


def register_tree(cls: type[NamedTree]) -> None:
    """Makes a class of named trees known to `jax.export` and to flax."""
    jax.export.register_pytree_node_serialization(
        cls,
        serialized_name=f"sciml_lux.{cls.__name__}",
        serialize_auxdata=lambda names: compact(list(names)).encode(),
        deserialize_auxdata=lambda text: tuple(check_name(name) for name in json.loads(bytes(text))),
    )
    FOR_FLAX[cls] = _tree_to_dict, _tree_from_dict


def register_flag(cls: type[Any]) -> None:
    """Makes a static class that holds one `value`, True or False, known to `jax.export` and to flax."""
    jax.export.register_pytree_node_serialization(
        cls,
        serialized_name=f"sciml_lux.{cls.__name__}",
        serialize_auxdata=lambda flag: compact(flag.value).encode(),
        deserialize_auxdata=lambda text: cls(json.loads(bytes(text))),
    )
    FOR_FLAX[cls] = lambda flag: flag.value, lambda flag, value: cls(bool(value))


def _layout_to_bytes(layout: Layout) -> bytes:
    return compact(encode_layout(layout)).encode()


def _layout_from_bytes(text: Any) -> Layout:
    return decode_layout(json.loads(bytes(text)))


jax.export.register_pytree_node_serialization(
    FlatParams,
    serialized_name="sciml_lux.FlatParams",
    serialize_auxdata=_layout_to_bytes,
    deserialize_auxdata=_layout_from_bytes,
)


def _flat_to_dict(flat: FlatParams) -> dict[str, Any]:
    return _tree_to_dict(flat.layout.unconstrained().unravel(flat.vector))


def _flat_from_dict(flat: FlatParams, state: dict[str, Any]) -> FlatParams:
    stored = flat.layout.unconstrained()
    return flat.replace(stored.ravel(_tree_from_dict(stored.unravel(flat.vector), state)))


# These are called by flax, which has then been imported.


def _tree_to_dict(tree: NamedTree) -> dict[str, Any]:
    return {
        name: jax.random.key_data(child) if _is_key(child) else sys.modules["flax.serialization"].to_state_dict(child)
        for name, child in tree.items()
    }


def _tree_from_dict(tree: Any, state: dict[str, Any]) -> Any:
    if set(state) != set(tree):
        raise LayoutError(f"got the names {sorted(state)}, expected {sorted(tree)}; these belong to another model")
    return type(tree)({name: _from_dict(child, state[name], name) for name, child in tree.items()})


def _from_dict(child: Any, state: Any, name: str) -> Any:
    if _is_key(child):
        return jax.random.wrap_key_data(jnp.asarray(state), impl=jax.random.key_impl(child))
    restored = sys.modules["flax.serialization"].from_state_dict(child, state, name)
    if isinstance(child, jax.Array | np.ndarray) and (
        np.shape(restored) != child.shape or np.asarray(restored).dtype != child.dtype
    ):
        raise LayoutError(
            f"{name}: got shape {np.shape(restored)} of {np.asarray(restored).dtype}, expected {child.shape} of {child.dtype}; "
            "these belong to another model"
        )
    return jnp.asarray(restored) if isinstance(child, jax.Array) else restored


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


FOR_FLAX[FlatParams] = _flat_to_dict, _flat_from_dict
register_tree(Params)
