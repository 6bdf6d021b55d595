"""`Layout`: the static description of a vector of parameters."""

import dataclasses
import functools
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jaxtyping import Array, Float

from .._errors import LayoutError, ParameterError, PathError, unknown_name
from ..kernels import concatenate, split
from ._declare import Entry, as_parameter, check_dtype, declarations, entries_of, join_path, resolve_dtype
from ._exact import exact
from ._exact_arrays import agree, as_array, nan_unless
from ._named_tree import Params, leaf_paths
from ._ravel_entry import batch_shape, ravel_entry, ravel_map_name, unravel_entry
from .maps import ArraySpec, Real, Tied, is_subtree

_INTERNED: weakref.WeakValueDictionary[Any, "Layout"] = weakref.WeakValueDictionary()
_INTERNED_LOCK = threading.Lock()


class Layout:
    """Where each parameter lies in the vector: static, hashable, without values; it prints as a memory map.

    Equal layouts are one object (they are interned), so that comparing and hashing them, which `jax.jit` does at every
    call, costs the same for a thousand entries as for one.

    **Arguments:** `tree`: a `Params` of `Entry` (or one entry, if all is stored as one); `dtype`: of the vector.
    Usually made by `Layout.of(declarations)`.

    **Attributes:** `entries`: in the order of declaration; `size`: length of the vector; `dtype`; `tree`; `parent`: the whole of which
    `partition` made this a part, or None.
    """

    __slots__ = ("__weakref__", "_by_path", "_sizes", "_structure", "dtype", "entries", "parent", "size", "tree")
    tree: Params | Entry
    entries: tuple[Entry, ...]
    size: int
    dtype: np.dtype
    parent: "Layout | None"
    _structure: Any
    _sizes: tuple[int, ...]
    _by_path: dict[str, Entry]

    def __new__(cls, tree: Params | Entry, dtype: Any, parent: "Layout | None" = None) -> "Layout":
        dtype = check_dtype(dtype)
        tree = end_to_end(tree)
        entries, structure = jax.tree.flatten(tree)
        key = (exact(entries), structure, dtype, parent)
        with _INTERNED_LOCK:
            interned = _INTERNED.get(key)
            if interned is not None:
                return interned
            self = object.__new__(cls)
            for name, value in (
                ("tree", tree),
                ("entries", tuple(entries)),
                ("size", sum(entry.size for entry in entries)),
                ("dtype", dtype),
                ("parent", parent),
                ("_structure", structure),
                ("_sizes", tuple(entry.size for entry in entries)),
                ("_by_path", {entry.path: entry for entry in entries}),
            ):
                object.__setattr__(self, name, value)
            _check_ties(self)
            _INTERNED[key] = self
            return self

    @staticmethod
    def of(tree: Any, dtype: Any = None) -> "Layout":
        """The layout of a tree of declarations: arrays (or their `jax.ShapeDtypeStruct`), `Parameter`s, foreign values.

        **Errors:** `ParameterError` for what cannot be a parameter, `LayoutError` for mixed dtypes.
        """
        parameters = {path: as_parameter(path, value) for path, value in declarations(tree)}
        dtype = resolve_dtype(parameters, dtype)
        entries = {entry.path: entry for entry in entries_of(parameters, dtype)}
        return Layout(_tree_of(tree, entries), dtype)

    # The two maps

    def unravel(self, vector: Float[Array, "*batch size"]) -> Params:
        """The structured view of `vector`: one `split`, then each entry's map. Leading axes are a batch and stay in front."""
        self.check_vector(vector)
        batch = vector.shape[:-1]
        # One split, whose transpose is one concatenate: slicing leaf by leaf transposes to a sum of padded vectors.
        segments = split(vector, self._sizes)
        values = {
            entry.path: unravel_entry(entry, segment, len(batch))
            for entry, segment in zip(self.entries, segments, strict=True)
            if not isinstance(entry.ravel_map, Tied)
        }
        shown = [_show(entry, values[self.stored(entry).path], len(batch), self.dtype) for entry in self.entries]
        return self._structure.unflatten(shown)

    def ravel(self, params: Mapping[str, Any]) -> Float[Array, "*batch size"]:
        """The vector of a structured view: each entry's map, then one `concatenate`. Leading axes of all arrays are a batch.

        **Errors:** `LayoutError` if names or shapes are not those of this layout, and for values that the vector would not keep: see
        `ravel_entry` and `keep`.
        """
        values = self._values(params)
        batches = {path: batch_shape(self._by_path[path], value) for path, value in values.items()}
        batch = next(iter(batches.values()), ())
        odd = [path for path, shape in batches.items() if shape != batch]
        if odd:
            raise LayoutError(f"leading axes differ: {batch} for {next(iter(batches))}, {batches[odd[0]]} for {odd[0]}")
        segments = [self.ravel_entry(self._by_path[path], value) for path, value in values.items()]
        return self.keep(concatenate(segments), values) if segments else jnp.zeros((0,), self.dtype)

    def ravel_entry(self, entry: Entry, value: Any) -> Float[Array, "*batch size"]:
        """The segment of one entry, in the dtype of the vector.

        **Errors:** `LayoutError` for a value that it would not keep: of another shape, refused by the map, beyond the range of the
        dtype, or shown as another one. Where traced values would be shown as others, the segment is NaN.
        """
        return ravel_entry(entry, value, self.dtype)

    def keep(self, vector: Any, values: Mapping[str, Any]) -> Any:
        """`vector`, if it shows these values, by path, where the vector has no room for them: tied to another entry, or fixed.

        **Errors:** `LayoutError` for another value; where that is traced, the vector is NaN.
        """
        without_room = [self._by_path[path] for path in values if not self._by_path[path].size]
        if not without_room:
            return vector
        params, kept = self.unravel(jax.lax.stop_gradient(vector)), True
        for entry in without_room:
            tie = entry.ravel_map if isinstance(entry.ravel_map, Tied) else None
            given = jax.tree.map(lambda leaf: as_array(leaf, what=entry.path), values[entry.path])  # noqa: B023
            shown = params[entry.path] if entry.path else params
            same = agree(
                jax.lax.stop_gradient(given), shown, vector.ndim - 1, exactly=tie is None or tie.through is None
            )
            if same is False:
                where = f"tied to {tie.source}" if tie else f"stored as {ravel_map_name(entry)}"
                source = f"; set {tie.source} alone, or give both the same value" if tie else ""
                raise LayoutError(
                    f"{entry.path} is {where}, and shows {shown!r}; got {values[entry.path]!r}, which would be lost{source}"
                )
            kept = same if kept is True else kept & same
        return nan_unless(kept, vector)

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The value of each entry, by path, after checking that `params` has the names of this layout, in any order."""
        params = params if isinstance(params, Params) else Params(params)
        missing = [path for path in self._by_path if path and path not in params]
        extra = [path for path in leaf_paths(params) if not any(contains(known, path) for known in self._by_path)]
        if missing or extra:
            raise LayoutError(
                f"the names differ from the layout's: missing {missing or 'none'}, unknown {extra or 'none'}"
            )
        return {path: params[path] if path else params for path in self._by_path}

    def log_abs_det_jacobian(self, vector: Float[Array, " size"]) -> Float[Array, ""]:
        """`log |det d values / d vector|`, summed over the entries: what turns a density over values into one over the vector.

        With `log_prior` a density over the parameters as they are shown, the density over the vector that a sampler needs is
        `log_prior(ps.params) + ps.layout.log_abs_det_jacobian(ps.vector)`.

        **Errors:** `ParameterError` for an entry whose map is not a bijection, or has no such term; it names the entry.
        """
        self.check_vector(vector)
        total = jnp.zeros((), self.dtype)
        for entry, segment in zip(self.entries, split(vector, self._sizes), strict=True):
            if entry.size:
                total += jnp.asarray(_log_abs_det(entry, segment), self.dtype)
        return total

    # Looking up

    def __getitem__(self, path: str) -> Entry:
        """The entry of that path. **Errors:** `PathError` with the nearest names."""
        try:
            return self._by_path[path]
        except KeyError:
            raise PathError(unknown_name("entry", path, self._by_path)) from None

    def __contains__(self, path: object) -> bool:
        return path in self._by_path

    def stored(self, entry: Entry) -> Entry:
        """The entry that stores what `entry` shows: its source if it is tied, itself otherwise."""
        return self[entry.ravel_map.source] if isinstance(entry.ravel_map, Tied) else entry

    def with_entries(self, changed: Mapping[str, Entry]) -> "Layout":
        """A layout in which the entries at these paths are others; offsets follow."""
        tree = jax.tree.map(lambda entry: changed.get(entry.path, entry), self.tree)
        return Layout(tree, self.dtype, self.parent)

    def unconstrained(self) -> "Layout":
        """The same vector as it is stored: plain arrays, without the maps.

        An entry that stores one number for each element keeps its shape, others become vectors; what takes no room is left out.
        """

        def plain(node: Any) -> Any:
            if isinstance(node, Entry):
                same = isinstance(node.spec, ArraySpec) and node.spec.size == node.size
                spec = ArraySpec(node.shape if same else (node.size,), self.dtype)
                return dataclasses.replace(node, spec=spec, ravel_map=Real(), unit=None) if node.size else None
            return Params(
                {
                    name: kept
                    for name, kept in ((name, plain(child)) for name, child in node.items())
                    if kept is not None
                }
            )

        root = plain(self.tree)
        return Layout(
            Params() if root is None else root if isinstance(root, Params) else Params(layer=root), self.dtype
        )

    def __len__(self) -> int:
        return len(self.entries)

    def check_vector(self, vector: Any) -> None:
        """Raises `LayoutError` unless `vector` has this layout's length and dtype."""
        shape = np.shape(vector)
        if not shape or shape[-1] != self.size:
            raise LayoutError(
                f"got a vector of shape {shape}; this layout has {self.size} numbers, expected shape (..., {self.size})"
            )
        if vector.dtype != self.dtype:
            raise LayoutError(
                f"got a vector of {vector.dtype}; this layout is of {self.dtype}. Write vector.astype({str(self.dtype)!r})"
            )

    # Static, immutable, printable

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Layout is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout, (self.tree, self.dtype, self.parent)

    def __copy__(self) -> "Layout":
        return self

    def __deepcopy__(self, memo: Any) -> "Layout":
        return self

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        del kwargs
        return wl.TextDoc(f"Layout({len(self.entries)} entries, {self.size} {self.dtype})")

    def __repr__(self) -> str:
        return memory_map(self)


@functools.singledispatch
def layout_of(where: Any, dtype: Any = None) -> Layout:
    """The layout of what has one: a layout itself, parameters, or a layer, whose parameters are not computed for it.

    **Arguments:** `dtype`: of the vector, for a layer (default: JAX's default float). **Errors:** `LayoutError` for anything else, and
    for a `dtype` beside what has one already.
    """
    raise LayoutError(
        f"expected a layout, parameters (FlatParams) or a layer, got {type(where).__name__}; write lux.flatten.flatten(tree) for a "
        "tree of arrays by name"
    )


@layout_of.register
def _(where: Layout, dtype: Any = None) -> Layout:
    if dtype is not None and jnp.dtype(dtype) != where.dtype:
        raise LayoutError(
            f"the layout is one of {where.dtype}, got dtype={jnp.dtype(dtype)}; leave dtype out, or write lux.layout_of(layer, dtype)"
        )
    return where


def _tree_of(tree: Any, entries: Mapping[str, Entry], path: str = "") -> Any:
    """`tree` with each declaration replaced by its entry."""
    if not is_subtree(tree):
        return entries[path]
    return Params({name: _tree_of(value, entries, join_path(path, name)) for name, value in tree.items()})


def _log_abs_det(entry: Entry, segment: Any) -> Any:
    ravel_map: Any = entry.ravel_map
    if not isinstance(entry.spec, ArraySpec) or not hasattr(ravel_map, "log_abs_det_jacobian"):
        raise ParameterError(f"{entry.path}: {ravel_map!r} has no log_abs_det_jacobian; give the map one")
    try:
        return ravel_map.log_abs_det_jacobian(jnp.reshape(segment, ravel_map.unconstrained_shape(entry.spec.shape)))
    except ParameterError as error:
        raise ParameterError(f"{entry.path}: {error}") from None


def _show(entry: Entry, value: Any, batch_axes: int, dtype: np.dtype) -> Any:
    """What a layer sees: the value of the entry, or of that which it is tied to, in the dtype that it computes in."""
    if isinstance(entry.ravel_map, Tied):
        show = entry.ravel_map.show
        for _ in range(batch_axes if entry.ravel_map.through is not None else 0):
            show = jax.vmap(show)
        value = show(value)
    if isinstance(entry.spec, ArraySpec) and entry.spec.dtype != dtype:
        return jnp.asarray(value, entry.spec.dtype)
    return value


def _check_ties(layout: Layout) -> None:
    for entry in layout.entries:
        if isinstance(entry.ravel_map, Tied):
            source = layout._by_path.get(entry.ravel_map.source)
            if source is None or isinstance(source.ravel_map, Tied):
                raise LayoutError(
                    f"{entry.path} is tied to {entry.ravel_map.source}, which is not stored in this layout"
                )


def end_to_end(tree: Any) -> Any:
    """A tree of entries in which each begins where the one before ends."""
    offset = 0

    def place(entry: Entry) -> Entry:
        nonlocal offset
        placed = entry if entry.offset == offset else dataclasses.replace(entry, offset=offset)
        offset += entry.size
        return placed

    return jax.tree.map(place, tree)


def contains(outer: str, path: str) -> bool:
    """Whether `path` is `outer` or lies below it; everything lies below the empty path."""
    return not outer or path == outer or path.startswith(f"{outer}.")


def memory_map(layout: Layout) -> str:
    """The table that a layout prints: offset, size, path, shape, map and unit of each entry."""
    rows = [("offset", "size", "path", "shape", "map", "unit")]
    for entry in layout.entries:
        shape = (
            str(entry.shape)
            if isinstance(entry.spec, ArraySpec)
            else ", ".join(f"{p}: {entry.spec[p].shape}" for p in leaf_paths(entry.spec))
        )
        rows.append((str(entry.offset), str(entry.size), entry.path, shape, entry.ravel_map.name, entry.unit or ""))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    lines = [
        "  ".join(
            cell.rjust(width) if i < 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    nbytes = layout.size * layout.dtype.itemsize
    return "\n".join(
        [f"Layout of {layout.size} numbers, {layout.dtype}, {nbytes} bytes, {len(layout.entries)} entries", *lines]
    )
