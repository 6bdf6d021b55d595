"""The information at an estimate: the curvature of what was minimised, by which standard errors are those of the likelihood that there is.

Fisher's information, from which a fit takes its steps, is that curvature on average over data; where residuals are large and the model
bends, the two differ, most in directions that the data hardly determine.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float

from .._bounds import Box
from ..problem import Arrays
from ._search import Search, Task

# Differences of gradients are taken over so many conditional standard deviations, and believed if the matrix is symmetric to this share.
_STEP, _ASYMMETRY = 0.01, 0.02


class Information(NamedTuple):
    """`root`, of which `root.T @ root` is the information; `kind`: `"observed"`, the curvature itself, or `"expected"`, Fisher's, where the
    curvature is not that of a maximum, or its differences are not smooth enough to tell."""

    root: Float[np.ndarray, "rank size"]
    kind: Literal["observed", "expected"]


def information(task: Task, found: Search, box: Box, arrays: Arrays, sides: np.ndarray) -> Information:
    """Central differences of the gradient, one-sided beside a bound, of the numbers that no bound holds; nothing is compiled."""
    expected = Information(found.root, "expected")
    scale = np.linalg.norm(found.root, axis=0)
    free = np.flatnonzero((sides == 0) & (scale > 0))
    if not len(free) or not np.all(np.isfinite(scale)):
        return expected
    low, high = (np.asarray(end, np.float64) for end in (box.lower, box.upper))
    rows = []
    for i in free:
        ends = [float(np.clip(found.point[i] + sign * _STEP / scale[i], low[i], high[i])) for sign in (-1, 1)]
        gradients = []
        for end in ends:
            moved = np.array(found.point, np.float64)
            moved[i] = end
            gradients.append(task.gradient(jnp.asarray(moved, task.layout.dtype), box, arrays))
        rows.append((gradients[1] - gradients[0]) / (ends[1] - ends[0]))
    curvature = np.stack(rows)[:, free] / scale[free, None] / scale[None, free]
    if not np.all(np.isfinite(curvature)) or np.max(np.abs(curvature - curvature.T)) > _ASYMMETRY:
        return expected
    try:
        root = scipy.linalg.cholesky((curvature + curvature.T) / 2)
    except scipy.linalg.LinAlgError:
        return expected
    full = np.zeros((len(free), len(scale)))
    full[:, free] = root * scale[free]
    return Information(full, "observed")
