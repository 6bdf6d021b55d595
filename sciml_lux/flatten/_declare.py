"""From a tree of declarations (arrays, `Parameter`s, foreign values) to the entries of a layout."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import LayoutError, ParameterError
from ._named_tree import NamedTree, Params, check_name
from ._no_array import NotAnArray
from ._parameter import Parameter
from .maps import AbstractRavelMap, ArraySpec, ComplexAsReals, Real, Spec, Tied, is_subtree, registered_ravel_map


@dataclass(frozen=True)
class Entry:
    """One line of the memory map: where a parameter lies in the vector, what it looks like, how it is stored.

    `path`: dotted; `offset`, `size`: the segment `vector[..., offset:offset + size]`; `spec`: shape and dtype as the layer
    sees it (a `Params` of them if the entry holds a whole layer); `ravel_map`; `unit`: a text for reports, or None.
    """

    path: str
    offset: int
    size: int
    spec: Spec
    ravel_map: AbstractRavelMap = Real()
    unit: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the layer sees; an entry that holds a whole layer is the flat segment itself."""
        return self.spec.shape if isinstance(self.spec, ArraySpec) else (self.size,)


def declarations(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted paths and declared values of a tree, in order; mappings are entered, everything else is a value.

    A tree that is one value, such as a whole layer with a map of its own, has the empty path.
    """
    if not is_subtree(tree):
        yield path, tree
        return
    for name, value in tree.items():
        yield from declarations(value, join_path(path, check_name(name)))


def join_path(path: str, name: str) -> str:
    """The dotted path of `name` below `path`, either of which may be empty."""
    return f"{path}.{name}" if path and name else path or name


def as_parameter(path: str, value: Any) -> Parameter:
    """Any declared value as a `Parameter`: bare arrays get the default map, foreign types the one that is registered."""
    if isinstance(value, Parameter):
        complex_by_default = isinstance(value.ravel_map, Real) and np.iscomplexobj(value.value)
        return dataclasses.replace(value, ravel_map=ComplexAsReals()) if complex_by_default else value
    if isinstance(value, NotAnArray):
        raise ParameterError(
            f"parameter {path}: got a {type(value).__name__}; write ps.params, which holds its arrays by name"
        )
    registered = registered_ravel_map(type(value))
    if registered is not None:
        return Parameter(value, registered)
    if isinstance(value, float | complex | np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct) or hasattr(
        value, "__jax_array__"
    ):
        return Parameter(value, ComplexAsReals() if np.iscomplexobj(value) else Real())
    if isinstance(value, bool | int):
        raise ParameterError(
            f"parameter {path}: got {value!r}; parameters are floating-point numbers. Write {float(value)}, "
            "or return it from initial_states if it is a counter or a flag"
        )
    kind = type(value).__name__
    advice = f"For a type of your own, register_ravel_map({kind}, ...)"
    if isinstance(value, list | tuple):
        advice = f"Write jnp.asarray(value, float). {advice}"
    elif value is None:
        advice = "Leave the name out if there is nothing to be trained"
    raise ParameterError(
        f"parameter {path}: got {kind}; expected an array of floating-point numbers, a declaration such as "
        f"lux.positive(...), or a mapping of names to them. {advice}"
    )


def _leaf_dtype(path: str, value: Any) -> np.dtype | None:
    """The dtype of an array; None for a Python number, which takes that of the vector. Integers, keys, ... are refused."""
    if isinstance(value, float | int | complex):
        return None
    if isinstance(value, tuple):
        return None
    dtype = value.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise ParameterError(f"parameter {path}: got a random key; keys are state. Return it from initial_states")
    if jnp.issubdtype(dtype, jnp.complexfloating):
        dtype = jnp.finfo(dtype).dtype  # that of the real and imaginary parts, which are stored
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ParameterError(
            f"parameter {path}: got dtype {dtype}; parameters are floating-point numbers. "
            "Write value.astype(float), or return it from initial_states if it is a counter, an index or a flag"
        )
    # NumPy's float64 is what JAX makes of it: float32 unless x64 is on.
    return None if getattr(value, "weak_type", False) else np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def resolve_dtype(parameters: Mapping[str, Parameter], dtype: Any = None) -> np.dtype:
    """The one dtype of the vector: `dtype` if it is given, else the one that all arrays share, else JAX's default float.

    **Errors:** `ParameterError` for values that are not floating point; `LayoutError` for mixed dtypes, naming the fields, and for
    a requested dtype that JAX is not configured for.
    """
    found = {
        leaf_path: leaf_dtype
        for path, parameter in parameters.items()
        for leaf_path, leaf in _leaves(path, parameter.value)
        if (leaf_dtype := _leaf_dtype(leaf_path, leaf)) is not None
    }
    if dtype is not None:
        return check_dtype(dtype)
    distinct = sorted(set(found.values()), key=str)
    if len(distinct) > 1:
        lines = "\n".join(f"  {d}: {', '.join(p for p, pd in found.items() if pd == d)}" for d in distinct)
        raise LayoutError(
            f"the parameters have several dtypes, and a vector has one:\n{lines}\nPass dtype= to setup, or cast the odd ones"
        )
    return distinct[0] if distinct else np.dtype(jnp.result_type(float))


def check_dtype(dtype: Any) -> np.dtype:
    """`dtype` as a NumPy dtype, if it is a floating one that JAX will really use."""
    dtype = np.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise LayoutError(f"got dtype={dtype}; a parameter vector is of floating-point numbers, such as jnp.float32")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise LayoutError(
            f'got dtype={dtype}, which JAX has switched off; write jax.config.update("jax_enable_x64", True) first'
        )
    return dtype


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, float | int | complex | tuple):
        yield path, value
        return
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(value):
        rest = jax.tree_util.keystr(key_path, simple=True, separator=".")
        yield join_path(path, rest), leaf


def spec_of(value: Any, dtype: np.dtype) -> Spec:
    """The shapes of `value`, with the dtype of the vector, or its complex counterpart."""
    if isinstance(value, NamedTree):
        return Params({name: spec_of(child, dtype) for name, child in value.items()})
    return ArraySpec(tuple(np.shape(value)), complex_dtype(dtype) if np.iscomplexobj(value) else dtype)


def complex_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of complex numbers whose parts have `dtype`. **Errors:** `LayoutError` if there is none, as for bfloat16."""
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise LayoutError(
            f"there are no complex numbers of two {dtype}; a vector with complex parameters takes jnp.float32"
        )
    return np.result_type(dtype, np.complex64)


def entries_of(parameters: Mapping[str, Parameter], dtype: np.dtype) -> Iterator[Entry]:
    """The entries of the parameters, end to end in order."""
    offset = 0
    for path, parameter in parameters.items():
        spec = spec_of(parameter.value, dtype)
        ravel_map = _whole_path(path, parameter.ravel_map)
        size = ravel_map.size(spec)
        yield Entry(path, offset, size, spec, ravel_map, parameter.unit)
        offset += size


def _whole_path(path: str, ravel_map: AbstractRavelMap) -> AbstractRavelMap:
    """A tie that was declared within a part of a model names its source from the top."""
    if not isinstance(ravel_map, Tied) or not ravel_map.up:
        return ravel_map
    above = path.split(".")[: -ravel_map.up]
    return dataclasses.replace(ravel_map, source=".".join([*above, ravel_map.source]), up=0)
