"""A solve whose steps are taken on the host, by NumPy: what is compiled is the evaluation alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from ._bounds import Bounds
from ._linear_model import jacobian_of, norm_of
from ._namespace import Numbers
from ._trust_region import Candidate, Progress, Rules, advance, begin, worthwhile


class Evaluated(NamedTuple):
    """A point: `residual`; `objective`, if there is one; `jacobian`, and whether that was computed (`differentiated`); `aux`."""

    residual: Float[Numbers, " residuals"]
    objective: Float[Numbers, ""] | None
    jacobian: Float[Numbers, "residuals size"]
    differentiated: Bool[Numbers, ""]
    aux: Any


def evaluated(
    residual_of: Callable[[Array], Any],
    point: Float[Numbers, " size"],
    limit: Float[Numbers, ""],
    objective: Callable[[Any, Any], Any] | None = None,
) -> Evaluated:
    """`residual_of(point) -> (residual, aux)` and, unless the norm of the residual, or `objective(residual, aux)`, is above the limit, its
    Jacobian, in forward mode; to be compiled."""
    point = jnp.asarray(point)
    residual, tangent_map, aux = jax.linearize(residual_of, point, has_aux=True)
    value = None if objective is None else jnp.asarray(objective(residual, aux), residual.dtype)
    size = norm_of(residual) if value is None else value
    wanted = jnp.isfinite(size) & (size <= limit)
    jacobian = lax.cond(
        wanted,
        lambda: jacobian_of(tangent_map, point, residual, "fwd"),
        lambda: residual[:, None] * jnp.zeros_like(point)[None, :],
    )
    return Evaluated(residual, value, jacobian, wanted, aux)


class Descent:
    """A solve on the host, which asks for evaluations and is told of them: of one at a time, or beside others of a batch.

    `progress`: where it stands, `None` before it was told anything; `aux`, `objective`: those of the last accepted point.
    """

    def __init__(self, start: Float[np.ndarray, " size"], rules: Rules) -> None:
        self._start, self._rules = start, rules
        self.progress: Progress | None = None
        self.aux: PyTree = None
        self.num_steps = 0
        self.objective = np.nan

    @property
    def done(self) -> bool:
        return self.progress is not None and bool(self.progress.done)

    def asks(self) -> tuple[np.ndarray, np.ndarray]:
        """The point to evaluate, and the limit above which its Jacobian need not be known."""
        if self.progress is None:
            bounds = self._rules.bounds
            start = self._start if bounds is None else bounds.clip(self._start)
            return np.asarray(start), np.asarray(np.inf, self._start.dtype)
        with np.errstate(all="ignore"):
            limit = worthwhile(self.progress, self._rules)
        return np.asarray(self.progress.trial.point), np.asarray(limit, self._start.dtype)

    def resume(self, progress: Progress, aux: PyTree, num_steps: int) -> None:
        """Goes on from what was kept of the same solve."""
        self.progress, self.aux, self.num_steps = progress, aux, num_steps

    def told(self, found: Evaluated) -> None:
        """Takes a step, by what was found at the point."""
        residual = np.asarray(found.residual)
        if self.progress is None:
            self.progress = begin(self._start, len(residual), self._rules.bounds)
        objective = None if found.objective is None else np.asarray(found.objective)
        candidate = Candidate(residual, objective, lambda: np.asarray(found.jacobian), bool(found.differentiated))
        with np.errstate(all="ignore"):
            self.progress, accepted = advance(self.progress, candidate, self._rules)
        if accepted or self.num_steps == 0:
            self.aux = found.aux
            self.objective = np.nan if objective is None else float(objective)
        self.num_steps += 1


def bounds_of(lower: Float[Numbers, " size"], upper: Float[Numbers, " size"]) -> Bounds:
    """Bounds on the host."""
    return Bounds(np.asarray(lower), np.asarray(upper))
