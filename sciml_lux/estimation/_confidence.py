"""Confidence intervals of least squares."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from .._errors import ParameterError
from ._coordinates import positions
from ._evaluate import value_jacobian
from ._labels import estimated_names
from ._names import resolve
from ._refits import Refits
from ._wald import Intervals, check_level, wald_intervals


class Squares(NamedTuple):
    """What is known of the sum of squares at an estimate: its least value, the numbers of data and of degrees of freedom, and whether
    residuals are in units of standard deviations that are known."""

    least: float
    num_data: int
    degrees_of_freedom: int
    absolute: bool

    @property
    def variance(self) -> float:
        """Of one residual; NaN without degrees of freedom."""
        return 1.0 if self.absolute else self.least / self.degrees_of_freedom if self.degrees_of_freedom else math.nan

    def width(self, level: float) -> float:
        """How many standard errors an interval reaches: the quantile of Student's t, or of the normal density."""
        if self.absolute:
            return float(scipy.special.ndtri((1 + level) / 2))
        return float(scipy.special.stdtrit(self.degrees_of_freedom, (1 + level) / 2))

    def rise(self, level: float, method: str) -> float:
        """By how much the sum of squares may rise."""
        if not self.absolute and not self.degrees_of_freedom:
            return math.inf
        chi_square = float(scipy.special.ndtri((1 + level) / 2)) ** 2
        if self.absolute:
            return chi_square
        if method == "profile":
            return self.least * math.expm1(chi_square / self.num_data)
        return self.variance * float(scipy.special.fdtri(1, self.degrees_of_freedom, level))


def intervals_of(
    refits: Refits, squares: Squares, stderr: np.ndarray, level: float, method: str, names: str | Sequence[str] | None
) -> Intervals:
    """**Errors:** `ValueError` for a level that is none, an unknown method, and one that a robust loss has not; `ParameterError` for
    unknown names, and an estimate at which the residual is not finite."""
    check_level(level)
    if method not in ("wald", "profile", "f-test"):
        raise ValueError(f'intervals are by method="wald", "profile" or "f-test", got {method!r}')
    loss, layout = refits.task.loss, refits.point.layout
    if method != "wald" and not loss.is_linear:
        raise ValueError(
            f'method={method!r} is of the sum of squares, and loss={loss.name!r} was minimised; write method="wald"'
        )
    if not math.isfinite(squares.least):
        raise ParameterError("a fit that failed has no intervals: it has no point to go from")
    names = [names] if isinstance(names, str) else names
    where, errors = positions(layout), np.full(layout.size, np.nan)
    slopes = np.asarray(value_jacobian(layout, refits.point.vector), np.float64)
    for i, name in enumerate(estimated_names(layout)):
        if name in where:
            errors[where[name]] = stderr[i] / abs(slopes[i, where[name]])
    if method == "wald":
        return wald_intervals(refits.point, refits.ends, errors, stderr, squares.width(level), names)
    sides = refits.ends.sides(refits.point.vector)
    free = [name for name in where if sides[where[name]] != 2]
    asked = free if names is None else [resolve(name, free, "conf_interval") for name in names]
    return {name: _interval(refits, squares, where[name], errors, squares.rise(level, method)) for name in asked}


def _interval(refits: Refits, squares: Squares, index: int, errors: np.ndarray, rise: float) -> tuple[float, float]:
    if not math.isfinite(rise):
        return -math.inf, math.inf
    expected = float(errors[index]) * math.sqrt(rise / squares.variance) if squares.variance > 0 else math.nan
    if not (math.isfinite(expected) and expected > 0):
        expected = 0.1 * (abs(float(refits.point.vector[index])) or 1.0)
    return refits.interval(index, expected, squares.least, rise)
