"""Seeing every call of a layer inside a model: what a summary records and debug mode checks."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from ..flatten import Params


@runtime_checkable
class Observer(Protocol):
    """What is called in place of every layer of a model, with what it needs to make the call.

    It is hashable, and equal observers may share compiled functions.
    """

    def __call__(self, path: str, layer: Any, call: Callable[..., Any], x: Any, ps: Any, st: Any, *rest: Any) -> Any:
        """The `(y, st)` of the call, usually `call(x, ps, st, *rest)`; `rest` may come by name as well."""
        ...


@dataclass(frozen=True)
class _Watch:
    """The observer, and the path of the container that is being called."""

    observer: Any
    path: str = ""


# Part of the key of every compilation cache: what was compiled unobserved, or for another of several equal containers, is not reused.
_watch = jax.make_user_context(None)
# The layer that is being called, its parameters and its path.
_caller: ContextVar[tuple[Any, Any, str] | None] = ContextVar("caller", default=None)


@contextlib.contextmanager
def observed(observer: Observer | None) -> Generator[None, None, None]:
    """Within it, every call of a layer goes through `observer`; paths are counted from the first one called. None ends this."""
    outside = _caller.set(None)
    try:
        with _watch(None if observer is None else _Watch(observer)):
            yield
    finally:
        _caller.reset(outside)


def is_observed() -> bool:
    """Whether there is an observer, who wants to see every call as it is written."""
    return _watch.value is not None


def call_observed(layer: Any, call: Callable[..., Any], x: Any, ps: Params, st: Any, *args: Any, **kwargs: Any) -> Any:
    """`call(layer, x, ps, st, ...)`, through the observer if there is one."""
    watch = _watch.value
    if watch is None:
        with named_by_path(layer, ps):
            return call(layer, x, ps, st, *args, **kwargs)
    caller = _caller.get()
    name = child_name(caller[0], caller[1], layer, ps) if caller else None
    path = _path_below(caller, name)
    # Layers without children share what is compiled for them: they call nothing whose path could be another one.
    inside = _Watch(watch.observer, path if children_of(layer) else "")

    def proceed(x: Any, ps: Any, st: Any, *args: Any, **kwargs: Any) -> Any:
        outside = _caller.set((layer, ps, path))
        try:
            with _watch(inside):
                return call(layer, x, ps, st, *args, **kwargs)
        finally:
            _caller.reset(outside)

    if (
        caller and name is None
    ):  # no child of the caller but the caller itself in other words, such as the model that Share wraps
        return proceed(x, ps, st, *args, **kwargs)
    return watch.observer(path, layer, proceed, x, ps, st, *args, **kwargs)


@contextlib.contextmanager
def named_by_path(layer: Any, ps: Params) -> Generator[None, None, None]:
    """Within it, what `layer` computes bears its path in compiled programs and in profiles."""
    caller = _caller.get()
    name = _scope_name(caller[0], caller[1], layer, ps) if caller else None
    path = _path_below(caller, name)
    outside = _caller.set((layer, ps, path))
    try:
        with jax.named_scope(path) if name else contextlib.nullcontext():
            yield
    finally:
        _caller.reset(outside)


def _path_below(caller: tuple[Any, Any, str] | None, name: str | None) -> str:
    above = caller[2] if caller else ""
    return f"{above}.{name}" if above and name else above or name or ""


def split_arrays(tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The arrays in a tree, and the function that puts others in their place; what is no array stays, for no tracing touches it."""
    leaves, structure = jax.tree.flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]

    def join(arrays: Sequence[Any]) -> Any:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        return structure.unflatten(filled)

    return [leaves[place] for place in places], join


def children_of(layer: Any) -> dict[str, Any]:
    """The child layers by name; none for a layer that is no container."""
    return layer.children() if hasattr(layer, "children") else {}


def child_name(parent: Any, parent_ps: Any, child: Any, child_ps: Any) -> str | None:
    """The name by which `parent` knows the layer that it called, or None."""
    children = children_of(parent)
    if isinstance(parent_ps, Params):
        # The very object that was handed down tells equal siblings apart.
        for name in children:
            if parent_ps._children.get(name) is child_ps:
                return name
    return next((name for name, layer in children.items() if layer == child), None)


def _scope_name(parent: Any, parent_ps: Any, child: Any, child_ps: Any) -> str | None:
    """`child_name`, mostly without asking for the children, which some containers make anew each time."""
    for name, own in parent_ps._children.items():
        if own is child_ps:
            return name
    return child_name(parent, parent_ps, child, child_ps)
