"""From a layer to its parameters and state."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._errors import LayerError
from ..flatten import FlatParams, flatten
from ._arguments import check_arguments
from ._declared import abstract_states, declared_parameters, declared_states
from ._depth import explain_depth
from ._inputs import kind_of
from ._layer import AbstractLayer
from ._state import State

Given = ParamSpec("Given")
Result = TypeVar("Result")


def _shown(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """`function`, whose error for arguments that are missing shows how it is called."""

    @functools.wraps(function)
    def wrapper(*args: Given.args, **named: Given.kwargs) -> Result:
        check_arguments(f"lux.{function.__name__}", function, args, named)
        return function(*args, **named)

    return wrapper


@_shown
def setup(
    key: Key[Array, ""], layer: AbstractLayer, dtype: jax.typing.DTypeLike | None = None
) -> tuple[FlatParams, State]:
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
    try:
        return flatten(declared_parameters(layer, parameters_key), dtype), declared_states(layer, states_key)
    except RecursionError as error:
        raise explain_depth(error, layer) from None


@_shown
def setup_batch(
    key: Key[Array, ""], layer: AbstractLayer, number: int, dtype: jax.typing.DTypeLike | None = None
) -> tuple[FlatParams, State]:
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
        raise LayerError(f"expected a layer, got {kind_of(layer)}; {no_layer(layer)}")


def no_layer(value: Any) -> str:
    """What to write in place of `value`, where a layer is expected."""
    if isinstance(value, type):
        return (
            f"write {value.__name__}(...), with its arguments" if issubclass(value, AbstractLayer) else "write a layer"
        )
    if _is_key(value):
        return "the key comes first: write lux.setup(key, layer)"
    if isinstance(value, tuple | list):
        return "write lux.Chain(*layers) for layers one after the other"
    if isinstance(value, Mapping):
        return "write lux.Chain(**layers) for layers one after the other"
    if hasattr(value, "state_dict"):
        return "build the same layer here, and take the parameters by lux.tools.from_torch"
    return (
        "wrap a function of the input in lux.WrappedFunction(f)"
        if callable(value)
        else "write one such as lux.Dense(2, 3)"
    )


def _is_key(key: Any) -> bool:
    return hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()


def _check_key(key: Any) -> None:
    if _is_key(key):
        return
    old = getattr(key, "dtype", None) == jnp.uint32 and key.shape == (2,)
    write = "jax.random.wrap_key_data(key)" if old else f"jax.random.key({key if type(key) is int else 0})"
    got = f"one of the old kind, uint32{list(jnp.shape(key))}" if old else kind_of(key)
    raise LayerError(f"expected one typed random key, got {got}; write {write}")
