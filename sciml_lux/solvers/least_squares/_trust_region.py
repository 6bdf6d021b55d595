"""What happens between two evaluations: a candidate is accepted or refused, and the next one is proposed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PyTree, Scalar

from ._bounds import Bounds, propose_within
from ._convergence import Evidence, gather, improves, no_evidence, verdict
from ._linear_model import LinearModel, Trial, empty_model, linear_model, norm_of
from ._namespace import Numbers, branch, choose, namespace_of

# The gain ratio (actual over predicted decrease) below which a step is refused, and the two between which the radius
# stays as it is: Moré (1978), algorithm 7.1.
_REFUSED, _POOR, _GOOD = 1e-4, 0.25, 0.75

# How cautious a solve is with parameters that hardly matter (see `linear_model`), until it finds nothing more.
_CAUTION = 0.1


class Rules(NamedTuple):
    """What does not change during a solve: the arguments of `LevenbergMarquardt`, `bounds`; `sizes`, in place of the magnitudes of the
    parameters; and whether the sum of squares stands for an objective."""

    rtol: Any
    atol: Any
    norm: Callable[[PyTree], Scalar]
    initial_radius: float
    bounds: Bounds | None
    sizes: Float[Numbers, " size"] | None
    has_objective: bool


class Candidate(NamedTuple):
    """What was found at the proposed point: the residual; the value of the option `objective`, if there is one; `jacobian`, which is asked
    for only where the point is promising; `differentiated`: whether it can be: a candidate of which it is not known is refused."""

    residual: Float[Numbers, " residuals"]
    objective: Float[Numbers, ""] | None
    jacobian: Callable[[], Float[Numbers, "residuals size"]]
    differentiated: Bool[Numbers, ""] | bool = True


class Progress(NamedTuple):
    """What is carried between steps. `unit`: that of all residuals here, the largest at the start, so that no square leaves the range of
    the dtype; 0 before it is known. `fresh`: whether the next point is taken as a start, whatever its sum of squares. `objective`: of the
    option of that name, at the last accepted point, in the unit of the squares. `done`; `minimal`, `finite`: whether that is at a minimum,
    and whether there was a point at all."""

    point: Float[Numbers, " size"]
    model: LinearModel
    trial: Trial
    evidence: Evidence
    unit: Float[Numbers, ""]
    objective: Float[Numbers, ""]
    radius: Float[Numbers, ""]
    caution: Float[Numbers, ""]
    fresh: Bool[Numbers, ""]
    pressed: Int[Numbers, " size"]
    done: Bool[Numbers, ""]
    minimal: Bool[Numbers, ""]
    finite: Bool[Numbers, ""]


def begin(point: Float[Numbers, " size"], num_data: int, bounds: Bounds | None) -> Progress:
    """Nothing is known yet: the first candidate is the start, put within the bounds."""
    xp = namespace_of(point)
    point = point if bounds is None else bounds.clip(point)
    zero, no = xp.zeros((), point.dtype), xp.zeros((), bool)
    return Progress(
        point,
        empty_model(point, num_data),
        Trial(point, zero, zero, zero, no, xp.zeros(point.shape, bool)),
        no_evidence(point),
        unit=zero,
        objective=zero,
        radius=zero,
        caution=xp.full((), _CAUTION, point.dtype),
        fresh=xp.ones((), bool),
        pressed=xp.zeros(point.shape, xp.int32),
        done=no,
        minimal=no,
        finite=no,
    )


def advance(progress: Progress, candidate: Candidate, rules: Rules) -> tuple[Progress, Bool[Numbers, ""]]:
    """Accepts or refuses the candidate, which it says, and proposes the next."""
    xp, bounds, trial = namespace_of(progress.point), rules.bounds, progress.trial
    unit = branch(progress.unit > 0, lambda: progress.unit, lambda: _unit_of(candidate.residual))
    residual = candidate.residual / unit
    objective = None if candidate.objective is None else candidate.objective / unit / unit
    ratio, actual, hidden = _gain_ratio(progress, norm_of(residual), objective)
    scaled = Candidate(residual, objective, lambda: candidate.jacobian() / unit, candidate.differentiated)
    accepted, improved, model = _judge(progress, scaled, rules, ratio, hidden)
    evidence = gather(progress.evidence, progress.model, trial, actual, accepted, improved, model)
    point = choose(accepted, trial.point, progress.point)
    ratio = choose(accepted | (ratio < _REFUSED), ratio, -1.0)
    sizes = abs(point) if rules.sizes is None else rules.sizes
    radius = _radius(progress, ratio, accepted, model, sizes, rules.initial_radius)
    pressed = choose(accepted, xp.where(trial.pressed, progress.pressed + 1, 0), progress.pressed)
    following = propose_within(model, point, radius, bounds, pressed)
    tolerances = rules.rtol, rules.atol, rules.norm
    done, minimal = verdict(evidence, model, point, following, tolerances, residual.size)

    failed = progress.fresh & ~accepted
    # A failure must not be that of a heuristic, or of a symmetry that no step breaks: the solve goes on beside, without either.
    again = done & ~minimal & (progress.caution > 0) & ~failed
    following = branch(again, lambda: following._replace(point=_perturbed(point, model, bounds)), lambda: following)
    return Progress(
        point,
        model,
        following,
        evidence._replace(futile=choose(again, 0, evidence.futile)),
        unit,
        objective=progress.objective if objective is None else choose(accepted, objective, progress.objective),
        radius=radius,
        caution=choose(again, 0.0, progress.caution),
        fresh=again,
        pressed=pressed,
        done=failed | (done & ~again),
        minimal=minimal & ~failed,
        finite=~failed,
    ), accepted


def worthwhile(progress: Progress, rules: Rules) -> Float[Numbers, ""]:
    """The norm of the residual, or the objective, above which the candidate will be refused, so that its Jacobian need not be known."""
    xp, eps = namespace_of(progress.point), jnp.finfo(progress.point.dtype).eps
    before, predicted, rounding = progress.model.residual_norm, progress.trial.predicted, progress.model.rounding
    least = _REFUSED * predicted
    least = choose(predicted <= rounding, xp.minimum(least, -rounding), least)
    if rules.has_objective:
        limit = progress.objective - 0.5 * least * before**2
        limit = (limit + 16 * eps * abs(limit)) * progress.unit * progress.unit
    else:
        limit = xp.sqrt(1.0 - least) * before * (1 + 16 * eps) * progress.unit
    return choose(progress.fresh, xp.inf, limit)


def _judge(
    progress: Progress,
    candidate: Candidate,
    rules: Rules,
    ratio: Float[Numbers, ""],
    hidden: Bool[Numbers, ""],
) -> tuple[Bool[Numbers, ""], Bool[Numbers, ""], LinearModel]:
    """Whether the proposed point is accepted; whether it is closer by gradient or step; and the model there (or the old one)."""
    residual, objective, jacobian, differentiated = candidate
    xp, point = namespace_of(residual), progress.trial.point
    finite = xp.isfinite(norm_of(residual)) & (True if objective is None else xp.isfinite(objective))
    promising = finite & differentiated & (progress.fresh | (ratio >= _REFUSED))

    def rebuild() -> Any:
        columns = jacobian()
        okay = xp.isfinite(columns).all()
        # The decomposition of a matrix with NaN can raise or hang in LAPACK.
        columns = choose(okay, columns, xp.zeros_like(columns))
        first = ~xp.isfinite(progress.evidence.reference)
        held = xp.zeros(point.shape, bool) if rules.bounds is None else rules.bounds.hold(point, residual @ columns)
        size = abs(point) if rules.sizes is None else rules.sizes
        model = linear_model(columns, residual, progress.model, point, progress.caution, first, held, size)
        return okay, model if objective is None else _rounded(model, objective)

    okay, model = branch(promising, rebuild, lambda: (xp.zeros((), bool), progress.model))
    improved = okay & improves(progress.evidence, model)
    accepted = okay & (improved | ~hidden)
    return accepted, improved, _chosen(accepted, model, progress.model)


def _chosen(accepted: Bool[Numbers, ""], new: LinearModel, old: LinearModel) -> LinearModel:
    if not isinstance(accepted, jax.Array):
        return new if accepted else old
    return jax.tree.map(lambda one, other: jnp.where(accepted, one, other), new, old)


def _radius(
    progress: Progress,
    ratio: Float[Numbers, ""],
    accepted: Bool[Numbers, ""],
    model: LinearModel,
    sizes: Float[Numbers, " size"],
    initial_radius: float,
) -> Float[Numbers, ""]:
    """The next radius: Moré (1978), algorithm 7.1 (c)."""
    xp, length, slope, radius = namespace_of(sizes), progress.trial.length, progress.trial.slope, progress.radius
    actual = ratio * progress.trial.predicted
    # The minimiser along the step of the parabola through the two values and the slope.
    shrink = choose(actual >= 0, 0.5, 0.5 * slope / (slope + 0.5 * actual))
    shrink = choose(xp.isfinite(shrink), xp.minimum(xp.maximum(shrink, 0.1), 0.5), 0.1)
    shrunk = shrink * xp.minimum(radius, 10.0 * length)
    grown = choose((ratio >= _GOOD) | progress.trial.undamped, 2.0 * length, radius)
    later = choose(accepted & (ratio > _POOR), grown, shrunk)
    start = norm_of(model.scale * sizes)
    start = initial_radius * choose(start > 0, start, model.residual_norm)
    return choose(progress.fresh, start, later)


def _unit_of(residual: Float[Numbers, " residuals"]) -> Float[Numbers, ""]:
    xp = namespace_of(residual)
    largest = abs(residual).max(initial=0.0)
    return choose((largest > 0) & xp.isfinite(largest), largest, 1.0)


def _perturbed(point: Float[Numbers, " size"], model: LinearModel, bounds: Bounds | None) -> Float[Numbers, " size"]:
    """A point nearby that shares no symmetry with this one."""
    xp = namespace_of(point)
    directions = xp.cos(1.0 + 2.4 * xp.arange(point.size, dtype=point.dtype))
    nearby = point + jnp.finfo(point.dtype).eps ** (1 / 3) * model.magnitude * directions
    return nearby if bounds is None else xp.where(model.held, point, bounds.clip(nearby))


def _rounded(model: LinearModel, objective: Float[Numbers, ""]) -> LinearModel:
    """The model of an objective that is no sum of squares: its own rounding hides changes too."""
    norm = choose(model.residual_norm > 0, model.residual_norm, 1.0)
    rounding = model.rounding + 20 * jnp.finfo(norm.dtype).eps * abs(objective) / norm / norm
    return model._replace(rounding=rounding)


def _gain_ratio(
    progress: Progress, norm: Float[Numbers, ""], objective: Float[Numbers, ""] | None
) -> tuple[Float[Numbers, ""], Float[Numbers, ""], Bool[Numbers, ""]]:
    """Actual over predicted decrease of what is minimised, relative to the sum of squares; the actual one; and whether both are too
    small for rounding to tell."""
    before = progress.model.residual_norm
    relative = norm / before
    # An increase beyond 10 times the norm, or to something not finite, counts as the worst ratio there is.
    actual = choose(relative < 10.0, 1.0 - relative**2, -99.0)
    if objective is not None:
        decrease = 2.0 * (progress.objective - objective) / before / before
        actual = choose(decrease > -99.0, decrease, -99.0)
    predicted, rounding = progress.trial.predicted, progress.model.rounding
    hidden = (predicted <= rounding) & (abs(actual) <= rounding) & ~progress.fresh
    ratio = choose(predicted > 0, actual / predicted, -1.0)
    return choose(hidden, 1.0, ratio), actual, hidden
