"""Names for every scalar of a parameter vector as the user sees it: `alpha`, `decoder.weight[3,2]`."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from ..flatten import ArraySpec, Entry, FlatParams, Layout, Params, leaf_paths


@dataclass(frozen=True)
class Shown:
    """One array of the structured view: its path and shape, the entry that stores it, and whether it is estimated or constant."""

    path: str
    shape: tuple[int, ...]
    entry: Entry

    @property
    def estimated(self) -> bool:
        return self.entry.size > 0

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def labels(self) -> list[str]:
        """One for each scalar, in C order."""
        if not self.shape:
            return [self.path]
        return [f"{self.path}[{','.join(map(str, index))}]" for index in np.ndindex(*self.shape)]


def shown(layout: Layout) -> Iterator[Shown]:
    """The arrays of the structured view, in its order."""
    for entry in layout.entries:
        if isinstance(entry.spec, ArraySpec):
            yield Shown(entry.path, entry.spec.shape, entry)
            continue
        for path in leaf_paths(entry.spec):
            yield Shown(f"{entry.path}.{path}" if entry.path else path, entry.spec[path].shape, entry)


def estimated_names(layout: Layout) -> tuple[str, ...]:
    """One label for each scalar that is estimated: constants are left out."""
    return tuple(label for array in shown(layout) if array.estimated for label in array.labels)


def active_names(layout: Layout, sides: np.ndarray) -> dict[str, str]:
    """The names of parameters on a bound, and which it is."""
    words, found = {-1: "lower", 1: "upper", 2: "fixed"}, {}
    for array in shown(layout):
        # A map that is none stores what is shown; others have no bounds.
        if array.size == array.entry.size:
            part = sides[array.entry.offset : array.entry.offset + array.entry.size]
            found |= {label: words[side] for label, side in zip(array.labels, part.tolist(), strict=True) if side}
    return found


def structured(numbers: np.ndarray, ps: FlatParams) -> Params:
    """Numbers for the estimated scalars in the shape of the parameters, 0 for the constants."""
    leaves, offset = [], 0
    for array in shown(ps.layout):
        chunk = numbers[offset : offset + array.size] if array.estimated else np.zeros(array.size)
        offset += array.size if array.estimated else 0
        leaves.append(chunk.reshape(array.shape).astype(ps.layout.dtype))
    return jax.tree.unflatten(jax.tree.structure(ps.params), jax.device_put(leaves))
