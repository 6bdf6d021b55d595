"""What debug mode knows of the arrays of a call: shapes, and a few numbers for each, computed where the arrays are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from ...core import align


@dataclass(frozen=True)
class Line:
    """One array of a call: the group it belongs to (`input`, `output`, ...), its path there, its dtype and shape."""

    group: str
    path: str
    kind: str


def lines_of(groups: dict[str, Any]) -> tuple[tuple[Line, ...], Any]:
    """The inexact arrays of some groups of trees, and their numbers, of shape `(arrays, 5)`: traced only as far as they must be."""
    arrays = [(group, path, leaf) for group, tree in groups.items() for path, leaf in _inexact(tree)]
    lines = tuple(Line(group, path, f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]") for group, path, leaf in arrays)
    # The value of an array that is differentiated eagerly is known, and this is how to come by it.
    numbers = [_numbers(lax.stop_gradient(leaf)) for _, _, leaf in arrays]
    if not any(isinstance(row, Tracer) for row in numbers):
        return lines, np.asarray([np.asarray(row) for row in numbers]).reshape(-1, 5)
    return lines, jnp.stack(numbers)


def _inexact(tree: Any) -> Iterator[tuple[str, Any]]:
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.inexact):
            yield jax.tree_util.keystr(keys, simple=True, separator="."), leaf


@jax.jit
def _numbers(leaf: Any) -> Any:
    """Least, largest and mean of the finite elements, and how many elements are NaN and infinite."""
    nan, infinite = jnp.isnan(leaf), jnp.isinf(leaf)
    values = (jnp.abs(leaf) if jnp.iscomplexobj(leaf) else leaf).astype(jnp.result_type(float))
    finite = ~(nan | infinite)
    count = jnp.sum(finite, dtype=values.dtype)
    return jnp.stack(
        [
            jnp.min(jnp.where(finite, values, jnp.inf), initial=jnp.inf),
            jnp.max(jnp.where(finite, values, -jnp.inf), initial=-jnp.inf),
            jnp.sum(jnp.where(finite, values, 0.0) / jnp.maximum(count, 1.0)),
            jnp.sum(nan, dtype=values.dtype),
            jnp.sum(infinite, dtype=values.dtype),
        ]
    )


@dataclass(frozen=True)
class Measured:
    """The arrays of a call with their numbers, of shape `(..., arrays, 5)`: leading axes are those that were mapped over."""

    lines: tuple[Line, ...]
    numbers: np.ndarray | None  # None if they are not known while the call is traced

    def count(self, group: str, infinite: bool) -> int:
        """How many elements of a group are NaN, or infinite."""
        rows = [i for i, line in enumerate(self.lines) if line.group == group]
        return 0 if self.numbers is None else int(np.sum(self.numbers[..., rows, 3 + infinite]))

    def faults(self, group: str) -> str:
        """`""`, or what a group holds that is not finite."""
        found = [name for name, infinite in (("NaN", False), ("Inf", True)) if self.count(group, infinite)]
        return " and ".join(found)

    def where(self, group: str) -> str:
        """`" (weight)"`: the arrays of a group that are not finite, if they have names."""
        assert self.numbers is not None
        bad = [
            line.path
            for i, line in enumerate(self.lines)
            if line.group == group and line.path and np.any(self.numbers[..., i, 3:])
        ]
        return f" ({', '.join(bad)})" if bad else ""

    def table(self) -> str:
        """A line for each array."""
        rows: list[tuple[str, ...]] = [("", "", "array", "min", "max", "mean", "NaN", "Inf")]
        group = ""
        for i, line in enumerate(self.lines):
            cells = ("",) * 5 if self.numbers is None else _cells(self.numbers[..., i, :])
            rows.append(("" if line.group == group else line.group, line.path, line.kind, *cells))
            group = line.group
        return "\n".join(f"  {text}" for text in align(rows, [False] * 3 + [True] * 5)) if self.lines else ""


def _cells(numbers: np.ndarray) -> tuple[str, ...]:
    flat = numbers.reshape(-1, 5)
    low, high, mean, nan, infinite = flat[:, 0].min(), flat[:, 1].max(), flat[:, 2].mean(), *flat[:, 3:].sum(axis=0)
    shown = (f"{low:.3g}", f"{high:.3g}", f"{mean:.3g}") if low <= high else ("", "", "")
    return (*shown, f"{nan:.0f}", f"{infinite:.0f}")
