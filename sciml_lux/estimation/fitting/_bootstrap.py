"""The parametric bootstrap."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..._errors import ParameterError, SolveError
from .._evaluate import estimated_values
from ..problem import Arrays, Predicted, filled
from ._box import box_of
from ._estimate import Estimate
from ._lanes import Job, Searches, run_searches, width_of
from ._search import Budget, Search


@dataclass(frozen=True)
class Bootstrap:
    """Estimates from data that were drawn: `values`, a row for each set whose fit ended at a finite point and a column for each of `names`;
    `successful`: which of these converged; `num_failed`: how many sets have no row."""

    names: tuple[str, ...]
    values: Float[np.ndarray, "n names"]
    successful: np.ndarray
    num_failed: int

    @property
    def stderr(self) -> Float[np.ndarray, " names"]:
        """The standard deviations over the sets."""
        return np.std(self.values, axis=0, ddof=1)

    def interval(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """By name, the quantiles between which this share of the estimates lies."""
        low, high = np.quantile(self.values, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return {name: (float(one), float(other)) for name, one, other in zip(self.names, low, high, strict=True)}


def bootstrap(estimate: Estimate, n: int, key: Key[Array, ""]) -> Bootstrap:
    """Each set has the points that were observed, and no others; each fit starts at the estimate. Nothing is compiled."""
    if not isinstance(n, int) or n < 2:
        raise ParameterError(f"a bootstrap draws 2 sets of data or more, got n={n!r}")
    box, ended = box_of(estimate.coordinates), dict[int, Search]()

    def search(own: Key[Array, ""]) -> Searches[Search]:
        job = Job(estimate.task, estimate.point.vector, box, drawn(estimate, own), Budget(steps=500))
        return (yield job)

    run_searches([search(own) for own in jax.random.split(key, n)], width_of(estimate.problem, n), ended.__setitem__)
    finite = [
        one for _, one in sorted(ended.items()) if np.all(np.isfinite(one.point)) and np.isfinite(one.summary.objective)
    ]
    values = [np.asarray(estimated_values(estimate.point.layout, jnp.asarray(one.point)), np.float64) for one in finite]
    successful = [one.successful for one in finite]
    if len(values) < 2:
        raise SolveError(
            f"{n - len(values)} of {n} fits to data that were drawn have no finite point, so that nothing is said of their scatter"
        )
    return Bootstrap(estimate.names, np.stack(values), np.array(successful), n - len(values))


def drawn(estimate: Estimate, key: Key[Array, ""]) -> Arrays:
    """The data of the problem, with measurements that are drawn around what the estimate predicts."""
    arrays, summary = estimate.problem.arrays, estimate.found.summary
    observed = {}
    for name, noise in estimate.problem.function.simulation.noise:
        key, own = jax.random.split(key)
        one = arrays.observed[name]
        location, spread = filled(Predicted(summary.location[name], summary.spread[name]), one)
        value = noise.sample(own, location, spread)
        value = np.where(one.mask, np.asarray(value), 1.0).astype(location.dtype)
        if one.censored is not None:
            # What is censored stays so where the draw is beyond its limit as well.
            beyond = (one.censored != 0) & (one.censored * (value - one.value) >= 0)
            value = np.where(beyond, one.value, value)
            one = one._replace(censored=np.where(beyond, one.censored, 0).astype(one.censored.dtype))
        observed[name] = one._replace(value=value)
    return arrays._replace(observed=observed)
