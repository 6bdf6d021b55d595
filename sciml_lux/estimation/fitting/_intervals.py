"""Confidence intervals by name."""

from collections.abc import Sequence

import numpy as np
import scipy.special

from .._wald import Intervals, check_level
from .._wald import wald_intervals as intervals_by_errors
from ..noise import Normal
from ._box import box_of
from ._estimate import Estimate
from ._laplace import coordinate_covariance
from ._profile import profiles, profiles_within

# So many points to each side, between which an end is interpolated.
_POINTS = 12


def wald_intervals(estimate: Estimate, level: float, names: Sequence[str] | None) -> Intervals:
    """See `estimation/_wald.py`; the quantile is that of the normal density."""
    check_level(level)
    errors, stderr = (
        np.sqrt(np.diag(covariance)) for covariance in (coordinate_covariance(estimate), estimate.covariance)
    )
    width = float(scipy.special.ndtri((1 + level) / 2))
    return intervals_by_errors(estimate.point, box_of(estimate.coordinates), errors, stderr, width, names)


def refitted_intervals(estimate: Estimate, level: float, names: Sequence[str] | None, method: str) -> Intervals:
    """**Errors:** `ValueError` for an unknown method, and an F-test of noise that has none."""
    if method == "profile":
        found = profiles(estimate, names, level, _POINTS)
        return {name: line.interval(level) for name, line in found.lines.items()}
    if method != "f-test":
        raise ValueError(f'intervals are by method="wald", "profile" or "f-test", got {method!r}')
    check_level(level)
    deviation = _deviation(estimate)
    if names is None:
        names = [name for name in estimate.names if name != deviation and estimate.active.get(name) != "fixed"]
    elif deviation in names:
        raise ValueError(f'an F-test is of what the curve depends on, and not of {deviation}; write method="profile"')
    freedom = estimate.degrees_of_freedom + 1
    if freedom < 1:
        raise ValueError("an F-test needs more data than parameters beside the standard deviation")
    ratio = float(scipy.special.fdtri(1, freedom, level)) / freedom
    limit = float(np.sqrt(estimate.num_data * np.log1p(ratio)))
    found = profiles_within(estimate, names, limit, _POINTS)
    return {name: line.within(limit) for name, line in found.lines.items()}


def _deviation(estimate: Estimate) -> str:
    """The parameter that is the one standard deviation of all that was observed.

    **Errors:** `ValueError` where there is no such parameter.
    """
    function, layout = estimate.problem.function, estimate.point.layout
    noise, overridden = dict(function.simulation.noise), dict(function.simulation.references)
    spreads = {one.spread for one in noise.values()}
    spread = next(iter(spreads))
    if (
        len(spreads) > 1
        or not isinstance(spread, str)
        or spread in overridden
        or layout[spread].size != 1
        or spread in estimate.active
        or any(type(one) is not Normal for one in noise.values())
        or function.priors
        or function.penalties
    ):
        raise ValueError(
            "an F-test is for normal noise with one standard deviation, which is estimated, and without priors; here write "
            'method="profile"'
        )
    return spread
