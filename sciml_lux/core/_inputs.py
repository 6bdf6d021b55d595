"""What a layer that takes one array says of anything else: a list, what another layer returned, nothing."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np

from .._errors import ShapeError
from ..flatten import FlatParams, NamedTree
from ._source import short
from ._state import State

_ARRAYS = (jax.Array, np.ndarray, np.generic)
_NUMBERS = (bool, int, float, complex)


def array_kind(call: Callable[..., Any]) -> Any:
    """The annotation of what a `__call__` is given, if that is one array; else None."""
    parameters = list(inspect.signature(call).parameters.values())
    kind = parameters[1].annotation if len(parameters) > 1 else None
    return kind if kind is jax.Array or (isinstance(kind, type) and issubclass(kind, jaxtyping.AbstractArray)) else None


def as_input(layer: Any, x: Any, kind: Any = jax.Array) -> Any:
    """`x`, one array, or one made of a Python number.

    **Arguments:** `kind`: how the layer annotates it. **Errors:** `ShapeError` for anything else, with what makes an array of it.
    """
    if isinstance(x, _ARRAYS):
        return x
    if isinstance(x, _NUMBERS):
        return jnp.asarray(x)
    if hasattr(type(x), "__jax_array__") and not isinstance(x, FlatParams | NamedTree):
        return x
    raise ShapeError(f"{type(layer).__name__} takes an array, got {kind_of(x)}; {_advice(layer, x, kind)}")


def kind_of(x: Any) -> str:
    """What `x` is, in words."""
    if isinstance(x, _NUMBERS):
        return repr(x)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return "a random key"
    if isinstance(x, _ARRAYS):
        return f"an array of shape {np.shape(x)}"
    if is_numbers(x):
        return f"{x!r}, a {type(x).__name__} of numbers" if len(repr(x)) <= 60 else f"a {type(x).__name__} of numbers"
    if isinstance(x, tuple | list) and not hasattr(x, "_fields"):
        shown = [f"array{list(np.shape(part))}" if isinstance(part, _ARRAYS) else type(part).__name__ for part in x[:5]]
        return f"a {type(x).__name__} of {len(x)}: {', '.join(shown)}{', ...' if len(x) > 5 else ''}"
    return "None" if x is None else f"{x!r}, a str" if isinstance(x, str) else f"a {type(x).__name__}"


def is_numbers(x: Any) -> bool:
    """Whether `x` is a list or a tuple, perhaps of such, of Python numbers, which people take for an array."""
    leaves = jax.tree.leaves(x, is_leaf=lambda node: not isinstance(node, list | tuple))
    return isinstance(x, list | tuple) and bool(leaves) and all(isinstance(leaf, _NUMBERS) for leaf in leaves)


def make_array(x: Any, what: str = "x", floating: bool = False) -> str:
    """The Python that makes an array of `x`, which the user calls `what`."""
    if hasattr(x, "detach"):
        return f"write jnp.asarray({what}.detach().cpu().numpy())"
    if is_numbers(x):
        try:
            dtype = np.asarray(x).dtype
        except ValueError:
            return f"its rows have several lengths: give all of them one, then write jnp.asarray({what})"
        return f"write jnp.asarray({what}, float)" if floating and dtype.kind in "iub" else f"write jnp.asarray({what})"
    return (
        f"write jnp.asarray({what})" if hasattr(x, "__array__") else f"give it an array, such as {what} = jnp.ones(3)"
    )


def _advice(layer: Any, x: Any, kind: Any) -> str:
    if isinstance(x, tuple) and len(x) == 2 and isinstance(x[1], State):
        return "this is what a layer returns; write y, st = layer(x, ps, st), and go on with y"
    if x is None:
        return (
            "a function that it comes from lacks its `return`; for an input that does not matter write jnp.zeros(...)"
        )
    if isinstance(x, Mapping):
        picked = next((name for name in x if isinstance(name, str)), "name")
        return f'to pick one of its entries, write lux.Chain(lambda x: x["{picked}"], {short(layer)})'
    if isinstance(x, tuple | list) and x and all(isinstance(part, _ARRAYS) for part in x):
        return _joined(layer, [np.shape(part) for part in x])
    floating = getattr(kind, "dtype", None) in (jaxtyping.Float, jaxtyping.Inexact)
    return make_array(x, floating=floating)


def _joined(layer: Any, shapes: list[tuple[int, ...]]) -> str:
    """How to put a function before the layer that makes one array of several."""
    name = short(layer)
    if not any(shapes):
        return f"to make one of them, write lux.Chain(jnp.stack, {name}), with a layer for {len(shapes)} features"
    features = sum(shape[-1] if shape else 1 for shape in shapes)
    given = f", with a layer for {features} features"
    if len({shape[:-1] for shape in shapes}) == 1 and all(shapes):
        return f"to join them, write lux.Chain(lambda x: jnp.concatenate(x, axis=-1), {name}){given}"
    if all(len(shape) < 2 for shape in shapes):
        return f"to join them, write lux.Chain(jnp.hstack, {name}){given}"
    return f"to pick one of them, write lux.Chain(lambda x: x[-1], {name})"
