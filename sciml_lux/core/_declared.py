"""What a layer declares: its parameters and state, computed with a key or only as shapes."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import LayerError
from ..flatten import Layout, Parameter, Params, all_ravel_maps, registered_ravel_map
from ._state import State


def declared_parameters(layer: Any, key: Any) -> Params | Parameter:
    """What `layer` declares, as a `Params`; as one `Parameter` if a ravel map is registered for the layer's type.

    **Errors:** `LayerError` if `initial_parameters` does not return a mapping.
    """
    declared = layer.initial_parameters(key)
    if isinstance(
        declared, Parameter
    ):  # a layer that is another one in all but its call hands on what that one declares
        return declared
    if not isinstance(declared, Mapping):
        raise LayerError(
            f"{type(layer).__name__}.initial_parameters must return a mapping of names, got {type(declared).__name__}"
        )
    ravel_map = registered_ravel_map(type(layer))
    params = Params(declared)
    return params if ravel_map is None else Parameter(params, ravel_map)


def declared_states(layer: Any, key: Any) -> State:
    """The starting state of `layer`. **Errors:** `LayerError` if `initial_states` does not return a mapping."""
    declared = layer.initial_states(key)
    if not isinstance(declared, Mapping):
        raise LayerError(
            f"{type(layer).__name__}.initial_states must return a mapping of names, got {type(declared).__name__}"
        )
    return State(declared)


def abstract_parameters(layer: Any) -> Params | Parameter:
    """The declared parameters as shapes and dtypes."""
    return _abstract(declared_parameters, layer, np.dtype(jnp.result_type(float)), all_ravel_maps())


def abstract_states(layer: Any) -> State:
    """The declared state as shapes and dtypes."""
    return _abstract(declared_states, layer, np.dtype(jnp.result_type(float)), all_ravel_maps())


@functools.lru_cache(maxsize=4096)
def _abstract(declared: Callable[[Any, Any], Any], layer: Any, *settings: Any) -> Any:
    # The settings are what the result depends on beside the layer: JAX's default float, which x64 changes, and the ravel maps.
    del settings
    return jax.eval_shape(lambda key: declared(layer, key), _abstract_key())


def declared_layout(layer: Any, dtype: Any = None) -> Layout:
    """The layout of a layer's parameters, without computing them."""
    return Layout.of(abstract_parameters(layer), dtype)


def parameter_length(layer: Any) -> int:
    """The number of scalars in the layer's parameter vector, without computing them."""
    return declared_layout(layer).size


def state_length(layer: Any) -> int:
    """The number of scalars in the layer's state, a random key counting as one and the training flag as none."""
    return sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(abstract_states(layer)))


def _abstract_key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))
