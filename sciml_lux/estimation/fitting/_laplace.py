"""The normal approximation of a posterior."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..._errors import SolveError
from ...flatten import FlatParams
from .._uncertainty import uncertainty
from ._estimate import Estimate


class LaplaceApproximation(NamedTuple):
    """A normal density over the vector of `point`: `covariance`, with rows of 0 for numbers on a bound, which it leaves where they are."""

    point: FlatParams
    covariance: Float[np.ndarray, "size size"]

    def sample(self, key: Key[Array, ""], n: int) -> FlatParams:
        """`n` draws, as a batch of parameters."""
        values, directions = np.linalg.eigh(self.covariance)
        root = jnp.asarray(directions * np.sqrt(np.maximum(values, 0.0)), self.point.vector.dtype)
        normal = jax.random.normal(key, (n, len(values)), root.dtype)
        return self.point.replace(self.point.vector[None, :] + normal @ root.T)


def laplace(estimate: Estimate) -> LaplaceApproximation:
    """**Errors:** `SolveError` where the data do not determine some parameter, so that there is no such density."""
    if estimate.unidentified or estimate.outcome == "failed":
        raise SolveError(
            f"there is no normal approximation: {', '.join(estimate.unidentified) or 'the fit failed, and nothing'} is not determined; "
            "give it a prior, or fix it by equal bounds"
        )
    return LaplaceApproximation(estimate.point, coordinate_covariance(estimate))


def coordinate_covariance(estimate: Estimate) -> Float[np.ndarray, "size size"]:
    """That of the vector: 0 for numbers on a bound, infinite for what the data do not determine."""
    size = len(estimate.sides)
    epsilon = float(np.finfo(estimate.point.layout.dtype).eps)
    covariance = uncertainty(estimate.information.root, np.eye(size), 1.0, epsilon, estimate.sides).covariance
    still = estimate.sides != 0
    covariance[still, :] = 0.0
    covariance[:, still] = 0.0
    return covariance
