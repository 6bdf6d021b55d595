"""An immutable, ordered mapping of names to values: the structured view of parameters and of state."""

import re
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jax.core import Tracer

from .._errors import ParameterError, PathError, unknown_name
from ._exact_arrays import owned
from ._no_array import ATTRIBUTES, NotAnArray, operation

_NAME = re.compile(r"\w+")
_Tree = TypeVar("_Tree", bound="NamedTree")


def check_name(name: object) -> str:
    """Returns `name` if it can be one step of a dotted path, and raises `PathError` otherwise."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PathError(
            f"got the name {name!r}; a name is made of letters, digits and underscores (dots separate the steps of a path)"
        )
    return name


def _lower(value: object) -> str:
    if (
        isinstance(value, jax.Array)
        and value.ndim == 0
        and not isinstance(value, Tracer)
        and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    ):
        return f"{value.item():.6g}" if jnp.issubdtype(value.dtype, jnp.floating) else str(value.item())
    if isinstance(value, jax.Array | jax.ShapeDtypeStruct):
        return f"{value.dtype}{list(value.shape)}"
    return repr(value)


class NamedTree(NotAnArray, Mapping[str, Any]):
    """An immutable mapping of names to values or further trees, in the order of declaration.

    Reads by attribute (`tree.encoder.weight`), by item (`tree["encoder"]["weight"]`) and by path (`tree["encoder.weight"]`).
    It is a pytree whose order is the order of declaration, never that of sorted names. A child whose name is that of a
    method (`keys`, `items`, ...) is reached by item. Nested mappings become trees of the same class.
    """

    # _fits: the layer that was last found to declare these names and shapes (core); as nothing here changes, it stays true.
    __slots__ = ("_children", "_fits")
    _children: dict[str, Any]
    _called = "tree"
    _numbers = 'tree["path"] for one array, and jax.tree.leaves(tree) for all'

    @staticmethod
    def _expression(symbol: str, other: Any = None, reflected: bool = False) -> str:
        text = operation(symbol, "leaf", None if other is None else "other", reflected)
        if isinstance(other, NamedTree):
            return f"jax.tree.map(lambda leaf, other: {text}, tree, other)"
        return f"jax.tree.map(lambda leaf: {text}, tree)"

    def __init__(self, children: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        merged = {**({} if children is None else children), **named}
        cls = type(self)
        made = {
            check_name(name): cls(child)
            if isinstance(child, Mapping) and not isinstance(child, NamedTree)
            else owned(child)
            for name, child in merged.items()
        }
        object.__setattr__(self, "_children", made)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_pytree_with_keys(cls, _flatten_with_keys, _unflattener(cls), _flatten)

    # Reading

    def __getitem__(self, path: str) -> Any:
        children = self._children
        if path in children:
            return children[path]
        if not isinstance(path, str):
            raise PathError(f"a path is a string such as 'layer_0.weight', got {path!r}")
        node: Any = self
        for name in path.split("."):
            if not isinstance(node, NamedTree) or name not in node._children:
                raise PathError(unknown_name("path", path, leaf_paths(self)))
            node = node._children[name]
        return node

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._children[name]
        except KeyError:
            if name in ATTRIBUTES:
                raise AttributeError(
                    f"{type(self).__name__} is no array and has no {name!r}; write {self._numbers}"
                ) from None
            raise AttributeError(unknown_name("name", name, self._children)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    def __contains__(self, path: object) -> bool:
        try:
            self[path]  # type: ignore[index]
        except PathError:
            return False
        return True

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *filter(str.isidentifier, self._children)})

    def _ipython_key_completions_(self) -> list[str]:
        return [*self._children, *(path for path in leaf_paths(self) if "." in path)]

    def items(self) -> ItemsView[str, Any]:
        return self._children.items()

    def values(self) -> ValuesView[Any]:
        return self._children.values()

    # Never in place

    def set(self: _Tree, path: str, value: Any) -> _Tree:
        """A new tree in which `path`, which must exist, holds `value`. **Errors:** `PathError` with the nearest names."""
        self[path]  # raises here, where the whole path is known
        head, _, rest = path.partition(".")
        return type(self)({**self._children, head: self._children[head].set(rest, value) if rest else value})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__} is immutable; write {self._called}.set({name!r}, value), which returns a new one"
        )

    # Comparing, copying, showing

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not type(self):
            return NotImplemented
        return tuple(self._children) == tuple(other._children) and all(
            _same(child, other._children[name]) for name, child in self._children.items()
        )

    def __hash__(self) -> int:
        return hash(tuple(self._children.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._children,)

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        del kwargs
        return self._doc(_lower)

    def _doc(self, show: Callable[[Any], str]) -> wl.AbstractDoc:
        pairs = [
            wl.TextDoc(f"{name}=") + (child._doc(show) if isinstance(child, NamedTree) else wl.TextDoc(show(child)))
            for name, child in self._children.items()
        ]
        return wl.bracketed(wl.TextDoc(f"{type(self).__name__}("), pairs, wl.comma, wl.TextDoc(")"), indent=4)

    def __repr__(self) -> str:
        return wl.pformat(self, width=100)


def _same(one: Any, other: Any) -> bool:
    if one is not other and (isinstance(one, jax.Array | np.ndarray) or isinstance(other, jax.Array | np.ndarray)):
        raise ParameterError(
            "arrays by name are not compared by ==, as arrays are not; write jax.tree.all(jax.tree.map(jnp.array_equal, tree, other))"
        )
    return one is other or bool(one == other)


def _flatten(tree: NamedTree) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    return tuple(tree._children.values()), tuple(tree._children)


def _flatten_with_keys(tree: NamedTree) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    keys = tuple((jax.tree_util.GetAttrKey(name), child) for name, child in tree._children.items())
    return keys, tuple(tree._children)


def _unflattener(cls: type[_Tree]) -> Callable[[tuple[str, ...], Any], _Tree]:
    def unflatten(names: tuple[str, ...], children: Any) -> _Tree:
        tree = object.__new__(cls)  # no checks: JAX puts anything into the leaves
        object.__setattr__(tree, "_children", dict(zip(names, children, strict=True)))
        return tree

    return unflatten


def leaf_paths(tree: NamedTree, prefix: str = "") -> Iterator[str]:
    """The dotted paths of the values of `tree`, in its order."""
    for name, child in tree.items():
        if isinstance(child, NamedTree):
            yield from leaf_paths(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


class Params(NamedTree):
    """The structured view of a model's parameters: `ps.encoder.weight`, `ps["encoder"]["weight"]`, `ps["encoder.weight"]`."""

    __slots__ = ()
