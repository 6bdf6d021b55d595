"""The normal approximation of a posterior."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..._errors import SolveError
from ...flatten import FlatParams
from .._uncertainty import uncertainty
from ._box import box_of
from ._estimate import Estimate
from ._information import information

# Newton's method on a mode that is near: so many steps, until a step promises less than this in the logarithm of the density.
_STEPS, _PROMISED = 30, 1e-8


class LaplaceApproximation(NamedTuple):
    """A normal density over the vector of `point`, its mode: `covariance`, with rows of 0 for numbers on a bound, which it leaves where
    they are."""

    point: FlatParams
    covariance: Float[np.ndarray, "size size"]

    def sample(self, key: Key[Array, ""], n: int) -> FlatParams:
        """`n` draws, as a batch of parameters."""
        values, directions = np.linalg.eigh(self.covariance)
        root = jnp.asarray(directions * np.sqrt(np.maximum(values, 0.0)), self.point.vector.dtype)
        normal = jax.random.normal(key, (n, len(values)), root.dtype)
        return self.point.replace(self.point.vector[None, :] + normal @ root.T)


def laplace(estimate: Estimate) -> LaplaceApproximation:
    """Around the mode of the density over the vector, which is not the estimate where a map bends: there the density has a factor more, the
    determinant of the map.

    **Errors:** `SolveError` where the data do not determine some parameter, and where no mode is found, so that there is no such density.
    """
    if estimate.unidentified or estimate.outcome == "failed":
        raise SolveError(
            f"there is no normal approximation: {', '.join(estimate.unidentified) or 'the fit failed, and nothing'} is not determined; "
            "give it a prior, or fix it by equal bounds"
        )
    layout, task, box, arrays = (
        estimate.point.layout,
        estimate.task,
        box_of(estimate.coordinates),
        estimate.problem.arrays,
    )
    free = np.flatnonzero(estimate.sides == 0)
    slope = jax.jit(jax.grad(layout.log_abs_det_jacobian))
    bend = jax.jit(jax.hessian(layout.log_abs_det_jacobian))

    def curvature(vector: Array) -> np.ndarray:
        found = estimate.found._replace(point=np.asarray(vector))
        root = information(task, found, box, arrays, estimate.sides).root
        return (root.T @ root - np.asarray(bend(vector)))[np.ix_(free, free)]

    vector = estimate.point.vector
    if not len(free):
        return LaplaceApproximation(estimate.point, np.zeros((len(vector), len(vector))))
    matrix, promised = curvature(vector), np.inf
    for _ in range(_STEPS):
        gradient = (task.look(vector, box, arrays)[1] - np.asarray(slope(vector)))[free]
        step = -np.linalg.lstsq(matrix, gradient, rcond=None)[0]
        promised = -gradient @ step
        if not np.isfinite(promised) or promised < _PROMISED:
            break
        # No farther than one standard deviation at once.
        vector = vector.at[free].add(jnp.asarray(step / max(1.0, float(np.sqrt(promised))), vector.dtype))
    matrix = curvature(vector)
    if not (np.isfinite(promised) and 0 <= promised < _PROMISED and np.all(np.linalg.eigvalsh(matrix) > 0)):
        raise SolveError(
            "the density over the vector has no mode near the estimate, so that there is no normal approximation; give parameters priors"
        )
    covariance = np.zeros((len(vector), len(vector)))
    covariance[np.ix_(free, free)] = np.linalg.inv(matrix)
    return LaplaceApproximation(estimate.point.replace(vector), covariance)


def coordinate_covariance(estimate: Estimate) -> Float[np.ndarray, "size size"]:
    """That of the vector: 0 for numbers on a bound, infinite for what the data do not determine."""
    size = len(estimate.sides)
    epsilon = float(np.finfo(estimate.point.layout.dtype).eps)
    covariance = uncertainty(estimate.information.root, np.eye(size), 1.0, epsilon, estimate.sides).covariance
    still = estimate.sides != 0
    covariance[still, :] = 0.0
    covariance[:, still] = 0.0
    return covariance
