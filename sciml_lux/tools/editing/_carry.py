"""Parameters and state of a changed model, with the values of what stays."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..._errors import LayoutError, PathError, unknown_name
from ...core import AbstractLayer, State, as_state, setup
from ...flatten import ArraySpec, Entry, FlatParams, Layout, Tied, leaf_paths

OldPath = Callable[[str], str | None]


def carry_over(
    key: Key[Array, ""], model: AbstractLayer, ps: FlatParams, st: Any, rename: Mapping[str, str] | None = None
) -> tuple[FlatParams, State]:
    """Parameters and state for a changed model: the old values wherever path and shape agree, a fresh start elsewhere.

        model = lux.tools.insert_layer(model, "norm", lux.LayerNorm(8), after="layer_0")
        ps, st = lux.tools.carry_over(key, model, ps, st)

    **Arguments:** `key`: for what is new; `model`; `ps`, `st`: of the model before; `rename`: from old paths, of layers or
    entries, to new ones, all at once: `{"layer_0": "layer_0.layer"}` after a layer has been wrapped in another.

    **Returns:** `(ps, st)` for `model`, in the dtype of `ps`. Numbers that stay keep their bits. Ties and dtypes that `ps`
    was given by hand (`lux.flatten.tie`, `lux.flatten.compute_dtype`) stay where they can. `lux.flatten.transplant`
    does the same for parameters alone, such as those of a file, and reports what it did.

    **Errors:** `PathError` for a path to rename that there is not; `LayoutError` if the models have no parameter in common.
    """
    check_flat(ps)
    st = as_state(st)
    for old in rename or {}:
        if old not in ps.params and old not in st:
            raise PathError(unknown_name("path", old, [*leaf_paths(ps.params), *leaf_paths(st)]))
    old_path = _old_path(rename or {})
    fresh, fresh_st = setup(key, model, ps.layout.dtype)
    carried = carried_parameters(
        ps, fresh.layout, lambda entry: fresh.vector[entry.offset : entry.offset + entry.size], old_path
    )
    known = {entry.path for entry in ps.layout.entries}
    if len(ps.layout) and len(fresh.layout) and not any(old_path(e.path) in known for e in fresh.layout.entries):
        raise LayoutError(
            f"nothing to carry over: the parameters are {', '.join(sorted(known)[:5])}, the model's are "
            f"{', '.join(entry.path for entry in fresh.layout.entries[:5])}; say with rename= which is which"
        )
    return carried, _carried_state(st, fresh_st, old_path)


def carried_parameters(
    ps: FlatParams, layout: Layout, fresh: Callable[[Entry], Any], old_path: OldPath = lambda path: path
) -> FlatParams:
    """Parameters of another layout: segments of `ps` where path, shape and map agree, and `fresh(entry)` elsewhere."""
    old_entries = {entry.path: entry for entry in ps.layout.entries}
    new_paths = {old_path(entry.path): entry.path for entry in layout.entries}
    changed: dict[str, Entry] = {}
    segments: dict[str, Any] = {}
    for entry in layout.entries:
        was = old_path(entry.path)
        old = None if was is None else old_entries.get(was)
        if isinstance(entry.ravel_map, Tied):
            continue
        if old is None or _shapes(old) != _shapes(entry):
            segments[entry.path] = fresh(entry)
        elif isinstance(old.ravel_map, Tied):
            source = new_paths.get(old.ravel_map.source)
            if source is not None and not isinstance(layout[source].ravel_map, Tied):
                tied = dataclasses.replace(old.ravel_map, source=source)
                changed[entry.path] = dataclasses.replace(entry, size=0, ravel_map=tied)
            else:
                segments[entry.path] = layout.ravel_entry(entry, ps.params[old.path])
        elif old.ravel_map == entry.ravel_map:
            segments[entry.path] = ps.vector[old.offset : old.offset + old.size]
            if isinstance(old.spec, ArraySpec):
                changed[entry.path] = dataclasses.replace(entry, spec=old.spec)  # computes in another dtype
        else:
            segments[entry.path] = fresh(entry)
    new = layout.with_entries(changed)
    pieces = [jnp.asarray(segments[entry.path], new.dtype) for entry in new.entries if entry.path in segments]
    return FlatParams(jnp.concatenate(pieces) if pieces else jnp.zeros((0,), new.dtype), new)


def _shapes(entry: Entry) -> Any:
    if isinstance(entry.spec, ArraySpec):
        return entry.spec.shape
    return {path: entry.spec[path].shape for path in leaf_paths(entry.spec)}


def _old_path(rename: Mapping[str, str]) -> OldPath:
    """From a path in the new model to that of the same thing in the old one, if there can be one."""

    def old_path(path: str) -> str | None:
        found = [(new, old) for old, new in rename.items() if is_within(new, path)]
        if found:
            new, old = max(found, key=lambda pair: len(pair[0]))
            return old + path[len(new) :]
        return None if any(is_within(old, path) for old in rename) else path

    return old_path


def _carried_state(old: State, fresh: State, old_path: OldPath) -> State:
    for path in leaf_paths(fresh):
        was = old_path(path)
        if was is not None and was in old and _kinds(old[was]) == _kinds(fresh[path]):
            fresh = fresh.set(path, old[was])
    return fresh


def _kinds(tree: Any) -> list[Any]:
    return [type(tree).__name__ if not jax.tree.leaves(tree) else ""] + [
        (jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)
    ]


def is_within(outer: str, path: str) -> bool:
    """Whether `path` is `outer` or lies below it."""
    return path == outer or path.startswith(f"{outer}.")


def check_flat(ps: Any) -> None:
    """Raises `LayoutError` unless `ps` is one `FlatParams`, without leading axes."""
    if not isinstance(ps, FlatParams):
        raise LayoutError(f"parameters are edited as one vector, from lux.setup; got {type(ps).__name__}")
    if ps.vector.ndim != 1:
        raise LayoutError(
            f"got a batch {ps.vector.shape[:-1]} of parameters; edit them one by one: jax.vmap(lambda ps, st: ...)(ps, st)"
        )
