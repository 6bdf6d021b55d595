"""When a least-squares solve ends, and whether what it ended at is a minimum.

A minimum is certified in numbers that no damping and no scaling of the parameters can touch: what a Gauss-Newton step promises to take
from the sum of squares, computed from columns brought to norm 1; the cosine between the residual and the columns themselves; the residual
beside where the solve started.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Bool, Float, Int

from ._linear_model import LinearModel, Trial, explained, free_parameters, standard_errors
from ._namespace import Numbers, branch, choose, namespace_of

# A decrease of the sum of squares, relative to it, that is none.
_INSIGNIFICANT = 1e-10

# Bates and Watts (1981): a step within a thousandth of the radius of the confidence region changes no conclusion.
_RELATIVE_OFFSET = 1e-3

# The share of a residual that steps towards one of 0 promise to remove.
_MOST = 0.5

# So many proposals in a row whose effect rounding hides, without an improvement of the gradient or of the step, end a solve.
_FUTILE = 6


class Evidence(NamedTuple):
    """What the solve has seen so far.

    `reference`: the larger of the residual and of what the parameters contributed to it, where the solve started; `remaining`: the largest
    decrease of the sum of squares, relative to it, that the steps refused at this point leave possible (infinite while there are none);
    `gradient`, `length`: the least gradient by columns of norm 1 and the shortest scaled Gauss-Newton step so far; `futile`: the number
    of proposals in a row that rounding hides and that improved neither.
    """

    reference: Float[Numbers, ""]
    remaining: Float[Numbers, ""]
    gradient: Float[Numbers, ""]
    length: Float[Numbers, ""]
    futile: Int[Numbers, ""]


def no_evidence(point: Float[Numbers, " size"]) -> Evidence:
    xp = namespace_of(point)
    infinite = xp.full((), xp.inf, point.dtype)
    return Evidence(infinite, infinite, infinite, infinite, xp.zeros((), xp.int32))


def improves(evidence: Evidence, model: LinearModel) -> Bool[Numbers, ""]:
    """Whether the gradient or the Gauss-Newton step is shorter than it ever was: the measure where rounding hides the sum of squares."""
    return (_gradient(model) < 0.9 * evidence.gradient) | (model.newton_length < 0.9 * evidence.length)


def _gradient(model: LinearModel) -> Float[Numbers, ""]:
    return model.cosine * model.residual_norm


def gather(
    evidence: Evidence,
    before: LinearModel,
    trial: Trial,
    actual: Float[Numbers, ""],
    accepted: Bool[Numbers, ""],
    improved: Bool[Numbers, ""],
    model: LinearModel,
) -> Evidence:
    """The evidence after `trial`, which was proposed by the model `before` and decreased the sum of squares by `actual`."""
    xp = namespace_of(model.scale)
    started = xp.isfinite(evidence.reference)
    hidden = (trial.predicted <= before.rounding) & started
    return Evidence(
        reference=choose(started, evidence.reference, xp.maximum(model.residual_norm, model.contribution)),
        remaining=branch(
            accepted,
            lambda: xp.full((), xp.inf, model.scale.dtype),
            lambda: _remaining(evidence, before, trial, actual),
        ),
        gradient=xp.minimum(evidence.gradient, choose(accepted, _gradient(model), xp.inf)),
        length=xp.minimum(evidence.length, choose(accepted, model.newton_length, xp.inf)),
        futile=choose(hidden & ~improved, evidence.futile + 1, 0),
    )


def _remaining(evidence: Evidence, before: LinearModel, trial: Trial, actual: Float[Numbers, ""]) -> Float[Numbers, ""]:
    """By the parabola through the refused step; or by what was predicted, where rounding hides the parabola."""
    xp = namespace_of(before.scale)
    curvature = -0.5 * actual - trial.slope
    parabola = choose(curvature > 0, trial.slope**2 / choose(curvature > 0, 2 * curvature, 1.0), trial.predicted)
    seen = abs(actual) > before.rounding
    left = choose(seen, parabola, xp.maximum(trial.predicted, abs(actual)))
    return choose(xp.isfinite(evidence.remaining), xp.maximum(evidence.remaining, left), left)


def verdict(
    evidence: Evidence,
    model: LinearModel,
    point: Float[Numbers, " size"],
    trial: Trial,
    tolerances: tuple[Any, Any, Callable[[Any], Any]],
    num_data: int,
) -> tuple[Bool[Numbers, ""], Bool[Numbers, ""]]:
    """Whether the solve ends at `point`, and whether that is a minimum; `tolerances` are `rtol`, `atol` and the norm, `trial` what would
    come next."""
    xp, eps = namespace_of(point), jnp.finfo(point.dtype).eps
    rtol, atol, norm = tolerances
    rtol = xp.maximum(xp.asarray(rtol, point.dtype), 10 * eps)
    size = abs(point)
    newton = model.newton
    tolerance = xp.asarray(atol, point.dtype) + rtol * (size + standard_errors(model, num_data))
    tight = _measured(norm, abs(newton) / xp.maximum(tolerance, jnp.finfo(point.dtype).tiny)) <= 1
    # Steps of which each parameter's part is lost in the rounding of the residuals that it changes.
    settled = (abs(newton) <= 4 * model.resolution).all()
    # Steps too short for the parameters to move, or too short for anything to be seen of them.
    exhausted = settled | (trial.point == point).all() | (evidence.futile >= _FUTILE)
    # A residual of 0 to which every step goes but a part of the way is never reached, nor are parameters on their way to 0.
    arrived = (abs(newton) <= rtol * size) | (size <= eps * model.magnitude)
    vanishing = (model.residual_norm <= eps**2 * evidence.reference) & arrived.all()
    gain = branch(
        tight | exhausted | vanishing,
        lambda: explained(model, num_data),
        lambda: xp.full((), xp.inf, point.dtype),
    )
    certified = branch(exhausted, lambda: _certified(evidence, model, gain, num_data), lambda: xp.zeros((), bool))
    minimal = (tight & (gain**2 <= _INSIGNIFICANT)) | certified
    # Where no parameter changes anything, nothing says that this is a minimum, unless bounds hold them all.
    minimal = minimal & ((model.triangle != 0).any() | model.held.all())
    # Its steps promise most of it; what they promise little of is only small beside a start that was far away.
    vanished = vanishing & (gain >= _MOST)
    success = minimal | vanished | (model.residual_norm == 0)
    return success | exhausted, success


def _measured(norm: Callable[[Any], Any], array: Float[Numbers, " size"]) -> Any:
    """The norm, which is JAX's."""
    if isinstance(array, jax.Array):
        return norm(array)
    return abs(array).max(initial=0.0) if norm is optx.max_norm else np.asarray(norm(array))


def _certified(evidence: Evidence, model: LinearModel, gain: Float[Numbers, ""], num_data: int) -> Bool[Numbers, ""]:
    """Whether a point from which nothing improves is a minimum; `gain` is the share of the residual that a Gauss-Newton step removes."""
    xp, eps, parameters = namespace_of(gain), jnp.finfo(gain.dtype).eps, free_parameters(model)
    freedom = xp.maximum(num_data - parameters, 0) / xp.maximum(parameters, 1)
    offset = (gain**2 * freedom <= _RELATIVE_OFFSET**2 * (1.0 - gain**2)) & (freedom > 0)
    # A residual that is itself rounding: a step changes what the parameters contribute by less than half of the digits.
    negligible = (gain * model.residual_norm <= xp.sqrt(eps) * model.contribution) & (
        model.residual_norm <= xp.sqrt(eps) * evidence.reference
    )
    # Where J is nearly singular a Gauss-Newton step promises what curvature forbids: the gradient decides, and the steps that were refused.
    level = (model.cosine <= 2 * xp.sqrt(eps)) | (
        (model.cosine <= eps ** (1 / 3)) & (evidence.remaining <= _INSIGNIFICANT)
    )
    return (gain**2 <= _INSIGNIFICANT) | offset | negligible | level
