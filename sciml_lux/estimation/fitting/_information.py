"""The information at an estimate: the curvature of what was minimised, by which standard errors are those of the likelihood that there is.

Fisher's information, from which a fit takes its steps, is that curvature on average over data; where residuals are large and the model
bends, the two differ, most in directions that the data hardly determine.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._bounds import Box
from ..problem import Arrays
from ._search import Search, Task

# Differences of gradients are taken over so many conditional standard deviations, and believed if the matrix is symmetric to this share.
_STEP, _ASYMMETRY = 0.01, 0.02

# A direction in which the curvature is less than this share of what each number has by itself is not told from none by differences.
_FLAT = 1e-7

# A large change of a number that moves the data by less of their standard deviations is nothing to them.
UNSEEN = 1e-3


class Information(NamedTuple):
    """`root`, of which `root.T @ root` is the information; `kind`: `"observed"`, the curvature itself, or `"expected"`, Fisher's, where the
    curvature is not that of a maximum, or its differences are not smooth enough to tell."""

    root: Float[np.ndarray, "rank size"]
    kind: Literal["observed", "expected"]


def information(task: Task, found: Search, box: Box, arrays: Arrays, sides: np.ndarray) -> Information:
    """Central differences of the gradient, one-sided beside a bound, of the numbers that no bound holds; nothing is compiled."""
    expected = Information(found.root, "expected")
    scale = np.linalg.norm(found.root, axis=0)
    sizes = np.asarray(task.sizes, np.float64)
    # A number of which a large change is nothing to the data is not known at all, and differences would be of rounding.
    free = np.flatnonzero((sides == 0) & (scale > 0) & ((scale * sizes > UNSEEN) | (sizes == 0)))
    if not len(free) or not np.all(np.isfinite(scale)):
        return expected
    low, high = (np.asarray(end, np.float64) for end in (box.lower, box.upper))
    rows = []
    for i in free:
        step = min(_STEP / scale[i], 0.1 * sizes[i]) if sizes[i] > 0 else _STEP / scale[i]
        ends = [float(np.clip(found.point[i] + sign * step, low[i], high[i])) for sign in (-1, 1)]
        gradients = []
        for end in ends:
            moved = np.array(found.point, np.float64)
            moved[i] = end
            gradients.append(task.look(jnp.asarray(moved, task.layout.dtype), box, arrays)[1])
        rows.append((gradients[1] - gradients[0]) / (ends[1] - ends[0]))
    curvature = np.stack(rows)[:, free] / scale[free, None] / scale[None, free]
    noise = np.max(np.abs(curvature - curvature.T))
    if not noise <= _ASYMMETRY:  # which NaN is not either
        return expected
    curvatures, directions = np.linalg.eigh((curvature + curvature.T) / 2)
    flat = curvatures <= 10 * noise + _FLAT
    if np.any(flat):
        # Flat to differences: what Fisher's information has exactly nothing of is not known; of the rest differences say nothing then.
        _, seen, basis = np.linalg.svd(found.root[:, free] / scale[free])
        rank = int(np.sum(seen > float(jnp.finfo(task.layout.dtype).eps) * max(found.root.shape) * seen[0]))
        kept, dropped = basis[:rank].T, basis[rank:].T
        curvatures, directions = np.linalg.eigh(kept.T @ (curvature + curvature.T) @ kept / 2)
        rest = np.max(np.abs(dropped.T @ curvature @ dropped), initial=0.0)
        if curvatures[0] <= 10 * noise + _FLAT or rest > 10 * noise + _FLAT:
            return expected
        directions = kept @ directions
    full = np.zeros((len(scale), len(scale)))
    full[: len(curvatures), free] = np.sqrt(curvatures)[:, None] * directions.T * scale[free]
    return Information(full, "observed")
