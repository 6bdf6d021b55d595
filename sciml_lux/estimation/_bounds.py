"""Closed bounds on parameters that are stored as they are: read, checked, and laid out along the vector."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._errors import ParameterError, ShapeError, unknown_name
from ..flatten import Entry, FlatParams, Layout
from ..flatten.maps import Real
from ..solvers import LevenbergMarquardt


class Box(NamedTuple):
    """`lower <= vector <= upper`, infinite where there is no bound; where they are equal a number is fixed."""

    lower: Float[Array, " size"]
    upper: Float[Array, " size"]

    def sides(self, vector: Float[Array, " size"]) -> np.ndarray:
        """Of each number on which bound it is: -1 the lower, 1 the upper, 0 none, and 2 if both are one, so that it is fixed."""
        lower, upper, at = (np.asarray(array) for array in (self.lower, self.upper, vector))
        return np.where(lower == upper, 2, np.where(at <= lower, -1, np.where(at >= upper, 1, 0)))


def box_of(bounds: object, ps: FlatParams, solver: object) -> Box | None:
    """`bounds = (lower, upper)` along the vector of `ps`; each is a number, or a mapping of paths to numbers or arrays.

    **Errors:** `ShapeError` for what is no pair or does not fit; `ParameterError` for an unknown path, a parameter that a map stores,
    or a solver that knows no bounds; `ValueError` for bounds the wrong way round or NaN, and a start outside of them.
    """
    if bounds is None:
        return None
    if not isinstance(solver, LevenbergMarquardt):
        raise ParameterError(
            f"bounds are kept by lux.solvers.LevenbergMarquardt, and not by {type(solver).__name__}; write solver=None, or no bounds"
        )
    lower, upper = (_along(which, limits, none, ps.layout) for which, limits, none in pair(bounds))
    start = np.asarray(ps.vector, np.float64)
    for entry in ps.layout.entries:
        part = slice(entry.offset, entry.offset + entry.size)
        check_sides(entry.path, start[part], lower[part], upper[part])
    return Box(jnp.asarray(lower, ps.layout.dtype), jnp.asarray(upper, ps.layout.dtype))


def pair(bounds: object) -> list[tuple[str, Any, float]]:
    """`bounds`, checked to be two; with their names, and what stands for no bound."""
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ShapeError(f"bounds is a pair (lower, upper) of numbers or sequences, got {bounds!r}")
    return [("lower", bounds[0], -np.inf), ("upper", bounds[1], np.inf)]


def check_sides(name: str, start: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> None:
    """Raises `ValueError` unless `lower <= start <= upper`."""
    at, low, high = (np.asarray(value, np.float64) for value in (start, lower, upper))
    if np.any(low > high):
        raise ValueError(
            f"bounds of {name}: the lower is above the upper; expected lower <= upper, got {low.tolist()}, {high.tolist()}"
        )
    if np.any((at < low) | (at > high)):
        raise ValueError(f"bounds of {name}: the start {at.tolist()} is outside of [{low.tolist()}, {high.tolist()}]")


def _along(which: str, limits: object, none: float, layout: Layout) -> np.ndarray:
    vector = np.full(layout.size, none)
    if not isinstance(limits, Mapping):
        # One that is none may be given beside parameters that a map keeps within bounds of their own.
        unbounded = isinstance(limits, int | float) and limits == none
        limits = {} if unbounded else {entry.path: limits for entry in layout.entries if entry.size}
    for path, limit in limits.items():
        entry = _entry(layout, path)
        values = np.array(limit, np.float64)
        if np.any(np.isnan(values)) or values.shape not in ((), entry.spec.shape):
            raise ShapeError(
                f"the {which} bounds of {path} are one number or one for each of its {entry.spec.shape}, got {limit!r}; write inf where "
                "there is none"
            )
        vector[entry.offset : entry.offset + entry.size] = values.reshape(-1) if values.shape else values
    return vector


def _entry(layout: Layout, path: str) -> Entry:
    for entry in layout.entries:
        if entry.path == path:
            if not isinstance(entry.ravel_map, Real):
                raise ParameterError(
                    f"{path} has bounds and a map, {type(entry.ravel_map).__name__}; write one of the two"
                )
            return entry
    raise ParameterError(unknown_name("parameter", path, [entry.path for entry in layout.entries]))


def limits_of(which: str, limit: object, names: Sequence[str]) -> np.ndarray:
    """One for each of these names."""
    array = np.array(limit, np.float64)
    if array.shape not in ((), (len(names),)) or np.any(np.isnan(array)):
        raise ShapeError(
            f"the {which} bounds are one number or one for each of {', '.join(names)}, got {limit!r}; write inf where there is none"
        )
    return np.broadcast_to(array, (len(names),))
