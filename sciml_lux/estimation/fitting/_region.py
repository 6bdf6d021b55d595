"""Confidence regions of two parameters together, by the profile likelihood."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..._errors import ParameterError
from .._bounds import Box
from .._coordinates import positions, value_at
from .._names import resolve
from .._wald import check_level
from ._box import box_of
from ._estimate import Estimate
from ._lanes import Job, Searches, run_searches
from ._laplace import coordinate_covariance
from ._search import Budget

# A point of the boundary is met to this share of the distance from the estimate; it is looked for so many times.
_CLOSE, _MOST = 0.01, 12

# A fit of all others from the neighbouring point, which is near.
_BUDGET = Budget(steps=200)


@dataclass(frozen=True)
class Region:
    """The boundary of the region in which two parameters lie together with this confidence: `points`, a row for each direction from the
    estimate, in the units in which parameters are shown; `is_open`: of which the likelihood does not fall so far before a bound, or as
    far as was looked."""

    names: tuple[str, str]
    points: Float[np.ndarray, "points 2"]
    is_open: np.ndarray


def region(estimate: Estimate, first: str, second: str, level: float, points: int) -> Region:
    """Where twice the fall of the log-likelihood, all others fitted anew, is the quantile of chi-square with two degrees of freedom.

    **Errors:** `ParameterError` for names that are not two numbers which could be held, and a fit that failed; `ValueError` for a level
    that is none.
    """
    check_level(level)
    where = positions(estimate.coordinates.start.layout)
    free = [name for name in where if estimate.sides[where[name]] != 2]
    names = resolve(first, free, "region"), resolve(second, free, "region")
    if names[0] == names[1]:
        raise ParameterError(f"a region is of two parameters, got {first!r} twice")
    if estimate.outcome == "failed":
        raise ParameterError("a fit that failed has no regions: it has no point to go from")
    index = np.array([where[name] for name in names])
    limit = float(np.sqrt(-2 * np.log1p(-level)))
    angles = 2 * np.pi * np.arange(points) / points
    directions = np.stack([np.cos(angles), np.sin(angles)], 1) @ _root(estimate, index).T
    found = dict[int, tuple[np.ndarray, bool]]()
    run_searches([_ray(estimate, index, direction, limit) for direction in directions], 1, found.__setitem__)
    layout = estimate.point.layout
    ends = [[value_at(layout, found[i][0], int(one)) for one in index] for i in range(points)]
    return Region(names, np.array(ends), np.array([found[i][1] for i in range(points)]))


def _root(estimate: Estimate, index: np.ndarray) -> Float[np.ndarray, "2 2"]:
    """Of the covariance of the two; of what is not known, a tenth of a large change of each."""
    covariance = coordinate_covariance(estimate)[np.ix_(index, index)]
    if np.all(np.isfinite(covariance)) and np.linalg.eigvalsh(covariance)[0] > 0:
        return np.linalg.cholesky(covariance)
    return np.diag(0.1 * np.asarray(estimate.task.sizes, np.float64)[index])


def _ray(
    estimate: Estimate, index: np.ndarray, direction: Float[np.ndarray, " 2"], limit: float
) -> Searches[tuple[np.ndarray, bool]]:
    """The point in one direction, and whether it is an open end."""
    box, arrays, dtype = box_of(estimate.coordinates), estimate.problem.arrays, estimate.point.layout.dtype
    low, high = np.array(box.lower), np.array(box.upper)
    centre = np.asarray(estimate.point.vector, np.float64)
    with np.errstate(divide="ignore"):
        room = np.where(direction > 0, high[index] - centre[index], centre[index] - low[index]) / np.abs(direction)
    farthest = float(np.min(room))
    distance, vector = min(limit, farthest), centre
    below, above = (0.0, 0.0), (np.inf, np.inf)
    for _ in range(_MOST):
        if distance <= 0:
            break
        at = np.clip(centre[index] + distance * direction, low[index], high[index])
        ends = [np.array(end, dtype) for end in (low, high)]
        for end in ends:
            end[index] = at
        start = vector.astype(dtype)
        start[index] = at
        held = Box(jnp.asarray(ends[0]), jnp.asarray(ends[1]))
        search = yield Job(estimate.task, jnp.asarray(start), held, arrays, _BUDGET)
        drop = float(search.summary.objective) - estimate.objective
        height = float(np.sqrt(2 * max(drop, 0.0))) if np.isfinite(drop) else np.inf
        if np.isfinite(height):
            vector = np.asarray(search.point, np.float64)
        if abs(height - limit) <= _CLOSE * limit:
            return vector, False
        if height < limit:
            below = (distance, height)
            if distance >= farthest:
                break
        else:
            above = (distance, height)
        distance = min(_next(below, above, limit), farthest)
    return vector, not np.isfinite(above[0])


def _next(below: tuple[float, float], above: tuple[float, float], limit: float) -> float:
    """The distance at which the height, nearly in proportion to it, is expected to be the limit; kept away from the ends."""
    if not np.isfinite(above[0]):
        return below[0] * float(np.clip(limit / max(below[1], 1e-3), 1.1, 3.0))
    share = (limit - below[1]) / (above[1] - below[1]) if np.isfinite(above[1]) else 0.5
    return below[0] + float(np.clip(share, 0.1, 0.9)) * (above[0] - below[0])
