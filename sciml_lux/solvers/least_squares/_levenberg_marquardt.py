"""Levenberg-Marquardt as a trust-region method in scaled variables, for `optimistix.least_squares`."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from ._bounds import Bounds, along, propose_within
from ._convergence import Evidence, gather, improves, no_evidence, verdict
from ._linear_model import LinearModel, Trial, empty_model, jacobian_of, linear_model, norm_of

# The gain ratio (actual over predicted decrease) below which a step is refused, and the two between which the radius
# stays as it is: Moré (1978), algorithm 7.1.
_REFUSED, _POOR, _GOOD = 1e-4, 0.25, 0.75

# How cautious a solve is with parameters that hardly matter (see `linear_model`), until it finds nothing more.
_CAUTION = 0.1


class _State(eqx.Module):
    """What is carried between steps. `unit`: that of all residuals here, the largest at the start, so that no square leaves the range of
    the dtype; 0 before it is known. `fresh`: whether the next point is taken as a start, whatever its sum of squares. `objective`: of the
    option of that name, at the last accepted point."""

    model: LinearModel
    trial: Trial
    evidence: Evidence
    unit: Float[Array, ""]
    objective: Float[Array, ""]
    radius: Float[Array, ""]
    caution: Float[Array, ""]
    fresh: Bool[Array, ""]
    pressed: Int[Array, " size"]
    done: Bool[Array, ""]
    result: optx.RESULTS
    aux: Any


class LevenbergMarquardt(optx.AbstractLeastSquaresSolver[Any, Any, Any, Any]):
    r"""Levenberg-Marquardt: Gauss-Newton steps, each the best one inside an ellipsoid whose size follows the model's success.

    Minimises `||r(y)||^2 / 2`. Each step solves `min ||r + J p||` subject to `||D p|| <= radius`, whose solution is
    `p = -(J^T J + damping D^2)^-1 J^T r`. `D` holds the largest norm that each column of `J` has had, so that the iterates do not
    depend on the units of the parameters; a parameter may not move, relative to its magnitude, more than ten times as far as the most
    influential one, until nothing else improves. `J D^-1` is factorised once per accepted point (QR, then an SVD of the triangle:
    its condition is never squared), after which every `damping` costs a few vector operations: the one that belongs to the
    radius is found by Newton's method on `1 / ||D p||`. Radius and acceptance follow the ratio of actual to predicted decrease. A
    point where the residual or its Jacobian is not finite is refused like one that is worse.

    **Stopping.** With `p` the full Gauss-Newton step and `s_j` the standard error of parameter `j`, both from the current `J`:
    success if `norm(|p_j| / (atol + rtol (|y_j| + s_j))) <= 1` and `p` promises to lower the sum of squares by no more than
    `1e-10` of it. The step estimates the distance to the minimum, and its size is compared with the parameter or its uncertainty,
    so the default tolerances suit every scale. Where rounding hides the change of the sum of squares, a step is accepted if it
    shortens the gradient or `p`; a solve ends after six in a row that do neither, or if a step no longer changes the parameters.

    **What success means.** A solve that can improve nothing more succeeds only with a certificate that depends on neither `D` nor
    the damping: `p` promises no more than `1e-10` of the sum of squares; or lies within a thousandth of the confidence region's
    radius (the relative offset); or the residual is orthogonal to every column of `J` to half of the digits, or to a third of
    them while no refused step left more than `1e-10` to gain (a singular `J`); or the residual is rounding beside the start's and
    beside `|J| |y|`. A residual of 0 is one too, and one that has fallen to `eps^2` of the start's with every parameter at rest
    or fallen to `eps` of the largest it has been. Else the result is `nonlinear_divergence`: at a kink, at an infimum at
    infinity, where the residual is not smooth, where it depends on no parameter. A minimum is certified to first order: a start
    at a saddle point stays there. A start where residual or Jacobian is not finite is `nonfinite`.

    **Arguments:** `rtol`, `atol`, `norm`: as above (`rtol` is at least 10 units of rounding); `initial_radius`: the first radius,
    in units of `||D y0||`.

    **Options** of `optimistix.least_squares`: `autodiff_mode`, `"fwd"` (one Jacobian-vector product a parameter) or `"bwd"` (one
    vector-Jacobian product a residual); by default `"bwd"` if there are more than four times as many parameters as residuals.
    `lower`, `upper`: closed bounds on `y`, numbers or trees like it of arrays that broadcast to it; where they are equal a parameter
    is fixed; where they are the wrong way round the result is `nonfinite`. A start outside is put on the bound. A parameter on a bound
    against which the gradient presses it is held: the others are minimised over, and what was said of columns is said of theirs
    (first-order optimality with bounds). A step goes as far as the first bound, on from there along it, and nine tenths of the way only
    until the parameter was kept from going farther twice; iterates on a bound are so exactly. Bounds are data: others compile nothing.
    `sizes`: numbers or a tree like `y`, in place of the magnitude of `y` where steps are chosen, for numbers whose origin means nothing,
    such as logarithms (1: a factor of e).
    `objective`: a function of the `aux` of `fn`: what is minimised in place of `||r||^2 / 2`, such as a negative logarithm of a likelihood.
    Then `r` and `J` stand for its gradient, `J^T r`, and its curvature, `J^T J`, such as Fisher's information (the method of scoring), and
    what was said of the sum of squares is said of the objective, with changes relative to `||r||^2 / 2`; a residual of 0 is a gradient of
    0.

    **Source:** J. J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", Lecture Notes in Mathematics 630
    (1978), 105-116. Rounding near the minimum: Conn, Gould and Toint, "Trust-Region Methods" (2000), section 17.4.2. The
    comparison with standard errors, and the relative offset: Bates and Watts, Technometrics 23 (1981), 179-183.
    """

    rtol: float = 1e-12
    atol: float = 0.0
    norm: Callable[[PyTree], Scalar] = optx.max_norm
    initial_radius: float = 1.0

    def init(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree,
        aux_struct: PyTree,
        tags: frozenset[object],
    ) -> _State:
        """Nothing is evaluated here: the first step does it, so that the residual is traced once."""
        point, _ = ravel_pytree(y)
        bounds = Bounds.of(options, y)
        point = point if bounds is None else bounds.clip(point)
        zero = jnp.zeros((), point.dtype)
        num_data = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(f_struct))
        aux = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf,
            aux_struct,
        )
        return _State(
            empty_model(point.size, num_data, point.dtype),
            Trial(point, zero, zero, zero, jnp.asarray(False), jnp.zeros(point.shape, bool)),
            no_evidence(point.dtype),
            unit=zero,
            objective=zero,
            radius=zero,
            caution=jnp.full((), _CAUTION, point.dtype),
            fresh=jnp.asarray(True),
            pressed=jnp.zeros(point.shape, jnp.int32),
            done=jnp.asarray(False),
            result=optx.RESULTS.successful,
            aux=aux,
        )

    def step(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
    ) -> tuple[Any, _State, Any]:
        """Evaluates the proposed point, accepts or refuses it, and proposes the next."""
        bounds = Bounds.of(options, y)
        point, unravel = ravel_pytree(y)

        def residual_of(vector: Float[Array, " size"]) -> Any:
            residual, aux = fn(unravel(vector), args)
            return ravel_pytree(residual)[0].astype(vector.dtype), aux

        residual, tangent_map, aux = jax.linearize(residual_of, state.trial.point, has_aux=True)
        unit = jnp.where(state.unit > 0, state.unit, _unit_of(residual))
        residual, tangents = residual / unit, lambda direction: tangent_map(direction) / unit
        objective = _objective(options, aux, unit)
        sizes = None if options.get("sizes") is None else along(y, "sizes", options["sizes"], 0.0)
        ratio, actual, hidden = _gain_ratio(state, norm_of(residual), objective)
        accepted, improved, model = self._judge(
            options, bounds, tangents, residual, objective, sizes, ratio, hidden, state
        )
        evidence = gather(state.evidence, state.model, state.trial, actual, accepted, improved, model)
        point = jnp.where(accepted, state.trial.point, point)
        ratio = jnp.where(accepted | (ratio < _REFUSED), ratio, -1.0)
        radius = self._radius(ratio, accepted, model, jnp.abs(point) if sizes is None else sizes, state)
        pressed = jnp.where(accepted, jnp.where(state.trial.pressed, state.pressed + 1, 0), state.pressed)
        trial = propose_within(model, point, radius, bounds, pressed)
        done, result = verdict(evidence, model, point, trial, (self.rtol, self.atol, self.norm), residual.size)

        failed = state.fresh & ~accepted
        # A failure must not be that of a heuristic, or of a symmetry that no step breaks: the solve goes on beside, without either.
        again = done & (result != optx.RESULTS.successful) & (state.caution > 0) & ~failed
        result = optx.RESULTS.where(again, optx.RESULTS.successful, result)
        new_state = _State(
            model,
            eqx.tree_at(
                lambda trial: trial.point, trial, jnp.where(again, _perturbed(point, model, bounds), trial.point)
            ),
            eqx.tree_at(lambda evidence: evidence.futile, evidence, jnp.where(again, 0, evidence.futile)),
            unit,
            objective=state.objective if objective is None else jnp.where(accepted, objective, state.objective),
            radius=radius,
            caution=jnp.where(again, jnp.zeros_like(state.caution), state.caution),
            fresh=again,
            pressed=pressed,
            done=failed | (done & ~again),
            result=optx.RESULTS.where(failed, optx.RESULTS.nonfinite, result),
            aux=jax.tree.map(
                lambda new, old: jnp.where(accepted, new, old) if eqx.is_array(new) else new, aux, state.aux
            ),
        )
        return unravel(point), new_state, new_state.aux

    def _judge(
        self,
        options: dict[str, Any],
        bounds: Bounds | None,
        tangent_map: Callable[[Array], Array],
        residual: Float[Array, " residuals"],
        objective: Float[Array, ""] | None,
        sizes: Float[Array, " size"] | None,
        ratio: Float[Array, ""],
        hidden: Bool[Array, ""],
        state: _State,
    ) -> tuple[Bool[Array, ""], Bool[Array, ""], LinearModel]:
        """Whether the proposed point is accepted; whether it is closer by gradient or step; and the model there (or the old one)."""
        finite = jnp.isfinite(norm_of(residual)) & (True if objective is None else jnp.isfinite(objective))
        promising = finite & (state.fresh | (ratio >= _REFUSED))

        def rebuild() -> Any:
            jacobian = jacobian_of(tangent_map, state.trial.point, residual, options.get("autodiff_mode"))
            okay = jnp.all(jnp.isfinite(jacobian))
            # The decomposition of a matrix with NaN can raise or hang in LAPACK.
            jacobian = jnp.where(okay, jacobian, 0.0)
            first = ~jnp.isfinite(state.evidence.reference)
            point = state.trial.point
            held = jnp.zeros(point.shape, bool) if bounds is None else bounds.hold(point, residual @ jacobian)
            size = jnp.abs(point) if sizes is None else sizes
            model = linear_model(jacobian, residual, state.model, point, state.caution, first, held, size)
            return okay, model if objective is None else _rounded(model, objective)

        okay, model = lax.cond(promising, rebuild, lambda: (jnp.asarray(False), state.model))
        improved = okay & improves(state.evidence, model)
        accepted = okay & (improved | ~hidden)
        return accepted, improved, jax.tree.map(lambda new, old: jnp.where(accepted, new, old), model, state.model)

    def _radius(
        self,
        ratio: Float[Array, ""],
        accepted: Bool[Array, ""],
        model: LinearModel,
        sizes: Float[Array, " size"],
        state: _State,
    ) -> Float[Array, ""]:
        """The next radius: Moré (1978), algorithm 7.1 (c)."""
        length, slope, radius = state.trial.length, state.trial.slope, state.radius
        actual = ratio * state.trial.predicted
        # The minimiser along the step of the parabola through the two values and the slope.
        shrink = jnp.where(actual >= 0, 0.5, 0.5 * slope / (slope + 0.5 * actual))
        shrink = jnp.where(jnp.isfinite(shrink), jnp.clip(shrink, 0.1, 0.5), 0.1)
        shrunk = shrink * jnp.minimum(radius, 10.0 * length)
        grown = jnp.where((ratio >= _GOOD) | state.trial.undamped, 2.0 * length, radius)
        later = jnp.where(accepted & (ratio > _POOR), grown, shrunk)
        start = norm_of(model.scale * sizes)
        start = self.initial_radius * jnp.where(start > 0, start, model.residual_norm)
        return jnp.where(state.fresh, start, later)

    def terminate(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        return state.done, state.result

    def postprocess(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        aux: PyTree,
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[Any, Any, dict[str, Any]]:
        return y, aux, {}


def _unit_of(residual: Float[Array, " residuals"]) -> Float[Array, ""]:
    largest = jnp.max(jnp.abs(residual), initial=0.0)
    return jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)


def _perturbed(point: Float[Array, " size"], model: LinearModel, bounds: Bounds | None) -> Float[Array, " size"]:
    """A point nearby that shares no symmetry with this one."""
    directions = jnp.cos(1.0 + 2.4 * jnp.arange(point.size, dtype=point.dtype))
    nearby = point + jnp.finfo(point.dtype).eps ** (1 / 3) * model.magnitude * directions
    return nearby if bounds is None else jnp.where(model.held, point, bounds.clip(nearby))


def _objective(options: dict[str, Any], aux: PyTree, unit: Float[Array, ""]) -> Float[Array, ""] | None:
    """The value of the option `objective`, in the unit of the squares; `None` for half the sum of squares."""
    function = options.get("objective")
    return None if function is None else jnp.asarray(function(aux), unit.dtype) / unit / unit


def _rounded(model: LinearModel, objective: Float[Array, ""]) -> LinearModel:
    """The model of an objective that is no sum of squares: its own rounding hides changes too."""
    norm = jnp.where(model.residual_norm > 0, model.residual_norm, 1.0)
    rounding = model.rounding + 20 * jnp.finfo(norm.dtype).eps * jnp.abs(objective) / norm / norm
    return eqx.tree_at(lambda model: model.rounding, model, rounding)


def _gain_ratio(
    state: _State, norm: Float[Array, ""], objective: Float[Array, ""] | None
) -> tuple[Float[Array, ""], Float[Array, ""], Bool[Array, ""]]:
    """Actual over predicted decrease of what is minimised, relative to the sum of squares; the actual one; and whether both are too
    small for rounding to tell."""
    before = state.model.residual_norm
    relative = norm / before
    # An increase beyond 10 times the norm, or to something not finite, counts as the worst ratio there is.
    actual = jnp.where(relative < 10.0, 1.0 - relative**2, -99.0)
    if objective is not None:
        decrease = 2.0 * (state.objective - objective) / before / before
        actual = jnp.where(decrease > -99.0, decrease, -99.0)
    predicted, rounding = state.trial.predicted, state.model.rounding
    hidden = (predicted <= rounding) & (jnp.abs(actual) <= rounding) & ~state.fresh
    ratio = jnp.where(predicted > 0, actual / predicted, -1.0)
    return jnp.where(hidden, 1.0, ratio), actual, hidden
