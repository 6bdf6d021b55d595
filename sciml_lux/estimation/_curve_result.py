"""What a fit of a curve returns."""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..core import CachedFunction, cached_function, differentiation_mode, failure_mode
from ..flatten import Layout
from ._curve import CurveResidual, numbers
from ._evaluate import value_jacobian
from ._result import LeastSquaresResult
from ._wald import check_level

Band = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]


class CurvePrediction(NamedTuple):
    """`values`: the curve; `confidence`: the ends of the band in which it lies; `prediction`: that in which a new measurement lies, NaN
    where nothing says how widely one scatters: measurements had different standard deviations, or a covariance, or the loss is robust. Both
    are pointwise, by the delta method, with the quantile of Student's t, or, with `absolute_sigma`, of the normal density."""

    values: Float[np.ndarray, " points"]
    confidence: Band
    prediction: Band


class CurveFitResult(LeastSquaresResult):
    """The outcome of `curve_fit`: a `LeastSquaresResult`, and what the curve says elsewhere."""

    def predict(self, x: PyTree, level: float = 0.95) -> CurvePrediction:
        """The curve at other `x`, as `curve_fit` takes them, with bands; see `CurvePrediction`.

        **Errors:** `ValueError` for a level that is none, and for `x` that is not finite.
        """
        check_level(level)
        task, point = self.refits.task, self.refits.point
        residual = task.residual
        assert isinstance(residual, CurveResidual)
        x = {name: numbers("x", value) for name, value in x.items()} if isinstance(x, Mapping) else numbers("x", x)
        with cached_function((residual,)) as cached, differentiation_mode("forward"), failure_mode("nan"):
            found = _curve_and_slopes(cached, point.layout, point.vector, x)
        values, slopes = (np.asarray(array, np.float64) for array in found)
        # Each parameter of a curve is one number, which depends on one number of the vector.
        slopes = slopes / np.diag(np.asarray(value_jacobian(point.layout, point.vector), np.float64))
        variances = np.diag(self.covariance)
        covariance = np.where(np.isfinite(self.covariance), self.covariance, 0.0)
        variance = np.einsum("np,pq,nq->n", slopes, covariance, slopes)
        variance = np.where(np.any(slopes[:, np.isinf(variances)] != 0, axis=1), np.inf, variance)
        width = self._squares.width(level)
        bands = [width * np.sqrt(one) for one in (variance, variance + self._scatter)]
        confidence, prediction = ((values - band, values + band) for band in bands)
        return CurvePrediction(values, confidence, prediction)

    @property
    def _scatter(self) -> float:
        """The variance of a new measurement around the curve; NaN where it is not known."""
        weights = self.refits.task.data[2]
        if self.loss != "linear" or (weights is not None and (weights.ndim == 2 or np.ptp(np.asarray(weights)) > 0)):
            return float("nan")
        return self._squares.variance * (1.0 if weights is None else 1.0 / float(weights[0]) ** 2)


@eqx.filter_jit
def _curve_and_slopes(
    cached: CachedFunction, layout: Layout, vector: Float[Array, " size"], x: PyTree
) -> tuple[Float[Array, " points"], Float[Array, "points size"]]:
    """The curve, and its derivative by the vector."""
    (residual,) = cached.use()
    value, tangent_map = jax.linearize(lambda vector: residual.curve(x, layout.unravel(vector), None), vector)
    return value, jax.vmap(tangent_map, out_axes=-1)(jnp.eye(vector.size, dtype=vector.dtype))
