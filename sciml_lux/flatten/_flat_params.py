"""`FlatParams`: the parameters of a model as one vector with names."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from .._errors import LayoutError, ParameterError, PathError, unknown_name
from ..kernels import concatenate, is_traced
from ._declare import as_parameter, declarations
from ._exact_arrays import owned
from ._flax import register_where_flax_is_imported
from ._layout import Layout, contains, layout_of
from ._named_tree import Params, leaf_paths
from ._no_array import ATTRIBUTES, NotAnArray, operation
from ._ravel_entry import ravel_entry
from .maps import Tied


class FlatParams(NotAnArray):
    """The parameters of a model: one array `vector` of shape `(..., size)` and a static `layout`.

    As a pytree it has exactly one leaf, so that `jax.grad` returns a `FlatParams`, optimisers and solvers see one array, and a
    compiled call has one argument to check. `ps.params` is the structured view; attributes, items and paths go through it.
    Leading axes of the vector are a batch of parameter vectors.

    **Arguments:** `vector`; `layout`.

    **Errors:** `LayoutError` if the vector has another length or dtype than the layout.
    """

    __slots__ = ("_params", "layout", "vector")
    _called = "ps"
    _numbers = 'ps.vector, as in jnp.mean(ps.vector), or ps["path"] for one array'
    vector: Float[Array, "*batch size"]
    layout: Layout

    @staticmethod
    def _expression(symbol: str, other: Any = None, reflected: bool = False) -> str:
        name = None if other is None else "other.vector" if isinstance(other, FlatParams) else "other"
        text = operation(symbol, "ps.vector", name, reflected)
        return f"ps.replace({text})" if symbol in ("+", "-", "*", "/", "//", "%", "**", "abs") else text

    def __init__(self, vector: Any, layout: Layout) -> None:
        if not isinstance(layout, Layout):
            raise LayoutError(
                f"FlatParams(vector, layout) takes a Layout, got {type(layout).__name__}; write lux.layout_of(layer), or ps.layout; "
                "lux.flatten.flatten(tree) makes both of arrays by name"
            )
        if not isinstance(vector, jax.Array | np.ndarray):
            numbers = "vector.detach().cpu().numpy()" if hasattr(vector, "detach") else "vector"
            raise LayoutError(
                f"a parameter vector is an array, got {type(vector).__name__}; write jnp.asarray({numbers}, {str(layout.dtype)!r})"
            )
        layout.check_vector(vector)
        _SET_VECTOR(self, jnp.asarray(owned(vector)))
        _SET_LAYOUT(self, layout)

    @property
    def params(self) -> Params:
        """The structured view, computed once per instance."""
        try:
            return _GET_PARAMS(self)
        except AttributeError:  # the slot is empty: not computed yet
            pass
        if isinstance(self.vector, Tracer):
            params = self.layout.unravel(self.vector)
        else:
            # A concrete vector that a traced function closes over: unravel it now, not inside the trace.
            with jax.ensure_compile_time_eval():
                params = self.layout.unravel(self.vector)
        if _lives_as_long_as(self.vector, params):
            _SET_PARAMS(self, params)
        return params

    # Reading

    def __getitem__(self, path: str) -> Any:
        """The parameter, or the tree of parameters, of that path. **Errors:** `PathError` with the nearest names."""
        return self.params[path]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # Through the getter: an AttributeError from a ravel map would lead from the property back here, for ever.
        params = FlatParams.params.__get__(self)
        if name in ATTRIBUTES and name not in params:
            raise AttributeError(f"FlatParams is no array and has no {name!r}; write ps.vector.{name}")
        return getattr(params, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __contains__(self, path: object) -> bool:
        return path in self.params

    def __len__(self) -> int:
        """The number of names at the top, as for any mapping; the number of scalars is `ps.layout.size`."""
        return len(self.params)

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, FlatParams | jax.Array | np.ndarray):
            return self is other
        raise ParameterError(
            "two FlatParams are not compared by ==, as arrays are not; write jnp.array_equal(ps.vector, other.vector), and "
            "ps.layout is other.layout for the names and shapes"
        )

    __hash__ = object.__hash__

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *filter(str.isidentifier, self.params)})

    def _ipython_key_completions_(self) -> list[str]:
        return self.params._ipython_key_completions_()

    # Never in place

    def replace(self, vector: Any) -> "FlatParams":
        """The same layout with another vector. **Errors:** `LayoutError` for another length or dtype."""
        return FlatParams(vector, self.layout)

    def set(self, path: str, value: Any) -> "FlatParams":
        """New parameters in which `path` (an entry, part of one, or a whole subtree given as a mapping) holds `value`.

        Every other number keeps its bits. **Errors:** `PathError` for an unknown path, `LayoutError` for another shape and for a
        value that would be lost: what is tied or fixed, refused by its map, or beyond the range of the dtype. Where a traced value
        would be lost, the vector becomes NaN.
        """
        if path not in self.params:
            raise PathError(unknown_name("path", path, (entry.path for entry in self.layout.entries)))
        held = self.params[path]
        if isinstance(held, Params) and not isinstance(value, Mapping):
            raise LayoutError(f"{path}: got {type(value).__name__}, expected a mapping with {list(leaf_paths(held))}")
        touched = [entry for entry in self.layout.entries if contains(entry.path, path) or contains(path, entry.path)]
        if isinstance(value, Mapping):
            value = Params(value)
            expected = list(leaf_paths(held)) if isinstance(held, Params) else "an array"
            if list(leaf_paths(value)) != expected:
                raise LayoutError(f"{path}: got a mapping with {list(leaf_paths(value))}, expected {expected}")
        params = self.params.set(path, value)
        vector = self.vector
        for entry in touched:
            if isinstance(entry.ravel_map, Tied) and contains(entry.path, path):
                raise LayoutError(f"{path} is tied to {entry.ravel_map.source}; set that")
            entry_value = params[entry.path] if entry.path else params
            segment = self.layout.ravel_entry(entry, entry_value)
            if segment.shape[:-1] != vector.shape[:-1]:
                raise LayoutError(
                    f"{entry.path}: got leading axes {segment.shape[:-1]}, the vector has {vector.shape[:-1]}"
                )
            before, after = vector[..., : entry.offset], vector[..., entry.offset + entry.size :]
            vector = jnp.concatenate([before, segment, after], axis=-1)
        given = {entry.path: params[entry.path] if entry.path else params for entry in touched}
        return self.replace(self.layout.keep(vector, given))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"FlatParams is immutable; write ps.set({name!r}, value) or ps.replace(vector), which return new ones"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return FlatParams, (np.asarray(self.vector), self.layout)

    def __repr__(self) -> str:
        return show(self)


Parameters = Params | FlatParams
"""What a layer is called with: both read alike. For annotations of layers of one's own as well."""

# JAX takes a FlatParams apart and puts one together at every call of a compiled function, so that this is on the path of every
# dispatch: the slots are filled directly, which is faster than going through object.__setattr__ (benchmarks/flatten.py).
_NEW = object.__new__
_SET_VECTOR, _SET_LAYOUT = FlatParams.vector.__set__, FlatParams.layout.__set__  # type: ignore[attr-defined]
_SET_PARAMS, _GET_PARAMS = FlatParams._params.__set__, FlatParams._params.__get__  # type: ignore[attr-defined]


def _unflatten(layout: Layout, children: Any) -> FlatParams:
    flat = _NEW(FlatParams)
    _SET_VECTOR(flat, children[0])  # no checks: JAX puts anything into the leaf
    _SET_LAYOUT(flat, layout)
    return flat


jax.tree_util.register_pytree_with_keys(
    FlatParams,
    lambda flat: (((jax.tree_util.GetAttrKey("vector"), flat.vector),), flat.layout),
    _unflatten,
    lambda flat: ((flat.vector,), flat.layout),
)


@layout_of.register
def _(where: FlatParams, dtype: Any = None) -> Layout:
    return layout_of(where.layout, dtype)


def _lives_as_long_as(vector: Any, params: Params) -> bool:
    """Whether the view may be kept beside the vector: its arrays must not belong to a trace that ends before the vector's."""
    trace = getattr(vector, "_trace", None) if isinstance(vector, Tracer) else None
    return all(
        not isinstance(leaf, Tracer) or (trace is not None and getattr(leaf, "_trace", None) is trace)
        for leaf in jax.tree.leaves(params)
    )


def flatten(tree: Any, dtype: Any = None) -> FlatParams:
    """One vector and its layout from a tree of names, arrays and declarations such as `lux.positive(0.5)`.

    **Arguments:** `tree`: a mapping, nested as you like; `dtype`: of the vector (default: the arrays' own; numbers take
    JAX's default float). **Errors:** `ParameterError` for what cannot be a parameter, `LayoutError` for mixed dtypes and for values that
    the vector would not keep, such as 1e300 in float32.
    """
    register_where_flax_is_imported()
    layout = Layout.of(tree, dtype)
    values = {path: as_parameter(path, value).value for path, value in declarations(tree)}
    segments = [
        ravel_entry(layout[path], np.asarray(value) if type(value) is tuple else value, layout.dtype, start=True)
        for path, value in values.items()
    ]
    vector = concatenate(segments) if segments else jnp.zeros((0,), layout.dtype)
    return FlatParams(vector, layout)


def check_range(flat: FlatParams, what: str) -> None:
    """Raises `LayoutError` if finite numbers of the vector stand for an infinite value: in another dtype they did not."""
    if is_traced(flat.vector):
        return
    vector = np.asarray(flat.vector)
    for entry in flat.layout.entries:
        stored = flat.layout.stored(entry)
        shown = flat[entry.path] if entry.path else flat.params
        overflows = any(np.isinf(np.asarray(leaf)).any() for leaf in jax.tree.leaves(shown))
        if overflows and np.isfinite(vector[..., stored.offset : stored.offset + stored.size]).all():
            raise LayoutError(
                f"{what}: {entry.path} has a value beyond the range of {flat.layout.dtype}; keep its dtype, or declare it in other units"
            )


def show(flat: FlatParams, rows: int = 40) -> str:
    """A table of the parameters: path, shape, and the value of scalars or mean and spread of arrays."""
    shape = getattr(flat.vector, "shape", None)
    head = f"FlatParams: {flat.layout.size} numbers, {flat.layout.dtype}" + (
        f", batch {shape[:-1]}" if shape and len(shape) > 1 else ""
    )
    if not isinstance(flat.vector, jax.Array) or isinstance(flat.vector, Tracer) or flat.vector.is_deleted():
        return f"{head}, vector = {type(flat.vector).__name__}"
    params = flat.params
    table = []
    for path in list(leaf_paths(params))[:rows]:
        shown = np.asarray(params[path])
        array = np.abs(shown) if np.iscomplexobj(shown) else shown.astype(np.float64)
        if array.size == 1:
            value = f"{shown.item():.6g}"
        elif array.size:
            value = f"mean {array.mean():.3g}, std {array.std():.3g}, min {array.min():.3g}, max {array.max():.3g}"
        else:
            value = ""
        unit = next((e.unit for e in flat.layout.entries if e.path == path and e.unit), "")
        table.append((path, str(array.shape), f"{value} {unit}".rstrip()))
    widths = [max((len(row[i]) for row in table), default=0) for i in range(2)]
    lines = [f"  {path.ljust(widths[0])}  {shape.ljust(widths[1])}  {value}".rstrip() for path, shape, value in table]
    hidden = sum(1 for _ in leaf_paths(params)) - len(table)
    return "\n".join([head, *lines, *([f"  ... and {hidden} more"] if hidden else [])])
