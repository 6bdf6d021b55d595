"""When a least-squares solve ends, and whether what it ended at is a minimum.

A minimum is certified in numbers that no damping and no scaling of the parameters can touch: what a Gauss-Newton step promises to take
from the sum of squares, computed from columns brought to norm 1; the cosine between the residual and the columns themselves; the residual
beside where the solve started.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ._linear_model import LinearModel, Trial, explained, free_parameters, standard_errors

# A decrease of the sum of squares, relative to it, that is none.
_INSIGNIFICANT = 1e-10

# Bates and Watts (1981): a step within a thousandth of the radius of the confidence region changes no conclusion.
_RELATIVE_OFFSET = 1e-3

# The share of a residual that steps towards one of 0 promise to remove.
_MOST = 0.5

# So many proposals in a row whose effect rounding hides, without an improvement of the gradient or of the step, end a solve.
_FUTILE = 6


class Evidence(eqx.Module):
    """What the solve has seen so far.

    `reference`: the larger of the residual and of what the parameters contributed to it, where the solve started; `remaining`: the largest
    decrease of the sum of squares, relative to it, that the steps refused at this point leave possible (infinite while there are none);
    `gradient`, `length`: the least gradient by columns of norm 1 and the shortest scaled Gauss-Newton step so far; `futile`: the number
    of proposals in a row that rounding hides and that improved neither.
    """

    reference: Float[Array, ""]
    remaining: Float[Array, ""]
    gradient: Float[Array, ""]
    length: Float[Array, ""]
    futile: Int[Array, ""]


def no_evidence(dtype: np.dtype[Any]) -> Evidence:
    infinite = jnp.full((), jnp.inf, dtype)
    return Evidence(infinite, infinite, infinite, infinite, jnp.zeros((), jnp.int32))


def improves(evidence: Evidence, model: LinearModel) -> Bool[Array, ""]:
    """Whether the gradient or the Gauss-Newton step is shorter than it ever was: the measure where rounding hides the sum of squares."""
    return (_gradient(model) < 0.9 * evidence.gradient) | (model.newton_length < 0.9 * evidence.length)


def _gradient(model: LinearModel) -> Float[Array, ""]:
    return model.cosine * model.residual_norm


def gather(
    evidence: Evidence,
    before: LinearModel,
    trial: Trial,
    actual: Float[Array, ""],
    accepted: Bool[Array, ""],
    improved: Bool[Array, ""],
    model: LinearModel,
) -> Evidence:
    """The evidence after `trial`, which was proposed by the model `before` and decreased the sum of squares by `actual`."""
    started = jnp.isfinite(evidence.reference)
    hidden = (trial.predicted <= before.rounding) & started
    return Evidence(
        reference=jnp.where(started, evidence.reference, jnp.maximum(model.residual_norm, model.contribution)),
        remaining=jnp.where(accepted, jnp.inf, _remaining(evidence, before, trial, actual)),
        gradient=jnp.minimum(evidence.gradient, jnp.where(accepted, _gradient(model), jnp.inf)),
        length=jnp.minimum(evidence.length, jnp.where(accepted, model.newton_length, jnp.inf)),
        futile=jnp.where(hidden & ~improved, evidence.futile + 1, 0),
    )


def _remaining(evidence: Evidence, before: LinearModel, trial: Trial, actual: Float[Array, ""]) -> Float[Array, ""]:
    """By the parabola through the refused step; or by what was predicted, where rounding hides the parabola."""
    curvature = -0.5 * actual - trial.slope
    parabola = jnp.where(curvature > 0, trial.slope**2 / jnp.where(curvature > 0, 2 * curvature, 1.0), trial.predicted)
    seen = jnp.abs(actual) > before.rounding
    left = jnp.where(seen, parabola, jnp.maximum(trial.predicted, jnp.abs(actual)))
    return jnp.where(jnp.isfinite(evidence.remaining), jnp.maximum(evidence.remaining, left), left)


def verdict(
    evidence: Evidence,
    model: LinearModel,
    point: Float[Array, " size"],
    trial: Trial,
    tolerances: tuple[Any, Any, Callable[[Any], Any]],
    num_data: int,
) -> tuple[Bool[Array, ""], optx.RESULTS]:
    """Whether the solve ends at `point`, and how; `tolerances` are `rtol`, `atol` and the norm, `trial` what would come next."""
    eps = jnp.finfo(point.dtype).eps
    rtol, atol, norm = tolerances
    rtol = jnp.maximum(jnp.asarray(rtol, point.dtype), 10 * eps)
    size = jnp.abs(point)
    newton = model.newton
    tolerance = jnp.asarray(atol, point.dtype) + rtol * (size + standard_errors(model, num_data))
    tight = norm(jnp.abs(newton) / jnp.maximum(tolerance, jnp.finfo(point.dtype).tiny)) <= 1
    # Steps of which each parameter's part is lost in the rounding of the residuals that it changes.
    settled = jnp.all(jnp.abs(newton) <= 4 * model.resolution)
    # Steps too short for the parameters to move, or too short for anything to be seen of them.
    exhausted = settled | jnp.all(trial.point == point) | (evidence.futile >= _FUTILE)
    # A residual of 0 to which every step goes but a part of the way is never reached, nor are parameters on their way to 0.
    arrived = (jnp.abs(newton) <= rtol * size) | (size <= eps * model.magnitude)
    vanishing = (model.residual_norm <= eps**2 * evidence.reference) & jnp.all(arrived)
    gain = lax.cond(
        tight | exhausted | vanishing,
        lambda: explained(model, num_data),
        lambda: jnp.full((), jnp.inf, point.dtype),
    )
    minimal = (tight & (gain**2 <= _INSIGNIFICANT)) | (exhausted & _certified(evidence, model, gain, num_data))
    # Where no parameter changes anything, nothing says that this is a minimum, unless bounds hold them all.
    minimal = minimal & (jnp.any(model.triangle != 0) | jnp.all(model.held))
    # Its steps promise most of it; what they promise little of is only small beside a start that was far away.
    vanished = vanishing & (gain >= _MOST)
    success = minimal | vanished | (model.residual_norm == 0)
    return success | exhausted, optx.RESULTS.where(
        success | ~exhausted, optx.RESULTS.successful, optx.RESULTS.nonlinear_divergence
    )


def _certified(evidence: Evidence, model: LinearModel, gain: Float[Array, ""], num_data: int) -> Bool[Array, ""]:
    """Whether a point from which nothing improves is a minimum; `gain` is the share of the residual that a Gauss-Newton step removes."""
    eps, parameters = jnp.finfo(gain.dtype).eps, free_parameters(model)
    freedom = jnp.maximum(num_data - parameters, 0) / jnp.maximum(parameters, 1)
    offset = (gain**2 * freedom <= _RELATIVE_OFFSET**2 * (1.0 - gain**2)) & (freedom > 0)
    # A residual that is itself rounding: a step changes what the parameters contribute by less than half of the digits.
    negligible = (gain * model.residual_norm <= jnp.sqrt(eps) * model.contribution) & (
        model.residual_norm <= jnp.sqrt(eps) * evidence.reference
    )
    # Where J is nearly singular a Gauss-Newton step promises what curvature forbids: the gradient decides, and the steps that were refused.
    level = (model.cosine <= 2 * jnp.sqrt(eps)) | (
        (model.cosine <= eps ** (1 / 3)) & (evidence.remaining <= _INSIGNIFICANT)
    )
    return (gain**2 <= _INSIGNIFICANT) | offset | negligible | level
