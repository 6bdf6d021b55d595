"""Closed bounds: a box along a vector, and how bounds are written and checked."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from .._errors import ShapeError
from ..solvers.least_squares import Numbers


class Box(NamedTuple):
    """`lower <= vector <= upper`, infinite where there is no bound; where they are equal a number is fixed."""

    lower: Float[Numbers, " size"]
    upper: Float[Numbers, " size"]

    def sides(self, vector: Float[Numbers, " size"]) -> np.ndarray:
        """Of each number on which bound it is: -1 the lower, 1 the upper, 0 none, and 2 if both are one, so that it is fixed."""
        lower, upper, at = (np.asarray(array) for array in (self.lower, self.upper, vector))
        return np.where(lower == upper, 2, np.where(at <= lower, -1, np.where(at >= upper, 1, 0)))


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


def limits_of(which: str, limit: object, names: Sequence[str]) -> np.ndarray:
    """One for each of these names."""
    array = np.array(limit, np.float64)
    if array.shape not in ((), (len(names),)) or np.any(np.isnan(array)):
        raise ShapeError(
            f"the {which} bounds are one number or one for each of {', '.join(names)}, got {limit!r}; write inf where there is none"
        )
    return np.broadcast_to(array, (len(names),))
