"""Robust losses: what is summed instead of squares, and the least-squares rows that stand for its gradient and curvature."""

from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
from jaxtyping import Float

from ..solvers.least_squares import Evaluated

LossName = Literal["linear", "huber", "soft_l1", "cauchy", "arctan"]

# Of the curvature of reweighted squares at least this share is kept in the steps, where that of the loss is less, or negative.
_LEAST_CURVATURE = 0.1


class Loss(NamedTuple):
    r"""The cost of a residual, `f_scale^2 sum(rho(z)) / 2` with `z = (r / f_scale)^2`, as of `scipy.optimize.least_squares`:

        linear   z
        huber    z where z <= 1, else 2 sqrt(z) - 1
        soft_l1  2 (sqrt(1 + z) - 1)
        cauchy   log(1 + z)
        arctan   arctan(z)

    Its gradient by the parameters is `J^T rho' r`, and what of its Hessian does not take second derivatives of `r` is `J^T (rho' + 2 rho''
    z) J`. Rows `s J` and `rho' r / s` with `s^2` that curvature are a least-squares problem with both. Where it is below a tenth of `rho'`,
    which is the curvature of iteratively reweighted least squares, `s^2` is that tenth: steps stay finite, and near the minimum
    convergence is as fast as that of Gauss and Newton but for the few points far out. The cost itself decides which steps are taken.

    **Source:** Triggs, McLauchlan, Hartley and Fitzgibbon, "Bundle Adjustment: A Modern Synthesis" (2000), section 4.3.
    """

    name: LossName = "linear"
    f_scale: float = 1.0

    @property
    def is_linear(self) -> bool:
        return self.name == "linear"

    @property
    def is_flat_far_out(self) -> bool:
        """Whether the slope goes to 0 far out, so that the cost of a line has minima beside the lowest."""
        return self.name in ("cauchy", "arctan")

    def cost(self, residual: Float[np.ndarray, " residuals"]) -> float:
        """Half of what is minimised."""
        residual = np.asarray(residual, np.float64)
        if self.is_linear:
            return 0.5 * float(residual @ residual)
        return 0.5 * self.f_scale**2 * float(np.sum(_rho(self.name, (residual / self.f_scale) ** 2)[0]))

    def weights(self, residual: Float[np.ndarray, " residuals"]) -> Float[np.ndarray, " residuals"]:
        """`rho'` of each residual: 1 for those that count in full."""
        return _rho(self.name, (np.asarray(residual, np.float64) / self.f_scale) ** 2)[1]

    def curvature(self, residual: Float[np.ndarray, " residuals"]) -> Float[np.ndarray, " residuals"]:
        """`rho' + 2 rho'' z`, which is 0 or negative for points far out."""
        squares = (np.asarray(residual, np.float64) / self.f_scale) ** 2
        _, first, second = _rho(self.name, squares)
        return first + 2 * second * squares

    def applied(self, found: Evaluated) -> Evaluated:
        """The rows that stand for the cost, and the cost as objective."""
        if self.is_linear:
            return found
        residual = np.asarray(found.residual)
        weights = self.weights(residual)
        roots = np.sqrt(np.maximum(self.curvature(residual), _LEAST_CURVATURE * weights))
        rows = (weights / roots * residual).astype(residual.dtype)
        jacobian = np.asarray(found.jacobian) * roots[:, None].astype(residual.dtype)
        objective = np.asarray(self.cost(residual), residual.dtype)
        replaced: Any = {"residual": rows, "jacobian": jacobian, "objective": objective}
        return found._replace(**replaced)


def loss_of(name: str, f_scale: float) -> Loss:
    """**Errors:** `ValueError` for an unknown name, and a scale that is not above 0."""
    if name not in get_args(LossName):
        raise ValueError(f"loss is one of {', '.join(get_args(LossName))}, got {name!r}")
    if not 0 < f_scale < np.inf:
        raise ValueError(f"f_scale, the residual beyond which a point counts less, is above 0, got {f_scale!r}")
    return Loss(cast("LossName", name), float(f_scale))


def _rho(name: LossName, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`rho` with its first and second derivative."""
    match name:
        case "linear":
            return z, np.ones_like(z), np.zeros_like(z)
        case "huber":
            root = np.sqrt(np.maximum(z, 1.0))
            return np.where(z <= 1, z, 2 * root - 1), 1 / root, np.where(z <= 1, 0.0, -0.5 / root**3)
        case "soft_l1":
            root = np.sqrt(1 + z)
            return 2 * z / (root + 1), 1 / root, -0.5 / root**3
        case "cauchy":
            return np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2
        case "arctan":
            return np.arctan(z), 1 / (1 + z**2), -2 * z / (1 + z**2) ** 2
