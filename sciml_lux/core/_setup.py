"""From a layer to its parameters and state."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..flatten import FlatParams, LayerError, flatten
from ._declared import abstract_states, declared_parameters, declared_states
from ._layer import AbstractLayer
from ._state import State


def setup(key: Key[Array, ""], layer: AbstractLayer, dtype: Any = None) -> tuple[FlatParams, State]:
    """The starting parameters, as one vector, and the starting state of a layer.

    **Arguments:** `key`: from `jax.random.key`; `layer`; `dtype`: of the parameters (default: what the layer makes, which is
    JAX's default float for the layers of this package).

    **Returns:** `(ps, st)`. The start of each layer depends on `key` and its path alone.

    **Errors:** `LayerError` if `layer` is not one or breaks the contract; `ParameterError` for parameters that are not
    floating point; `LayoutError` for mixed dtypes, naming the fields.
    """
    check_layer(layer)
    _check_key(key)
    parameters_key, states_key = jax.random.split(key)
    return flatten(declared_parameters(layer, parameters_key), dtype), declared_states(layer, states_key)


def setup_batch(key: Key[Array, ""], layer: AbstractLayer, number: int, dtype: Any = None) -> tuple[FlatParams, State]:
    """`number` independent starts at once: a vector of shape `(number, size)`, and a state with the same leading axis.

        ps, st = lux.setup_batch(key, model, 8)
        y, st = jax.vmap(lambda ps, st: model(x, ps, st))(ps, st)

    **Arguments** and **errors:** as for `setup`; `number`: 1 or more. Start `i` is `setup(jax.random.split(key, number)[i], layer)`.
    """
    check_layer(layer)
    _check_key(key)
    if number < 1:
        raise LayerError(f"setup_batch makes at least one start, got number={number}")
    return jax.vmap(lambda key: setup(key, layer, dtype))(jax.random.split(key, number))


def output_shape(layer: AbstractLayer, shape: Any) -> Any:
    """The shape of the result for an input of `shape`, without computing it.

    **Arguments:** `shape`: a tuple of sizes (of an array of JAX's default float), or for other inputs any tree of
    `jax.ShapeDtypeStruct`. **Returns:** a tuple of sizes, or a tree of tuples if the layer returns a tree.

    **Errors:** those of the layer for an input of that shape, with its path.
    """
    check_layer(layer)
    shape = abstract_input(shape)
    ps, _ = jax.eval_shape(lambda: setup(jax.random.key(0), layer))
    y, _ = jax.eval_shape(lambda x, ps, st: layer(x, ps, st), shape, ps, abstract_states(layer))
    return jax.tree.map(lambda leaf: leaf.shape, y)


def abstract_input(shape: Any, dtype: Any = None) -> Any:
    """A tree of `jax.ShapeDtypeStruct`: `shape` itself, or an array of `dtype` (JAX's default float) of that tuple of sizes."""
    if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape):
        return jax.ShapeDtypeStruct(shape, jnp.result_type(float) if dtype is None else dtype)
    return shape


def check_layer(layer: Any) -> None:
    """Raises `LayerError` unless `layer` is a layer."""
    if not isinstance(layer, AbstractLayer):
        hint = (
            "write Dense(2, 3), with its arguments"
            if isinstance(layer, type)
            else "wrap a function in lux.WrappedFunction(f)"
        )
        raise LayerError(f"expected a layer, got {layer!r}; {hint}")


def _check_key(key: Any) -> None:
    if not hasattr(key, "dtype") or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != ():
        raise LayerError(f"expected one typed random key, got {key!r}; write jax.random.key(0)")
