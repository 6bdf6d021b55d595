"""The coordinates in which an estimate is searched: those of the vector, but linear and with closed ends where a logistic map has open
ones."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._errors import ParameterError, ShapeError, unknown_name
from ..flatten import Entry, FlatParams, Layout
from ..flatten.maps import AbstractRavelMap, Bounded, Positive, PositiveSoftplus, Real, ScaledMap
from ._bounds import Box, check_sides, pair
from ._labels import shown


class Coordinates(NamedTuple):
    """`start`: the parameters in these coordinates; `box`: closed bounds there, or `None`; `layout`: as the user declared it.

    A parameter between two bounds (`lux.bounded`) is its own coordinate here: a logistic map would put an optimum on a bound infinitely
    far away, with no slope on the way. All others are stored as they are declared, a rate as its logarithm.
    """

    start: FlatParams
    box: Box | None
    layout: Layout

    def declared(self, vector: Float[Array, "*batch size"]) -> FlatParams:
        """The parameters as they were declared, of one vector or a batch. Where one is on a bound, what is stored is so far out that the
        bound itself is shown."""
        far = 2 * math.log(float(jnp.finfo(vector.dtype).max))
        stored = np.array(vector)
        for part, ravel_map in self._replaced():
            with np.errstate(divide="ignore"):
                low, high = np.log(stored[..., part] - ravel_map.lower), np.log(ravel_map.upper - stored[..., part])
            stored[..., part] = np.clip(low - high, -far, far)
        return FlatParams(jnp.asarray(stored), self.layout)

    def at(self, ps: FlatParams) -> Float[Array, " size"]:
        """The vector of other parameters, as they were declared, in these coordinates."""
        vector = np.array(ps.vector)
        for part, ravel_map in self._replaced():
            vector[part] = np.asarray(ravel_map.forward(ps.vector[part]))
        return jnp.asarray(vector)

    def rates(self, vector: Float[Array, " size"]) -> Float[np.ndarray, " size"]:
        """The derivative of each coordinate by what is stored for it."""
        rates = np.ones(len(vector))
        for part, ravel_map in self._replaced():
            at = np.asarray(vector[part], np.float64)
            rates[part] = (at - ravel_map.lower) * (ravel_map.upper - at) / (ravel_map.upper - ravel_map.lower)
        return rates

    def _replaced(self) -> list[tuple[slice, Bounded]]:
        pairs = zip(self.layout.entries, self.start.layout.entries, strict=True)
        return [
            (part_of(entry), entry.ravel_map)
            for entry, own in pairs
            if isinstance(entry.ravel_map, Bounded) and entry.ravel_map != own.ravel_map
        ]


def coordinates_of(bounds: object, ps: FlatParams, check_start: bool = True) -> Coordinates:
    """The coordinates for a search from `ps`; `bounds = (lower, upper)` are numbers, or mappings of paths to numbers or arrays, in the
    units in which parameters are shown. `check_start`: whether a start outside of them is an error; it is put on them if not.

    **Errors:** `ShapeError` for what is no pair or does not fit; `ParameterError` for an unknown path, or a parameter whose map has no
    order; `ValueError` for bounds the wrong way round or NaN, and a start outside of them.
    """
    given = [] if bounds is None else [_by_path(*side, ps.layout) for side in pair(bounds)]
    closed = {entry.path: entry.ravel_map for entry in ps.layout.entries if _has_two_ends(entry.ravel_map)}
    if not closed and not given:
        return Coordinates(ps, None, ps.layout)
    layout = ps.layout.with_entries({path: dataclasses.replace(ps.layout[path], ravel_map=Real()) for path in closed})
    vector = np.array(ps.vector, np.float64)
    lower, upper = np.full(layout.size, -np.inf), np.full(layout.size, np.inf)
    for entry in ps.layout.entries:
        part, ravel_map = part_of(entry), entry.ravel_map
        if entry.path in closed:
            assert isinstance(ravel_map, Bounded)
            vector[part] = np.asarray(ravel_map.forward(ps.vector[part]), np.float64)
            lower[part], upper[part] = ravel_map.lower, ravel_map.upper
        if any(entry.path in side for side in given):
            ends = _ends(entry, np.asarray(ps[entry.path], np.float64).reshape(-1), given, check_start, ps.layout.dtype)
            if entry.path in closed:
                _check_within(entry.path, ends, ravel_map)
                lower[part], upper[part] = np.maximum(ends[0], lower[part]), np.minimum(ends[1], upper[part])
            else:
                inside = [_inside(entry, end, side, ps.layout.dtype) for end, side in zip(ends, (1, -1), strict=True)]
                # Equal ends fix; one that was moved inside would cross the other.
                equal = ends[0] == ends[1]
                inside[1] = np.where(equal, inside[0], inside[1])
                lower[part], upper[part] = np.minimum(*inside), np.maximum(*inside)
            # The start is within what the user sees; in rounding of a logarithm it may not be.
            vector[part] = np.clip(vector[part], lower[part], upper[part])
    dtype = ps.layout.dtype
    box = Box(jnp.asarray(lower, dtype), jnp.asarray(upper, dtype))
    return Coordinates(FlatParams(jnp.asarray(vector, dtype), layout), box, ps.layout)


def part_of(entry: Entry) -> slice:
    return slice(entry.offset, entry.offset + entry.size)


def positions(layout: Layout) -> dict[str, int]:
    """Where each number lies that has a coordinate of its own: by its name, its index in the vector."""
    found: dict[str, int] = {}
    for array in shown(layout):
        if array.size == array.entry.size and has_order(array.entry.ravel_map):
            found |= {label: array.entry.offset + i for i, label in enumerate(array.labels)}
    return found


def value_at(layout: Layout, vector: np.ndarray, index: int) -> float:
    """What is shown of one number of a vector, which has a coordinate of its own."""
    params = layout.unravel(jnp.asarray(vector, layout.dtype))
    for entry in layout.entries:
        if entry.offset <= index < entry.offset + entry.size:
            return float(np.ravel(params[entry.path])[index - entry.offset])
    raise IndexError(index)


def has_order(ravel_map: AbstractRavelMap) -> bool:
    """Whether a map acts on each number by itself, and in order."""
    inner = ravel_map.inner if isinstance(ravel_map, ScaledMap) else ravel_map
    return isinstance(inner, Real | Positive | PositiveSoftplus | Bounded)


def _has_two_ends(ravel_map: AbstractRavelMap) -> bool:
    return isinstance(ravel_map, Bounded) and math.isfinite(ravel_map.lower) and math.isfinite(ravel_map.upper)


def _by_path(which: str, limits: object, none: float, layout: Layout) -> dict[str, np.ndarray]:
    """The limits of each entry that has one, one for each of its numbers."""
    if not isinstance(limits, Mapping):
        # One that is none may be given beside parameters that have no order.
        unbounded = isinstance(limits, int | float) and limits == none
        limits = {} if unbounded else {entry.path: limits for entry in layout.entries if entry.size}
    found = {}
    for path, limit in limits.items():
        if path not in layout:
            raise ParameterError(unknown_name("parameter", path, [entry.path for entry in layout.entries]))
        entry, values = layout[path], np.array(limit, np.float64)
        if not entry.size:
            raise ParameterError(
                f"{path} takes no room in the vector, so that there is nothing to bound: it is fixed or tied"
            )
        stored(path, entry.ravel_map, np.zeros(0))  # raises for a map that has no order
        if np.any(np.isnan(values)) or values.shape not in ((), entry.spec.shape):
            raise ShapeError(
                f"the {which} bounds of {path} are one number or one for each of its {entry.spec.shape}, got {limit!r}; write inf where "
                "there is none"
            )
        found[path] = np.broadcast_to(values, entry.spec.shape).reshape(-1)
    return found


def _ends(
    entry: Entry, start: np.ndarray, given: list[dict[str, np.ndarray]], check_start: bool, dtype: np.dtype[Any]
) -> list[np.ndarray]:
    """The two ends of one entry as the user sees them, checked against each other and the start."""
    ends = [
        side.get(entry.path, np.full(start.size, none)) for side, none in zip(given, (-np.inf, np.inf), strict=True)
    ]
    # A start beyond by the rounding of its map is on the bound; equal bounds fix at their own value, wherever the start is.
    near = 16 * float(jnp.finfo(dtype).eps)
    for end in ends:
        with np.errstate(invalid="ignore"):
            start = np.where(np.isfinite(end) & (np.abs(start - end) <= near * np.abs(end)), end, start)
    start = ends[0] if not check_start else np.where(ends[0] == ends[1], ends[0], start)
    check_sides(entry.path, *(array.reshape(entry.spec.shape) for array in (start, *ends)))
    return ends


def _check_within(path: str, ends: list[np.ndarray], ravel_map: AbstractRavelMap) -> None:
    """Raises `ValueError` for finite bounds beyond those of the declaration."""
    assert isinstance(ravel_map, Bounded)
    for end, beyond in ((ends[0], ends[0] < ravel_map.lower), (ends[1], ends[1] > ravel_map.upper)):
        if np.any(beyond & np.isfinite(end)):
            raise ValueError(
                f"bounds of {path}: {end.tolist()} is beyond the bounds with which it is declared, {ravel_map.lower} and {ravel_map.upper}"
            )


def stored(path: str, ravel_map: AbstractRavelMap, value: np.ndarray) -> np.ndarray:
    """What is stored for a bound as the user sees it, which may be at or beyond the end of what the map can show.

    **Errors:** `ParameterError` for a map that does not act on each number by itself, and in order.
    """
    with np.errstate(divide="ignore"):
        match ravel_map:
            case Real():
                return value
            case ScaledMap(inner, scale):
                return stored(path, inner, value / scale)
            case Positive():
                return np.log(np.maximum(value, 0.0))
            case PositiveSoftplus():
                value = np.maximum(value, 0.0)
                return value + np.log(-np.expm1(-value))
            case Bounded(lower, upper) if math.isfinite(lower):
                return np.log(np.maximum(value - lower, 0.0))
            case Bounded(lower, upper) if math.isfinite(upper):
                return np.log(np.maximum(upper - value, 0.0))
            case Bounded():
                return value
            case _:
                raise ParameterError(
                    f"{path} is stored through {type(ravel_map).__name__}, whose numbers have no bounds of their own; bound it by a "
                    "residual, or declare it with lux.real(...)"
                )


def _inside(entry: Entry, end: np.ndarray, side: int, dtype: np.dtype[Any]) -> np.ndarray:
    """What is stored for a bound, moved by the rounding of the map until what it shows is not beyond: above a lower one (`side` 1), or
    below an upper one (-1)."""
    at = stored(entry.path, entry.ravel_map, end).astype(dtype)
    finite = np.isfinite(at)
    turned = isinstance(entry.ravel_map, Bounded) and math.isfinite(entry.ravel_map.upper)  # upper - exp(u)
    for _ in range(8):
        shown_there = np.asarray(entry.ravel_map.unravel(jnp.asarray(at), entry.spec), np.float64).reshape(-1)
        beyond = finite & (side * shown_there < side * end.astype(dtype).astype(np.float64))
        if not np.any(beyond):
            break
        at = np.where(beyond, np.nextafter(at, at.dtype.type(-side if turned else side) * np.inf), at)
    return at.astype(np.float64)
