"""Carrying parameters over into a changed model."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..._errors import LayoutError
from ...kernels import concatenate
from .._declare import Entry
from .._exact_arrays import as_array
from .._flat_params import FlatParams, check_range
from .._layout import contains
from ._selection import select


@dataclass(frozen=True)
class TransplantReport:
    """What a transplant did, by path.

    **Attributes:** `matched`: carried over; `new`: in the target alone, kept as they were; `dropped`: in the source alone;
    `reshaped`: in both with another shape or map, kept as they were in the target.
    """

    matched: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __repr__(self) -> str:
        rows = [(name, getattr(self, name)) for name in ("matched", "new", "dropped", "reshaped")]
        lines = [f"  {name:9s}{len(paths):4d}  {', '.join(paths)}".rstrip() for name, paths in rows]
        return "\n".join(["TransplantReport", *lines])


def transplant(
    source: FlatParams, target: FlatParams, rename: Mapping[str, str] | None = None
) -> tuple[FlatParams, TransplantReport]:
    """The parameters of `target`, with the values of `source` wherever path, shape and map agree.

        ps, report = lux.flatten.transplant(lux.load("old.safetensors"), ps, rename={"layer_1": "layer_2"})
        print(report)                     # a layer was inserted as layer_1; the old layer_1 is now layer_2

    **Arguments:** `source`; `target`: usually fresh from `lux.setup` of the changed model; `rename`: from paths (of entries
    or subtrees) in the source to paths in the target, all at once.

    **Returns:** the new parameters, in the target's layout and dtype, and a report.

    **Errors:** `PathError` for a path to rename that the source does not have; `LayoutError` if two entries would get one name, and for
    a value beyond the range of the target's dtype.
    """
    moved = _renamed(source, rename or {})
    segments, matched, reshaped = [], [], []
    for entry in target.layout.entries:
        start, stop = entry.offset, entry.offset + entry.size
        old = moved.get(entry.path)
        same = old is not None and (old.shape, old.size, old.ravel_map) == (entry.shape, entry.size, entry.ravel_map)
        if old is not None:
            (matched if same else reshaped).append(entry.path)
        taken = (
            source.vector[..., old.offset : old.offset + old.size] if same and old else target.vector[..., start:stop]
        )
        segments.append(as_array(taken, target.layout.dtype, entry.path))
    known = {entry.path for entry in target.layout.entries}
    report = TransplantReport(
        tuple(matched),
        tuple(entry.path for entry in target.layout.entries if entry.path not in moved),
        tuple(path for path in moved if path not in known),
        tuple(reshaped),
    )
    moved_over = target.replace(concatenate(segments)) if segments else target
    if source.layout.dtype != target.layout.dtype:
        check_range(moved_over, "transplant")
    return moved_over, report


def _renamed(source: FlatParams, rename: Mapping[str, str]) -> dict[str, Entry]:
    """The entries of `source` by the path that they have in the target."""
    for old in rename:
        select(source, old)
    moved = {}
    for entry in source.layout.entries:
        olds = sorted((old for old in rename if contains(old, entry.path)), key=len)
        path = rename[olds[-1]] + entry.path[len(olds[-1]) :] if olds else entry.path
        if path in moved:
            raise LayoutError(f"{entry.path} and another entry would both be called {path}; rename that one, too")
        moved[path] = entry
    return moved
