"""Selecting parts of the vector by name: masks, indices, sub-vectors, labels, blocks of derivatives."""

import fnmatch
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..._errors import LayoutError, PathError, unknown_name
from ...kernels import concatenate, split
from .._declare import Entry
from .._exact_arrays import as_array
from .._flat_params import FlatParams
from .._layout import Layout, contains, layout_of
from ..maps import ArraySpec

Pattern = str | Sequence[str] | Callable[[str, Entry], bool]
"""What selects entries: a path or glob, several of them, or a predicate on `(path, entry)`."""

_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Selection:
    """Some of the entries of a layout, in its order. Made by `select`.

    **Attributes:** `layout`; `entries`; `size`: how many numbers of the vector they take; `runs`: `(start, stop)` of
    the contiguous pieces of the vector that hold them.
    """

    layout: Layout
    entries: tuple[Entry, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the entries."""
        return tuple(entry.path for entry in self.entries)

    @property
    def size(self) -> int:
        """How many numbers of the vector are selected."""
        return sum(stop - start for start, stop in self.runs)

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """`(start, stop)` of the contiguous pieces of the vector."""
        # A tied entry lies where its source does.
        stored = {self.layout.stored(entry) for entry in self.entries}
        runs: list[tuple[int, int]] = []
        for entry in sorted(stored, key=lambda entry: entry.offset):
            start, stop = entry.offset, entry.offset + entry.size
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], stop)
            elif stop > start:
                runs.append((start, stop))
        return tuple(runs)

    @property
    def indices(self) -> Int[np.ndarray, " selected"]:
        """The positions in the vector."""
        return np.concatenate([np.arange(0), *(np.arange(start, stop) for start, stop in self.runs)])

    def mask(self, dtype: Any = bool) -> Bool[np.ndarray, " size"] | Float[np.ndarray, " size"]:
        """A vector that is True (or 1, for another `dtype`) at the selected positions."""
        mask = np.zeros(self.layout.size, dtype)
        for start, stop in self.runs:
            mask[start:stop] = 1
        return mask

    def take(self, vector: Any) -> Float[Array, "*batch selected"]:
        """The selected numbers of a vector (or of the `FlatParams` that holds it), as contiguous pieces end to end."""
        vector = vector.vector if isinstance(vector, FlatParams) else vector
        self.layout.check_vector(vector)
        bounds = [0, *itertools.chain.from_iterable(self.runs), self.layout.size]
        pieces = split(vector, tuple(int(size) for size in np.diff(bounds)))[1::2]
        return concatenate(pieces) if pieces else vector[..., :0]

    @property
    def labels(self) -> tuple[str, ...]:
        """One name for each selected number."""
        every = labels(self.layout)
        return tuple(every[i] for i in self.indices)

    def __repr__(self) -> str:
        return f"Selection of {self.size} numbers of {self.layout.size}: {', '.join(self.paths)}"


def select(where: Layout | FlatParams, pattern: Pattern) -> Selection:
    """The entries of a layout that a pattern names.

    **Arguments:** `where`: a layout, or the parameters that have it; `pattern`: a path (an entry, or everything
    below it), a glob in which `*`
    stands for any characters, dots included, and braces for alternatives (`encoder.*`, `*.bias`,
    `layer_{0,2}.weight`, `layer_{2..4}`), a sequence of
    them, or a predicate on `(path, entry)`. For layers of a type: `select(ps, lux.layer_paths(model, lux.Dense))`.

    **Errors:** `PathError` if the selection, or one of several patterns, is empty; it shows the nearest names.
    """
    layout = layout_of(where)
    if callable(pattern):
        chosen = tuple(entry for entry in layout.entries if pattern(entry.path, entry))
        if not chosen:
            raise PathError(f"the predicate selects none of the {len(layout)} entries")
        return Selection(layout, chosen)
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    alternatives = [(text, list(expand_braces(text))) for text in patterns]
    paths = [entry.path for entry in layout.entries]
    for text, globs in alternatives:
        for glob in globs:
            if not any(matches(path, glob) for path in paths):
                raise PathError(unknown_name("entry", glob, paths) + (f" (from {text!r})" if glob != text else ""))
    globs = [glob for _, expanded in alternatives for glob in expanded]
    chosen = tuple(entry for entry in layout.entries if any(matches(entry.path, glob) for glob in globs))
    if not chosen:
        raise PathError("an empty list of patterns selects nothing")
    return Selection(layout, chosen)


def matches(path: str, glob: str) -> bool:
    """Whether `path`, or something that it lies below, matches a glob without braces."""
    if not any(character in glob for character in "*?["):
        return contains(glob, path)
    steps = path.split(".")
    return any(fnmatch.fnmatchcase(".".join(steps[:n]), glob) for n in range(1, len(steps) + 1))


def expand_braces(text: str) -> Iterator[str]:
    """The alternatives of a pattern: `a_{0,2}` gives `a_0`, `a_2`; `a_{2..4}` gives `a_2`, `a_3`, `a_4`."""
    found = _BRACES.search(text)
    if not found:
        yield text
        return
    inside = found.group(1)
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    options = map(str, range(int(numbers[1]), int(numbers[2]) + 1)) if numbers else inside.split(",")
    for option in options:
        yield from expand_braces(text[: found.start()] + option.strip() + text[found.end() :])


# Names for numbers


def scalar_labels(path: str, shape: tuple[int, ...]) -> list[str]:
    """One name for each element of an array, in C order: `decoder.weight[3,2]`; a scalar is called by its path."""
    return [f"{path}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)] if shape else [path]


def labels(where: Layout | FlatParams) -> tuple[str, ...]:
    """One name for each number of the vector: `decoder.weight[3,2]`.

    The numbers of a map that stores other than one for each element are counted: `covariance[0]`, `covariance[1]`, ...
    """
    layout = layout_of(where)
    names: list[str] = []
    for entry in sorted(layout.entries, key=lambda entry: entry.offset):
        if isinstance(entry.spec, ArraySpec) and entry.spec.size == entry.size:
            names += scalar_labels(entry.path, entry.spec.shape)
        elif entry.size:
            names += scalar_labels(entry.path, (entry.size,))
    return tuple(names)


def label_index(where: Layout | FlatParams, label: str) -> int:
    """The position in the vector of the number with that label. **Errors:** `PathError` with the nearest labels."""
    names = labels(where)
    try:
        return names.index(label)
    except ValueError:
        raise PathError(unknown_name("label", label, names)) from None


def block(derivative: Any, *patterns: Pattern) -> Float[Array, "..."]:
    """The block of a Jacobian or Hessian that belongs to some names.

        hessian = jax.hessian(loss)(ps)
        block(hessian, "encoder", "rates")            # rows of the encoder, columns of the rates
        block(jax.jacobian(f)(ps), "rates")           # all rows, columns of the rates

    **Arguments:** `derivative`: what JAX returns when it differentiates by `FlatParams`, once or twice; `patterns`: as for
    `select`, one for each time.

    **Errors:** `LayoutError` for another number of patterns; `PathError` for a name that selects nothing.
    """
    layouts = []
    while isinstance(derivative, FlatParams):
        layouts.append(derivative.layout)
        derivative = derivative.vector
    if len(layouts) != len(patterns) or not layouts:
        raise LayoutError(
            f"got {len(patterns)} patterns for a derivative taken {len(layouts)} times by FlatParams; give one for each"
        )
    first = derivative.ndim - len(layouts)
    for axis, (layout, pattern) in enumerate(zip(layouts, patterns, strict=True), start=first):
        derivative = jax.numpy.take(derivative, select(layout, pattern).indices, axis=axis)
    return derivative


def per_group(where: Layout | FlatParams, values: Mapping[str, float]) -> Float[np.ndarray, " size"]:
    """A vector that holds, for each number, the value of the group that it belongs to.

    Optimisers of optax act on the vector element by element, so that it serves as a learning rate or a weight decay:

        rates = lux.flatten.per_group(ps, {"*": 1e-3, "encoder.*": 1e-4})      # later patterns win
        decay = lux.flatten.per_group(ps, {"*.weight": 1e-2, "*.bias": 0.0})
        optimizer = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(decay), optax.scale_by_learning_rate(rates))

    **Arguments:** `where`: a layout, or the parameters that have it; `values`: from patterns, as for `select`, to numbers.

    **Errors:** `PathError` for a pattern that selects nothing; `LayoutError` if some entry belongs to no group.
    """
    layout = layout_of(where)
    vector = np.full(layout.size, np.nan, layout.dtype)
    for pattern, value in values.items():
        for start, stop in select(layout, pattern).runs:
            vector[start:stop] = as_array(value, layout.dtype, str(pattern))
    left_out = [e.path for e in layout.entries if np.isnan(vector[e.offset : e.offset + e.size]).any()]
    if left_out:
        raise LayoutError(f'no value for {", ".join(left_out)}; begin with a value for all others, {{"*": ...}}')
    return vector
