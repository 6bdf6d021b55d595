"""Freezing by name: a vector of what is trained, a vector of what is not, and back."""

from collections.abc import Mapping
from typing import Any

from ..._errors import LayoutError
from ...kernels import concatenate, split
from .._flat_params import FlatParams
from .._layout import Layout
from .._named_tree import Params
from ._selection import Pattern, Selection, select


def partition(ps: FlatParams, trainable: Pattern) -> tuple[FlatParams, FlatParams]:
    """Parameters in two parts, each with its own contiguous vector: those to be trained, and the rest.

        theta, frozen = lux.flatten.partition(ps, trainable="decoder.*")
        gradient = jax.grad(lambda theta: loss(lux.flatten.combine(theta, frozen)))(theta)

    **Arguments:** `ps`; `trainable`: a pattern as for `select`.

    **Returns:** `(theta, frozen)`; solvers and optimisers see only what they are given. An entry that is tied to another goes
    where its source goes. Leading axes stay in front of both.

    **Errors:** `PathError` if the pattern selects nothing.
    """
    layout = ps.layout
    stored = {layout.stored(entry).path for entry in select(layout, trainable).entries}
    parts = []
    for wanted in (True, False):
        entries = tuple(entry for entry in layout.entries if (layout.stored(entry).path in stored) is wanted)
        part = Layout(_pruned(layout.tree, {entry.path for entry in entries}), layout.dtype, parent=layout)
        parts.append(FlatParams(Selection(layout, entries).take(ps.vector), part))
    return parts[0], parts[1]


def combine(theta: FlatParams, frozen: FlatParams) -> FlatParams:
    """The parameters whose two parts `partition` made, bit for bit, computed with and tied as the parts are by now.

    **Errors:** `LayoutError` if the two are not the parts of one whole.
    """
    whole = theta.layout.parent
    if whole is None or whole is not frozen.layout.parent:
        raise LayoutError("combine takes the two parts that one call of partition returned")
    if len(theta.layout) + len(frozen.layout) != len(whole) or any(
        e.path in theta.layout for e in frozen.layout.entries
    ):
        raise LayoutError("combine takes the two different parts that one call of partition returned")
    # As the parts are now: one may since compute in another dtype, or tie its own entries.
    whole = whole.with_entries({entry.path: entry for part in (theta, frozen) for entry in part.layout.entries})
    owner = [entry.path in theta.layout for entry in whole.entries if entry.size]
    sizes = [entry.size for entry in whole.entries if entry.size]
    pieces = {
        mine: iter(split(part.vector, tuple(size for size, own in zip(sizes, owner, strict=True) if own is mine)))
        for mine, part in ((True, theta), (False, frozen))
    }
    segments = [next(pieces[own]) for own in owner]
    return FlatParams(concatenate(segments), whole) if segments else FlatParams(theta.vector, whole)


def _pruned(tree: Any, paths: set[str]) -> Params:
    """`tree` without the entries that are not in `paths`, and without subtrees that this leaves empty."""

    def keep(node: Any) -> Any:
        if not isinstance(node, Mapping):
            return node if node.path in paths else None
        kept = {
            name: child for name, child in ((name, keep(child)) for name, child in node.items()) if child is not None
        }
        return Params(kept) if kept else None

    return keep(tree) or Params()
