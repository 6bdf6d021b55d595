"""Whether parameters are those that a layer declares: compared by name and shape, statically, where a layer is called."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from .._errors import LayoutError, LuxError, PathError
from ..flatten import FlatParams, Parameter, Params
from ._declared import abstract_parameters
from ._source import short

# Through the slots, as attributes of a Params are its parameters.
_GET_FITS, _SET_FITS = Params._fits.__get__, Params._fits.__set__  # type: ignore[attr-defined]
_ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)


def check_parameters(layer: Any, params: Params, batch: tuple[int, ...] | None, more: bool = False) -> None:
    """Raises unless `params` has the names that `layer` declares, each with the shape that it declares.

    Neither dtypes are compared nor how the values are stored. A layer that declares nothing without being computed is not checked.

    **Arguments:** `batch`: the leading axes that every array has beyond its declared shape; None: those of the first, as of a batch
    of parameters by hand; `more`: whether other names may stand beside those declared.

    **Errors:** `PathError` for a missing name, `LayoutError` for another shape and for a name too many, at the first that differs.
    """
    try:
        if _GET_FITS(params) is layer:
            return
    except AttributeError:  # the slot is empty: not checked yet
        pass
    expected = _declared(layer)
    if expected is None:
        return
    leading = _leading(expected, params) if batch is None else batch
    if _fits(expected, params, leading):
        _SET_FITS(params, layer)
        return
    if more and _fits(expected, params, leading, more):
        return
    kind, difference = next(_differences(expected, params, batch or (), ""))
    raise kind(
        f"{difference}; these are not the parameters of {short(layer)}. Write ps, st = "
        "lux.setup(key, layer) for its own, and lux.flatten.transplant(old, ps) for its own with what fits of others"
    )


@functools.lru_cache(maxsize=4096)
def _declared(layer: Any) -> Params | None:
    """The values that `layer` declares, as shapes; None if they are not known without computing them."""
    try:
        declared = abstract_parameters(layer)
    except (
        Exception
    ):  # whatever initial_parameters does that takes a key with numbers in it; setup says so if it is wrong
        return None
    declared = declared.value if isinstance(declared, Parameter) else declared
    return _values(declared) if isinstance(declared, Params) else None


def _values(declared: Params) -> Params:
    return Params(
        {
            name: _values(child)
            if isinstance(child, Params)
            else child.value
            if isinstance(child, Parameter)
            else child
            for name, child in declared.items()
        }
    )


def _fits(expected: Params, got: Any, batch: tuple[int, ...], more: bool = False) -> bool:
    got = got.params if isinstance(got, FlatParams) else got
    if not isinstance(got, Params) or not got._children.keys() >= expected._children.keys():
        return False
    if not more and len(got) != len(expected) and any(_beside(expected, got)):
        return False
    return all(
        _fits(child, got._children[name], batch, more)
        if isinstance(child, Params)
        else _fits_array(child, got._children[name], batch)
        for name, child in expected._children.items()
    )


def _beside(expected: Params, got: Params) -> Iterator[str]:
    """The names that may not stand beside those declared. Among layers, other layers may: a part of a chain runs on the whole."""
    layers = all(isinstance(child, Params) for child in expected._children.values())
    for name, child in got.items():
        if name not in expected._children and not (layers and isinstance(child, Params)):
            yield name


def _fits_array(expected: Any, got: Any, batch: tuple[int, ...]) -> bool:
    shape = _shape(got)
    if shape is None:  # of a type of somebody else's, or no array at all
        return not isinstance(expected, jax.ShapeDtypeStruct) and type(got) is type(expected)
    return not isinstance(expected, jax.ShapeDtypeStruct) or shape == (*batch, *expected.shape)


def _shape(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, _ARRAYS):
        return value.shape
    if hasattr(value, "__jax_array__") and not isinstance(value, Mapping | FlatParams):
        return np.shape(value.__jax_array__())
    return () if isinstance(value, int | float | complex) else None


def _leading(expected: Params, got: Any) -> tuple[int, ...]:
    """The leading axes of the first array that ends in the shape declared for it."""
    for name, child in expected.items():
        value = got._children.get(name) if isinstance(got, Params) else None
        if isinstance(child, Params):
            if found := _leading(child, value):
                return found
        elif isinstance(child, jax.ShapeDtypeStruct) and (shape := _shape(value)) is not None:
            own = len(shape) - len(child.shape)
            return shape[:own] if own > 0 and shape[own:] == child.shape else ()
    return ()


def _differences(
    expected: Params, got: Any, batch: tuple[int, ...], above: str
) -> Iterator[tuple[type[LuxError], str]]:
    """What is wrong and the error that it is, each with its path, in the order of declaration; what is not declared comes last."""
    got = got.params if isinstance(got, FlatParams) else got
    if not isinstance(got, Params):
        yield LayoutError, f"parameter {above[:-1]}: got {_what(got)}, expected {_what(expected)}"
        return
    for name, child in expected.items():
        path = above + name
        if name not in got._children:
            yield PathError, f"no path {path!r}, expected {_what(child)} there"
        elif isinstance(child, Params):
            yield from _differences(child, got._children[name], batch, f"{path}.")
        elif not _fits_array(child, got._children[name], batch):
            value = got._children[name]
            foreign = "; write jnp.asarray(value.detach().cpu().numpy())" if hasattr(value, "detach") else ""
            hint = "; write jnp.asarray(value)" if isinstance(value, list | tuple) else foreign
            leading = f" behind the leading axes {batch}" if batch else ""
            yield LayoutError, f"parameter {path}: got {_what(value)}, expected {_what(child)}{leading}{hint}"
    for name in _beside(expected, got):
        yield LayoutError, f"parameter {above + name}: got {_what(got._children[name])}, expected none of that name"


def _what(value: Any) -> str:
    shape = _shape(value)
    if shape is not None:
        return f"an array of shape {shape}"
    return (
        f"a Params of {', '.join(value) or 'nothing'}"
        if isinstance(value, Params)
        else f"{value!r}, a {type(value).__name__}"
    )
