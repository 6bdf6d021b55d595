"""Fits from a minimum with a parameter held, and the interval in which they are not much worse."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.optimize

from .._errors import SolveError
from ..flatten import FlatParams
from ..solvers import LevenbergMarquardt
from ._bounds import Box
from ._coordinates import value_at
from ._evaluate import describe_point
from ._task import Task

# A fit of all others from the neighbouring point, which is near.
_STEPS = 200

# So many times an end is looked for farther out, each at most four times as far as the one before.
_FARTHER = 12

# Of what the sum of squares may rise by: a fall by this share is one.
_LOWER = 1e-3


class Refits(NamedTuple):
    """The task of an estimate, the `point` where it ended, in the coordinates of the search, and the bounds there."""

    task: Task
    point: FlatParams
    box: Box | None

    @property
    def ends(self) -> Box:
        """The bounds, infinite where there are none."""
        if self.box is not None:
            return self.box
        none = np.full(self.point.layout.size, np.inf, self.point.layout.dtype)
        return Box(jnp.asarray(-none), jnp.asarray(none))

    def held(self, index: int, at: float, start: np.ndarray) -> tuple[float, np.ndarray]:
        """The least sum of squares with one number of the vector held, by equal bounds, and the vector there; infinite where the
        residual is not finite."""
        vector, lower, upper = (np.array(array) for array in (start, self.ends.lower, self.ends.upper))
        vector[index] = lower[index] = upper[index] = at
        box = Box(jnp.asarray(lower), jnp.asarray(upper))
        try:
            solved = self._least_squares.run(self.point.replace(jnp.asarray(vector)), box, _STEPS)
        except SolveError:
            return np.inf, start
        return 2 * self.task.loss.cost(np.asarray(solved.end.residual)), np.asarray(solved.ps.vector)

    @property
    def _least_squares(self) -> Task:
        # Whatever found the minimum, bounds are kept by one solver.
        kept = isinstance(self.task.solver, LevenbergMarquardt)
        return self.task if kept else self.task._replace(solver=LevenbergMarquardt())

    def interval(self, index: int, first: float, least: float, rise: float) -> tuple[float, float]:
        """The values of one number between which the least sum of squares, all others fitted anew, is at most `least + rise`, as they are
        shown; infinite where it does not rise so far before a bound.

        **Arguments:** `first`: how far the ends are expected; `least`: the sum of squares at the estimate.

        **Errors:** `SolveError` where a lower sum of squares is found.
        """
        found = [_End(self, index, sign, least, rise).find(first) for sign in (-1, 1)]
        layout, vector = self.point.layout, np.asarray(self.point.vector)
        shown = [value_at(layout, _with(vector, index, np.clip(end, -1e300, 1e300)), index) for end in found]
        # A map may turn the order round.
        pairs = sorted(zip(shown, found, strict=True), key=lambda pair: pair[0])
        (lower, below), (upper, above) = pairs
        return lower if np.isfinite(below) else -np.inf, upper if np.isfinite(above) else np.inf


class _End:
    """One end of an interval: `height` is 0 there, and changes nearly in proportion to the distance."""

    def __init__(self, refits: Refits, index: int, sign: int, least: float, rise: float) -> None:
        self.refits, self.index, self.sign, self.least, self.rise = refits, index, sign, least, rise
        self.centre = float(refits.point.vector[index])
        self.points = {self.centre: np.asarray(refits.point.vector)}
        self.heights = {self.centre: -np.sqrt(rise)}

    def height(self, at: float) -> float:
        """The root of the rise of the sum of squares at a value, less that of the rise at the end."""
        if at not in self.heights:
            nearest = self.points[min(self.points, key=lambda other: abs(other - at))]
            squares, vector = self.refits.held(self.index, at, nearest)
            if squares < self.least - _LOWER * self.rise:
                raise SolveError(
                    f"with parameters held, a sum of squares of {squares:.6g} was found, beside {self.least:.6g} at the estimate, which is "
                    f"therefore no minimum; start again at {_named(self.refits, vector)}"
                )
            # What is not finite is higher than anything: the end is at its edge, to which brackets shrink.
            rise = min(squares - self.least, 4 * self.rise)
            self.points |= {at: vector} if np.isfinite(squares) else {}
            self.heights[at] = float(np.sqrt(max(rise, 0.0)) - np.sqrt(self.rise))
        return self.heights[at]

    def find(self, first: float) -> float:
        """Outwards until the end is passed, and then between the last two."""
        low, high = (float(end[self.index]) for end in self.refits.ends)
        before, distance = self.centre, 1.05 * first
        for _ in range(_FARTHER):
            at = float(np.clip(self.centre + self.sign * distance, low, high))
            if at == before:
                break
            if self.height(at) >= 0:
                found = scipy.optimize.root_scalar(self.height, bracket=(before, at), xtol=1e-7 * distance)
                return float(found.root)
            share = 1 + self.height(at) / np.sqrt(self.rise)
            before, distance = at, distance * float(np.clip(1.05 / max(share, 1e-3), 1.2, 4.0))
        return self.sign * np.inf


def _with(vector: np.ndarray, index: int, at: float) -> np.ndarray:
    vector = vector.copy()
    vector[index] = at
    return vector


def _named(refits: Refits, vector: np.ndarray) -> str:
    return describe_point(refits.point.replace(jnp.asarray(vector)))
