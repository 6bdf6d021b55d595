"""`Estimate`: where a search ended, and what follows from that point alone."""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ...core import State
from ...flatten import FlatParams, Params
from .._coordinates import Coordinates
from .._evaluate import value_jacobian
from .._labels import active_names, estimated_names, structured
from .._uncertainty import Uncertainty, correlation_of, uncertainty
from ..problem import Problem
from ._box import box_of
from ._information import Information, information
from ._search import Search, Task


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
    """A point with its likelihood and its information; `Fit` says what the attributes mean, and adds what takes further fits."""

    problem: Problem
    coordinates: Coordinates
    task: Task
    found: Search

    # The outcome

    @property
    def outcome(self) -> Literal["converged", "stalled", "failed"]:
        if not math.isfinite(self.log_likelihood):
            return "failed"
        return "converged" if self.found.successful else "stalled"

    @property
    def reason(self) -> str:
        if self.found.reason:
            return self.found.reason
        pressed = [name for name, side in self.active.items() if side != "fixed"]
        return (
            f"no step within the bounds promises an improvement; on a bound: {', '.join(pressed)}"
            if pressed
            else "no step promises an improvement"
        )

    @property
    def num_steps(self) -> int:
        return self.found.num_steps

    # The estimate

    @functools.cached_property
    def point(self) -> FlatParams:
        """The parameters in the coordinates of the search, in which `lux.bounded` parameters are linear."""
        return self.coordinates.start.replace(jnp.asarray(self.found.point))

    @functools.cached_property
    def ps(self) -> FlatParams:
        return self.coordinates.declared(self.point.vector)

    @property
    def st(self) -> State:
        return self.task.st

    @property
    def values(self) -> Params:
        return self.point.params

    @property
    def initial(self) -> Params:
        return self.coordinates.start.params

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        return estimated_names(self.point.layout)

    @functools.cached_property
    def sides(self) -> np.ndarray:
        """Of each number of the vector on which bound it is: see `Box.sides`."""
        return box_of(self.coordinates).sides(self.point.vector)

    @property
    def active(self) -> dict[str, str]:
        return active_names(self.point.layout, self.sides)

    # How sure

    @functools.cached_property
    def information(self) -> Information:
        """The curvature of what was minimised, of the coordinates of the search; see `Information`."""
        arrays, box = self.problem.arrays, box_of(self.coordinates)
        return information(self.task, self.found, box, arrays, self.sides)

    @functools.cached_property
    def _uncertainty(self) -> Uncertainty:
        rates = np.asarray(value_jacobian(self.point.layout, self.point.vector), np.float64)
        if self.outcome == "failed":
            nan = np.full(len(self.names), np.nan)
            return Uncertainty(np.full((len(nan), len(nan)), np.nan), nan, np.zeros(len(nan), bool))
        epsilon = float(jnp.finfo(self.point.layout.dtype).eps)
        return uncertainty(self.information.root, rates, 1.0, epsilon, self.sides)

    @property
    def covariance(self) -> Float[np.ndarray, "names names"]:
        return self._uncertainty.covariance

    @functools.cached_property
    def stderr(self) -> Params:
        return structured(self._uncertainty.stderr, self.point)

    @property
    def unidentified(self) -> tuple[str, ...]:
        return tuple(name for name, bad in zip(self.names, self._uncertainty.unidentified, strict=True) if bad)

    @property
    def correlation(self) -> Float[np.ndarray, "names names"]:
        """NaN beside a parameter that the data do not determine, or that is on a bound."""
        return correlation_of(self.covariance)

    # The fit

    @property
    def log_likelihood(self) -> float:
        return float(self.found.summary.log_likelihood)

    @property
    def log_prior(self) -> float:
        return float(self.found.summary.log_prior)

    @property
    def penalty(self) -> float:
        return float(self.found.summary.penalty)

    @property
    def objective(self) -> float:
        """What was minimised: `penalty - log_likelihood - log_prior`."""
        return float(self.found.summary.objective)

    @property
    def chi_square(self) -> float:
        return float(self.found.summary.chi_square)

    @property
    def num_data(self) -> int:
        return self.problem.data.count()

    @property
    def num_other_rows(self) -> int:
        """How many of the rows that steps are taken from are no data: those of priors and penalties."""
        terms = self.problem.shapes
        return sum(math.prod(terms.rows[kind].shape) for kind in ("prior", "penalty"))

    @property
    def num_parameters(self) -> int:
        return int(np.sum(self.sides != 2))

    @property
    def degrees_of_freedom(self) -> int:
        return self.num_data - self.num_parameters

    @property
    def aic(self) -> float:
        """Akaike's criterion, `2 num_parameters - 2 log_likelihood`."""
        return 2 * self.num_parameters - 2 * self.log_likelihood

    @property
    def aicc(self) -> float:
        """`aic`, corrected for few data: infinite where there are no more data than parameters and one."""
        left = self.num_data - self.num_parameters - 1
        return self.aic + 2 * self.num_parameters * (self.num_parameters + 1) / left if left > 0 else math.inf

    @property
    def bic(self) -> float:
        """The Bayesian criterion, `log(num_data) num_parameters - 2 log_likelihood`."""
        return math.log(self.num_data) * self.num_parameters - 2 * self.log_likelihood
