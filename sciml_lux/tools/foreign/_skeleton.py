"""What remains of a foreign model when its arrays are taken out: a static value, which puts arrays back in."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..._errors import LayerError
from ...core import State
from ...flatten import Parameter, Parameters, Tied, as_array


@dataclass(frozen=True)
class Slot:
    """One leaf: a parameter, an array of the state, or a static value.

    `path`: its dotted name; `shape` and `dtype`: of an array (no dtype for a Python number, which takes that of the vector);
    `value`: of a static leaf; `source`: the path of the parameter that this one is, if it is the same array again.
    """

    kind: Literal["parameter", "state", "static"]
    path: str
    shape: tuple[int, ...] = ()
    dtype: Any = None
    value: Any = None
    source: str | None = None


@dataclass(frozen=True)
class Skeleton:
    """The structure of a pytree with the role of each leaf. Equal for trees of equal structure, shapes and static values."""

    structure: Any
    slots: tuple[Slot, ...]
    order: tuple[int, ...]

    def fill(self, ps: Parameters, st: State) -> Any:
        """The tree with these parameters and this state."""
        leaves = [
            slot.value if slot.kind == "static" else (ps if slot.kind == "parameter" else st)[slot.path]
            for slot in self.slots
        ]
        return jax.tree.unflatten(self.structure, leaves)

    def parameters(self, tree: Any) -> dict[str, Any]:
        """The parameters of a tree of this structure, as declarations."""
        leaves = jax.tree.leaves(tree)
        return self._named("parameter", lambda i, slot: _declared(slot, leaves[i]))

    def states(self, tree: Any) -> dict[str, Any]:
        """The arrays of a tree of this structure that are not trained."""
        leaves = jax.tree.leaves(tree)
        return self._named("state", lambda i, slot: as_array(leaves[i], what="the state"))

    def missing_parameters(self) -> dict[str, Any]:
        """NaN in place of each parameter."""
        return self._named("parameter", lambda i, slot: _declared(slot, _nan(slot)))

    def missing_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        """In place of each array: NaN, zeros for integers, and random keys for keys."""
        return self._named("state", lambda i, slot: _blank(slot, jax.random.fold_in(key, i)))

    def _named(self, kind: str, value: Callable[[int, Slot], Any]) -> dict[str, Any]:
        return nested((self.slots[i].path, value(i, self.slots[i])) for i in self.order if self.slots[i].kind == kind)


def path_of(keys: Sequence[Any]) -> str:
    """A dotted path; what cannot stand in a name becomes an underscore. A tree that is one leaf is called `value`."""
    names = [re.sub(r"\W", "_", jax.tree_util.keystr((key,), simple=True)) or "_" for key in keys]
    return ".".join(names) or "value"


def skeleton_of(
    tree: Any,
    kind_of: Callable[[Any], str],
    *,
    tie: bool = False,
    name_of: Callable[[Sequence[Any]], str] = path_of,
) -> Skeleton:
    """The skeleton of `tree`. `kind_of` says what a leaf is; with `tie`, the same array twice is one parameter.

    **Errors:** `LayerError` for two leaves of one name.
    """
    keyed, structure = jax.tree_util.tree_flatten_with_path(tree)
    paths = [name_of(keys) for keys, _ in keyed]
    if len(set(paths)) < len(paths):
        twice = min(path for path in paths if paths.count(path) > 1)
        raise LayerError(f"two leaves have the name {twice}; names are made of letters, digits and underscores")
    first: dict[int, str] = {}
    slots = []
    for path, (_, leaf) in zip(paths, keyed, strict=True):
        kind: Any = kind_of(leaf)
        source = first.setdefault(id(leaf), path) if tie and kind == "parameter" else path
        slots.append(
            Slot(kind, path, value=leaf)
            if kind == "static"
            else Slot(
                kind, path, np.shape(leaf), getattr(leaf, "dtype", None), source=None if source == path else source
            )
        )
    ranks = [_rank(tree, keys) for keys, _ in keyed]
    order = tuple(sorted(range(len(slots)), key=lambda i: (ranks[i], i)))
    return Skeleton(structure, tuple(slots), order)


def is_float(leaf: Any) -> bool:
    """Whether a leaf is an array of real or complex floating-point numbers."""
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array of numbers, flags or random keys."""
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Dotted names as nested mappings."""
    tree: dict[str, Any] = {}
    for path, value in pairs:
        *above, name = path.split(".")
        node = tree
        for step in above:
            node = node.setdefault(step, {})
        node[name] = value
    return tree


def _rank(tree: Any, keys: Sequence[Any]) -> tuple[int, ...]:
    """Where a leaf stands in the order of declaration, as far as mappings remember it: JAX sorts them by key."""
    ranks = []
    for key in keys:
        if not (isinstance(tree, Mapping) and isinstance(key, jax.tree_util.DictKey)):
            break
        ranks.append(list(tree).index(key.key))
        tree = tree[key.key]
    return tuple(ranks)


def _declared(slot: Slot, value: Any) -> Any:
    if slot.source is None:
        return value
    return Parameter(value, Tied(slot.source, up=slot.path.count(".") + 1))


def _nan(slot: Slot) -> Any:
    return float("nan") if slot.dtype is None else jnp.full(slot.shape, float("nan"), slot.dtype)


def _blank(slot: Slot, key: Key[Array, ""]) -> Any:
    if jnp.issubdtype(slot.dtype, jax.dtypes.prng_key):
        return jax.random.split(key, slot.shape) if slot.shape else key
    return _nan(slot) if jnp.issubdtype(slot.dtype, jnp.inexact) else jnp.zeros(slot.shape, slot.dtype)
