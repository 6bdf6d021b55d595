"""Intervals of so many standard errors to both sides of an estimate."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..flatten import FlatParams
from ._bounds import Box
from ._coordinates import positions
from ._labels import estimated_names, shown
from ._names import resolve

Intervals = dict[str, tuple[float, float]]


def wald_intervals(
    point: FlatParams,
    box: Box,
    errors: Float[np.ndarray, " size"],
    stderr: Float[np.ndarray, " names"],
    width: float,
    names: Sequence[str] | None,
) -> Intervals:
    """The estimate and `width` standard errors to both sides, where a number has a coordinate of its own there, and within its bounds: an
    interval of a rate that is stored as a logarithm does not reach below 0.

    **Arguments:** `errors`: the standard errors of the vector of `point`, `stderr`: those of all scalars that are estimated.
    """
    where, known = positions(point.layout), estimated_names(point.layout)
    values = estimates(point)
    ends = []
    for sign in (-1, 1):
        moved = np.asarray(point.vector, np.float64) + sign * width * np.where(np.isfinite(errors), errors, 0.0)
        moved = np.clip(moved, box.lower, box.upper)
        there = estimates(point.replace(jnp.asarray(moved, point.layout.dtype)))
        own = np.array([name in where for name in known], bool)
        ends.append(np.where(own, there, values + sign * width * stderr))
    lower, upper = np.minimum(*ends), np.maximum(*ends)
    lower, upper = (
        np.where(np.isfinite(stderr), end, np.where(np.isnan(stderr), np.nan, sign * np.inf))
        for end, sign in ((lower, -1), (upper, 1))
    )
    asked = known if names is None else [resolve(name, known, "conf_interval") for name in names]
    index = {name: i for i, name in enumerate(known)}
    return {name: (float(lower[index[name]]), float(upper[index[name]])) for name in asked}


def estimates(ps: FlatParams) -> Float[np.ndarray, " names"]:
    """The scalars that are estimated, in the order of their names."""
    paths = [array.path for array in shown(ps.layout) if array.estimated]
    return np.concatenate([np.zeros(0), *(np.ravel(ps.params[path]) for path in paths)])


def check_level(level: float) -> None:
    """**Errors:** `ValueError` for what is no level of confidence."""
    if not 0 < level < 1:
        raise ValueError(f"a level is between 0 and 1, got {level}")
