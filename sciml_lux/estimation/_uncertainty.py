"""How sure to be of a least-squares estimate: the covariance in the user's own parameter space, and what the data leave open."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Uncertainty:
    """The covariance of the estimated scalars, their standard errors, and which of them the data do not determine."""

    covariance: Float[np.ndarray, "names names"]
    stderr: Float[np.ndarray, " names"]
    unidentified: np.ndarray


def uncertainty(
    jacobian: Float[np.ndarray, "residuals size"],
    value_jacobian: Float[np.ndarray, "names size"],
    variance: float,
    epsilon: float,
    sides: np.ndarray,
) -> Uncertainty:
    """The delta method, `variance * G (J^T J)^-1 G^T`, without forming `J^T J`.

    With `D` the norms of the columns of `J` and `J D^-1 = U S V^T`, it is `variance * H H^T` with `H = G D^-1 V S^-1`. Directions
    with `s_k <= epsilon max(residuals, size) s_1` change the residual by no more than rounding: every scalar that varies along one
    of them is undetermined, with an infinite variance and no covariance (NaN). The others keep theirs.

    **Arguments:** `jacobian`: J, of the residuals by the vector; `value_jacobian`: G, of the scalars by the vector;
    `variance`: of one residual (infinite if it cannot be estimated); `epsilon`: one unit of rounding of the arrays; `sides`: which numbers
    of the vector are on a bound or fixed (`Box.sides`): they are constants to the others, and have no standard error, or one of 0.
    """
    moves = np.any(value_jacobian[:, sides == 0], axis=1)
    on_bound, fixed = (np.any(value_jacobian[:, which], axis=1) & ~moves for which in (abs(sides) == 1, sides == 2))
    jacobian, value_jacobian = jacobian[:, sides == 0], value_jacobian[:, sides == 0]
    num_data, size = jacobian.shape
    norms = np.linalg.norm(jacobian, axis=0)
    scale = np.where(norms > 0, norms, 1.0)
    _, s, directions = np.linalg.svd(jacobian / scale, full_matrices=False)
    resolved = s > epsilon * max(num_data, size) * s[0] if size else np.zeros(0, bool)
    rates = value_jacobian / scale
    factor = rates @ (directions[resolved].T / s[resolved])
    # How far each scalar moves along the unresolved directions, beside how far it could move along any.
    moved = np.linalg.norm(rates @ directions[~resolved].T, axis=1)
    unidentified = moved > np.sqrt(epsilon) * np.linalg.norm(rates, axis=1)
    if not np.isfinite(variance):
        unidentified = ~(on_bound | fixed)
        variance = 0.0
    covariance = variance * factor @ factor.T
    covariance[unidentified, :] = np.nan
    covariance[:, unidentified] = np.nan
    covariance[unidentified, unidentified] = np.inf
    covariance[on_bound, :] = np.nan
    covariance[:, on_bound] = np.nan
    return Uncertainty(covariance, np.sqrt(np.diag(covariance)), unidentified)


def correlation_of(covariance: Float[np.ndarray, "names names"]) -> Float[np.ndarray, "names names"]:
    """The correlations; NaN beside what has no finite variance, or none."""
    deviations = np.sqrt(np.diag(covariance))
    deviations = np.where(np.isfinite(deviations) & (deviations > 0), deviations, np.nan)
    return covariance / (deviations[:, None] * deviations[None, :])
