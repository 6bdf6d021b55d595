"""Confidence intervals by name."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import scipy.special

from .._coordinates import positions
from .._labels import shown
from .._names import resolve
from ._box import box_of
from ._estimate import Estimate
from ._laplace import coordinate_covariance
from ._profile import profiles

Intervals = dict[str, tuple[float, float]]


def wald_intervals(estimate: Estimate, level: float, names: Sequence[str] | None) -> Intervals:
    """The estimate and so many standard errors to both sides, where a number has a coordinate of its own there, and within its bounds: an
    interval of a rate that is stored as a logarithm does not reach below 0."""
    if not 0 < level < 1:
        raise ValueError(f"a level is between 0 and 1, got {level}")
    width = scipy.special.ndtri((1 + level) / 2)
    where, box = positions(estimate.point.layout), box_of(estimate.coordinates)
    errors = np.sqrt(np.diag(coordinate_covariance(estimate)))
    stderr = np.sqrt(np.diag(estimate.covariance))
    values = np.concatenate([np.zeros(0), *(np.ravel(estimate.values[path]) for path in _arrays(estimate))])
    ends = []
    for sign in (-1, 1):
        moved = np.asarray(estimate.point.vector, np.float64) + sign * width * np.where(
            np.isfinite(errors), errors, 0.0
        )
        moved = np.clip(moved, box.lower, box.upper)
        params = estimate.point.layout.unravel(jnp.asarray(moved, estimate.point.layout.dtype))
        there = np.concatenate([np.zeros(0), *(np.ravel(params[path]) for path in _arrays(estimate))])
        own = np.array([name in where for name in estimate.names], bool)
        ends.append(np.where(own, there, values + sign * width * stderr))
    lower, upper = np.minimum(*ends), np.maximum(*ends)
    lower, upper = (
        np.where(np.isfinite(stderr), end, np.where(np.isnan(stderr), np.nan, sign * np.inf))
        for end, sign in ((lower, -1), (upper, 1))
    )
    asked = estimate.names if names is None else [resolve(name, estimate.names, "conf_interval") for name in names]
    index = {name: i for i, name in enumerate(estimate.names)}
    return {name: (float(lower[index[name]]), float(upper[index[name]])) for name in asked}


def _arrays(estimate: Estimate) -> list[str]:
    return [array.path for array in shown(estimate.point.layout) if array.estimated]


def profile_intervals(estimate: Estimate, level: float, names: Sequence[str] | None, method: str) -> Intervals:
    """**Errors:** `ValueError` for an unknown method."""
    if method != "profile":
        raise ValueError(f'intervals are by method="wald" or "profile", got {method!r}')
    found = profiles(estimate, names, level, points=12)
    return {name: line.interval(level) for name, line in found.lines.items()}
