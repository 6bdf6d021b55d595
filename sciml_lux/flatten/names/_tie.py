"""Tying parameters: one stored parameter shown in several places."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import LayoutError
from .._declare import Entry
from .._flat_params import FlatParams
from .._layout import Layout, layout_of
from ..maps import AbstractRavelMap, ArraySpec, Spec, Tied
from ._selection import Selection, select

Where = TypeVar("Where", Layout, FlatParams)


@dataclass(frozen=True)
class Transposed(AbstractRavelMap):
    """Shows an array with its axes permuted (default: in reverse order), and stores it as it was before."""

    axes: tuple[int, ...] | None = None

    def forward(self, unconstrained: Any) -> Any:
        """The array with its axes permuted."""
        return jnp.transpose(unconstrained, self.axes)

    def inverse(self, value: Any) -> Any:
        """The array with its axes as they were."""
        return jnp.transpose(value, self._back(value.ndim))

    def size(self, spec: Spec) -> int:
        assert isinstance(spec, ArraySpec)
        return spec.size

    def ravel(self, value: Any, spec: Spec) -> Float[Array, " size"]:
        return jnp.reshape(self.inverse(value), (-1,))

    def unravel(self, segment: Float[Array, " size"], spec: Spec) -> Any:
        assert isinstance(spec, ArraySpec)
        back = self._back(len(spec.shape))
        return self.forward(jnp.reshape(segment, tuple(spec.shape[axis] for axis in back)))

    def _back(self, axes: int) -> tuple[int, ...]:
        order = tuple(reversed(range(axes))) if self.axes is None else self.axes
        return tuple(order.index(axis) for axis in range(axes))


def tie(where: Where, paths: Sequence[str], through: AbstractRavelMap | None = None) -> Where:
    """Stores one parameter that several paths show.

        ps = lux.flatten.tie(ps, ["encoder.weight", "decoder.weight"], through=lux.flatten.Transposed())
        ps = lux.flatten.tie(ps, ["block_0", "block_1", "block_2"])           # whole layers, entry by entry

    **Arguments:** `where`: a layout, or parameters, whose values at the first path are kept; `paths`: entries, or
    subtrees of equal structure; the
    first is stored, the others show it; `through`: a map whose `forward` the others show it through.

    **Returns:** a new layout, or parameters, shorter by what the others took. Gradients of all places add up. A tie survives `partition`,
    `transplant` and files.

    **Errors:** `PathError` for an unknown path; `LayoutError` for shapes that differ, for something that is tied
    already, and for fewer than two paths.
    """
    layout = layout_of(where)
    if isinstance(paths, str) or len(paths) < 2:
        raise LayoutError(f"tie takes at least two paths, got {paths!r}")
    sources, *groups = [select(layout, path).entries for path in paths]
    changed = {}
    for path, group in zip(paths[1:], groups, strict=True):
        if len(group) != len(sources):
            raise LayoutError(
                f"{path} has {len(group)} entries, {paths[0]} has {len(sources)}; tie subtrees of equal structure"
            )
        for source, entry in zip(sources, group, strict=True):
            _check(layout, source, entry, through)
            changed[entry.path] = dataclasses.replace(entry, size=0, ravel_map=Tied(source.path, through))
    tied = layout.with_entries(changed)
    if not isinstance(where, FlatParams):
        return tied
    kept = tuple(entry for entry in layout.entries if entry.path not in changed)
    return FlatParams(Selection(layout, kept).take(where.vector), tied)


def _check(layout: Layout, source: Entry, entry: Entry, through: AbstractRavelMap | None) -> None:
    if isinstance(source.ravel_map, Tied) or any(
        isinstance(other.ravel_map, Tied) and other.ravel_map.source == entry.path for other in layout.entries
    ):
        raise LayoutError(f"{source.path} or {entry.path} is part of another tie; tie all the paths at once")
    if source.path == entry.path:
        raise LayoutError(f"{entry.path} cannot be tied to itself")
    shown = source.spec
    if through is not None:
        if not isinstance(shown, ArraySpec):
            raise LayoutError(
                f"{source.path} holds a whole layer, which can only be shown as it is; tie it without through="
            )
        shape = jax.eval_shape(through.forward, jax.ShapeDtypeStruct(shown.shape, shown.dtype)).shape  # type: ignore[attr-defined]
        shown = ArraySpec(shape, shown.dtype)
    same = shown == entry.spec if not isinstance(shown, ArraySpec) else shown.shape == entry.shape
    if not same:
        raise LayoutError(
            f"{entry.path} has shape {entry.shape}, {source.path} would show {shown}; "
            "tie parameters of one shape, or write through=Transposed()"
        )
