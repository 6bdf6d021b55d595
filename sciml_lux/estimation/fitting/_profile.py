"""Profile likelihoods: each parameter held at values to both sides of its estimate, all others fitted anew."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy.special
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

# A point that raises the root of twice the drop by so many times what was aimed at is too far away.
_MOST = 3.0

# So many times on each side a nearer point is looked for.
_NEARER = 6

# A fit of all others from the neighbouring point, which is near.
_BUDGET = Budget(steps=200)


@dataclass(frozen=True)
class Line:
    """The profile of one parameter: its `values`, increasing; `drop`: by how much the best objective there is above that of the estimate;
    `vectors`: the points; `converged`."""

    values: Float[np.ndarray, " points"]
    drop: Float[np.ndarray, " points"]
    vectors: Float[np.ndarray, "points size"]
    converged: np.ndarray
    best: float

    def interval(self, level: float) -> tuple[float, float]:
        """Where twice the drop is the quantile of chi-square with one degree of freedom; infinite where it does not get so far."""
        return self.within(scipy.special.ndtri((1 + level) / 2))

    def within(self, limit: float) -> tuple[float, float]:
        """Where the root of twice the drop is `limit`."""
        root = np.sign(self.values - self.best) * np.sqrt(2 * np.maximum(self.drop, 0.0))
        found = []
        for sign in (-1.0, 1.0):
            side = sign * (self.values - self.best) >= 0
            order = np.argsort(sign * self.values[side])
            height, values = np.maximum.accumulate(sign * root[side][order]), self.values[side][order]
            found.append(float(np.interp(limit, height, values)) if height[-1] >= limit else sign * np.inf)
        return found[0], found[1]


@dataclass(frozen=True)
class Profile:
    """`lines` by name; `better`: the names on whose profiles a point was found that explains the data better than the estimate does: it
    was no maximum, and a fit from there goes on."""

    lines: dict[str, Line]
    better: tuple[str, ...]

    def __getitem__(self, name: str) -> Line:
        return self.lines[resolve(name, self.lines, "profile")]

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """The confidence interval; see `Line.interval`."""
        return self[name].interval(level)


def profiles(estimate: Estimate, names: str | Sequence[str] | None, level: float, points: int) -> Profile:
    """**Errors:** `ParameterError` for a name of no number that could be held; `ValueError` for a level that is none."""
    check_level(level)
    return profiles_within(estimate, names, float(scipy.special.ndtri((1 + level) / 2)), points)


def profiles_within(estimate: Estimate, names: str | Sequence[str] | None, limit: float, points: int) -> Profile:
    """Profiles that go on until the root of twice the drop is `limit`."""
    where = positions(estimate.coordinates.start.layout)
    free = [name for name in where if estimate.sides[where[name]] != 2]
    asked = free if names is None else [names] if isinstance(names, str) else list(names)
    asked = [resolve(name, free, "profile") for name in asked]
    if estimate.outcome == "failed":
        raise ParameterError("a fit that failed has no profiles: it has no point to go from")
    errors = np.sqrt(np.diag(coordinate_covariance(estimate)))
    sides = [(name, sign) for name in asked for sign in (-1.0, 1.0)]
    found = dict[int, list[_Point]]()
    searches = [
        _side(estimate, where[name], sign * _first(estimate, where[name], errors, limit, points), limit, points)
        for name, sign in sides
    ]
    run_searches(searches, 1, found.__setitem__)
    lines = {name: _line(estimate, where[name], [*found[2 * i], *found[2 * i + 1]]) for i, name in enumerate(asked)}
    better = tuple(name for name, line in lines.items() if np.min(line.drop) < -1e-3)
    return Profile(lines, better)


_Point = tuple[np.ndarray, float, bool]
"""A point of a profile, how far its objective is above that of the estimate, and whether its fit converged."""


def _first(estimate: Estimate, index: int, errors: np.ndarray, limit: float, points: int) -> float:
    """The first step away from the estimate."""
    error, size = errors[index], float(estimate.task.sizes[index])
    return (error if np.isfinite(error) and error > 0 else 0.1 * size) * 1.5 * limit / points


def _line(estimate: Estimate, index: int, sides: list[_Point]) -> Line:
    """The two sides and the estimate, in order."""
    found, layout = [(np.asarray(estimate.point.vector, np.float64), 0.0, True), *sides], estimate.point.layout
    vectors = np.stack([vector for vector, _, _ in found])
    order = np.argsort(vectors[:, index])
    shown = np.array([value_at(layout, vector, index) for vector in vectors[order]])
    drops, converged = (np.array([one[i] for one in found])[order] for i in (1, 2))
    ascending = np.argsort(shown)  # a map may turn the order round
    best = value_at(layout, vectors[0], index)
    return Line(shown[ascending], drops[ascending], vectors[order][ascending], converged[ascending], best)


def _side(estimate: Estimate, index: int, step: float, limit: float, points: int) -> Searches[list[_Point]]:
    """Outwards, in steps that raise the root of twice the drop by about the same."""
    box, arrays = box_of(estimate.coordinates), estimate.problem.arrays
    low, high = np.array(box.lower), np.array(box.upper)
    vector, root, found, nearer = np.array(estimate.point.vector), 0.0, list[_Point](), 0
    lowest, highest = low[index], high[index]
    for _ in range(points + _NEARER):
        at = np.clip(vector[index] + step, lowest, highest).astype(vector.dtype)
        if at == vector[index] or len(found) == points:
            break
        low[index] = high[index] = at
        start = vector.copy()
        start[index] = at
        held = Box(jnp.asarray(low.copy()), jnp.asarray(high.copy()))
        search = yield Job(estimate.task, jnp.asarray(start), held, arrays, _BUDGET)
        drop = float(search.summary.objective) - estimate.objective
        raised = (float(np.sqrt(2 * max(drop, 0.0))) - root) * points / (1.5 * limit) if np.isfinite(drop) else np.inf
        if raised > _MOST and nearer < _NEARER:  # the information said less than is known, or the way led elsewhere
            step, nearer = 0.25 * step, nearer + 1
            continue
        if not np.isfinite(drop):
            break
        # What is as far up however near one looks counts, or a wall would be taken for an open end.
        found.append((np.asarray(search.point, np.float64), drop, search.successful))
        vector, root = np.array(search.point), float(np.sqrt(2 * max(drop, 0.0)))
        if root >= 1.05 * limit:
            break
        step *= float(np.clip(1.0 / max(raised, 1e-3), 0.5, 3.0))
    return found
