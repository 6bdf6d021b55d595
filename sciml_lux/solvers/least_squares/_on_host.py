"""A solve whose steps are taken on the host, by NumPy: what is compiled is the evaluation alone."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from ._linear_model import jacobian_of, norm_of
from ._namespace import Numbers
from ._trust_region import Candidate, Progress, Rules, advance, worthwhile


class Evaluated(NamedTuple):
    """A point: `residual`; `objective`, if there is one; `jacobian`, and whether that was computed (`differentiated`); `aux`."""

    residual: Float[Array, " residuals"]
    objective: Float[Array, ""] | None
    jacobian: Float[Array, "residuals size"]
    differentiated: Bool[Array, ""]
    aux: Any


Evaluate = Callable[[Float[Numbers, " size"], Float[Numbers, ""]], Evaluated]
"""`evaluate(point, limit)`: the Jacobian may be left out where the norm of the residual, or the objective, is above the limit."""


def evaluated(
    residual_of: Callable[[Array], Any],
    point: Float[Numbers, " size"],
    limit: Float[Numbers, ""],
    objective: Callable[[Any, Any], Any] | None = None,
) -> Evaluated:
    """`residual_of(point) -> (residual, aux)` and its Jacobian, in forward mode, to be compiled; `objective(residual, aux)`."""
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


def steps_on_host(
    evaluate: Evaluate, progress: Progress, rules: Rules, aux: PyTree = None, has_objective: bool = False
) -> Iterator[tuple[Progress, Any]]:
    """After each step the state, all of NumPy, and the `aux` of the last accepted point, until the solve ends."""
    while not progress.done:
        point = progress.trial.point
        with np.errstate(all="ignore"):
            limit = np.asarray(worthwhile(progress, has_objective), point.dtype)
            found = evaluate(point, limit)
            progress, accepted = advance(progress, _candidate(evaluate, point, found), rules)
        aux = found.aux if accepted else aux
        yield progress, aux


def _candidate(evaluate: Evaluate, point: Float[Numbers, " size"], found: Evaluated) -> Candidate:
    def jacobian() -> Any:
        # The limit is that of the same rule but for rounding, in which another program may differ.
        whole = found if found.differentiated else evaluate(point, np.asarray(np.inf, point.dtype))
        return np.asarray(whole.jacobian)

    objective = None if found.objective is None else np.asarray(found.objective)
    return Candidate(np.asarray(found.residual), objective, jacobian)
