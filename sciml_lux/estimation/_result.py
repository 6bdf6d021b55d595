"""What a least-squares estimate returns."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from ..core import State, is_known
from ..flatten import FlatParams, Params
from ._confidence import Squares, intervals_of
from ._labels import shown
from ._loss import LossName
from ._refits import Refits
from ._report import html_report, report
from ._uncertainty import correlation_of


@dataclass(frozen=True, repr=False)
class LeastSquaresResult:
    """The outcome of `least_squares` or `curve_fit`; `print` it for a report.

    **Attributes**, in the parameters as they are declared: `values`: the estimates; `stderr`: their standard errors, in the same
    structure (0 for a `fixed` parameter, infinite for one that the data do not determine, NaN for one on a bound); `covariance`: a
    matrix with one row for each of `names`; `names`: of the scalars that are estimated, such as `alpha` or `decoder.weight[3,2]`;
    `unidentified`: those that the data do not determine, empty if all is well; `active`: the names of those on a bound, with which it
    is: `"lower"`, `"upper"`, or `"fixed"`, where the two are equal. Standard errors of the others are those with these held where they
    are.

    Of the solve: `ps`, `st`: the fitted parameters as one vector, and the state; `residuals`: at the minimum, as `residual` returned
    them; `jacobian`: of all residuals by the vector; `num_steps`; `result`: of `optimistix.RESULTS`; `warnings`: sentences.

    Of the fit: `num_data`, `degrees_of_freedom`: residuals, and residuals minus numbers in the vector; `chi_square`: the sum
    of squares; `cost`: half of what was minimised, as SciPy's, which is half of `chi_square` but for a robust loss; `residual_std`:
    `sqrt(2 cost / degrees_of_freedom)`, NaN if there are none; `absolute_sigma`, `loss`, `f_scale`: as they were given. `refits`: solves
    from the minimum, by which `conf_interval` holds parameters.
    """

    values: Params
    stderr: Params
    covariance: Float[np.ndarray, "names names"]
    names: tuple[str, ...]
    unidentified: tuple[str, ...]
    active: dict[str, str]
    ps: FlatParams
    st: State
    residuals: Any
    jacobian: Float[Array, "residuals size"]
    num_data: int
    degrees_of_freedom: int
    chi_square: float
    cost: float
    residual_std: float
    absolute_sigma: bool
    loss: LossName
    f_scale: float
    num_steps: int
    result: optx.RESULTS
    warnings: tuple[str, ...]
    refits: Refits

    @property
    def successful(self) -> bool:
        """Whether the solver converged."""
        return is_known(self.result, optx.RESULTS.successful)

    @property
    def outcome(self) -> Literal["converged", "stalled", "failed"]:
        """`"converged"`: at a minimum. `"stalled"`: at the best point that was found, which is not known to be one. `"failed"`: at no point
        where residual and Jacobian are finite."""
        if self.successful:
            return "converged"
        return "stalled" if math.isfinite(self.chi_square) and np.all(np.isfinite(self.jacobian)) else "failed"

    def __iter__(self) -> Iterator[np.ndarray]:
        """`popt, pcov = result`, as of `scipy.optimize.curve_fit`: the estimated numbers in the order of `names`, and `covariance`."""
        estimated = [
            np.asarray(self.values[array.path]).reshape(-1) for array in shown(self.ps.layout) if array.estimated
        ]
        return iter((np.concatenate([np.zeros(0), *estimated]), self.covariance))

    @property
    def correlation(self) -> Float[np.ndarray, "names names"]:
        """The correlations of the estimates; NaN beside a parameter that the data do not determine."""
        return correlation_of(self.covariance)

    def conf_interval(
        self,
        level: float = 0.95,
        method: Literal["wald", "profile", "f-test"] = "wald",
        names: str | Sequence[str] | None = None,
    ) -> dict[str, tuple[float, float]]:
        """Confidence intervals by name, `{name: (lower, upper)}`, in the units in which parameters are shown.

        **Arguments:** `level`; `method`: `"wald"`: the estimate and so many standard errors to both sides, of the logarithm for parameters
        that are stored as one, by the quantile of Student's t, or, with `absolute_sigma`, of the normal density; `"f-test"`: where the sum
        of squares, all others fitted anew, has risen by `residual_std**2` times the quantile of F with 1 and `degrees_of_freedom`;
        `"profile"`: where `num_data` times the logarithm of its ratio is the quantile of chi-square. With `absolute_sigma` both are where
        it has risen by that. They need no symmetry and cost fits, which compile nothing; an end that is not reached before a bound is
        infinite. `names`: of which (default: all that are free).

        **Errors:** `ValueError` for a robust loss with another method than `"wald"`; `SolveError` where a lower sum of squares is found.

        **Source:** Bates and Watts, "Nonlinear Regression Analysis and Its Applications" (1988), section 6.1.
        """
        return intervals_of(self.refits, self._squares, self._errors, level, method, names)

    @property
    def _squares(self) -> Squares:
        return Squares(2 * self.cost, self.num_data, self.degrees_of_freedom, self.absolute_sigma)

    @property
    def _errors(self) -> Float[np.ndarray, " names"]:
        return np.sqrt(np.diag(self.covariance))

    @property
    def aic(self) -> float:
        """Akaike's information criterion for normal errors: `num_data log(chi_square / num_data) + 2 size`, or `chi_square + 2 size`
        with `absolute_sigma`. Constants that do not depend on the model are left out; only differences mean something. NaN with a robust
        loss, which is the likelihood of no errors."""
        return self._deviance + 2 * self._num_estimated

    @property
    def bic(self) -> float:
        """The Bayesian information criterion: as `aic`, with `log(num_data) size` for the penalty."""
        return self._deviance + math.log(self.num_data) * self._num_estimated

    @property
    def _num_estimated(self) -> int:
        return self.num_data - self.degrees_of_freedom

    @property
    def _deviance(self) -> float:
        if self.loss != "linear":
            return math.nan
        if self.absolute_sigma:
            return self.chi_square
        return self.num_data * math.log(self.chi_square / self.num_data) if self.chi_square > 0 else -math.inf

    def __repr__(self) -> str:
        return report(self)

    def _repr_html_(self) -> str:
        return html_report(self)
