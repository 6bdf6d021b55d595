"""Least squares over a parameter vector."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from .._errors import ParameterError, ShapeError, SolveError
from ..core import State, as_state, is_known
from ..flatten import FlatParams, Layout, as_array
from ..kernels import is_compiling, is_traced
from ..solvers import LevenbergMarquardt
from ._coordinates import Coordinates, coordinates_of
from ._evaluate import describe_point, value_jacobian
from ._labels import active_names, estimated_names, structured
from ._loss import Loss, LossName, loss_of
from ._optimality import Optimality
from ._refits import Refits
from ._result import LeastSquaresResult
from ._task import Solved, Task
from ._uncertainty import Uncertainty, uncertainty
from ._warnings import find_warnings


def least_squares(
    residual: Callable[..., Any],
    ps: FlatParams,
    st: Any = None,
    data: Any = None,
    *,
    bounds: tuple[Any, Any] | None = None,
    solver: Any = None,
    max_steps: int = 2000,
    absolute_sigma: bool = False,
    loss: LossName = "linear",
    f_scale: float = 1.0,
    throw: bool = True,
) -> LeastSquaresResult:
    r"""The parameters that minimise the sum of squares of a residual, with their standard errors.

    Minimises `sum(r**2)` over the one vector of `ps`, within closed `bounds`; those of `lux.bounded` are closed here as well, and other
    constrained parameters stay within theirs, since the vector holds them through their maps. The covariance is that of the linearised
    model at the minimum, carried through the constraint maps to the parameters as they are declared (the delta method): `s^2 G (J^T J)^-1
    G^T`, with `J` the Jacobian of `r` and `G` that of the parameters, both by the vector, and `s^2 = sum(r**2) / (num_data - size)`. The
    residual is differentiated in forward mode, for which solvers inside it, such as `NeuralODE`, choose their adjoint by themselves.

    **Arguments:** `residual(ps, st, data) -> (r, st)`, with `r` an array of any shape or a tree of them: model minus data,
    divided by the standard deviation of each if they differ; `ps`: the start, from `lux.setup` or `lux.flatten.flatten`;
    `st`: the state, constant during the solve and advanced once, at the minimum; `data`: handed to `residual`; `bounds`: `(lower, upper)`
    in the units in which parameters are shown, for those whose map keeps the order (`real`, `positive`, `bounded`): each one number for
    all of them, or a mapping of paths to numbers or arrays. A start or a minimum may lie on a bound, and a parameter whose bounds are
    equal is fixed: these are data, and compile nothing. `solver`: any
    least-squares solver or minimiser of optimistix (default: `lux.solvers.LevenbergMarquardt()`); `max_steps`;
    `absolute_sigma`: whether the residuals are in units of standard deviations that are known, so that `s^2` is 1;
    `loss`, `f_scale`: `"linear"`, or, so that outliers count less, `"huber"`, `"soft_l1"`, `"cauchy"`, `"arctan"`: `f_scale^2 sum(rho((r /
    f_scale)^2))` is minimised, with SciPy's `rho`, where `f_scale` is the residual beyond which a point counts less. The covariance is then
    SciPy's: `s^2` is what is minimised over the degrees of freedom, and rows of `J` are multiplied by the roots of `rho' + 2 rho'' z`;
    `throw`: whether a solve that fails raises.

    **Returns:** a `LeastSquaresResult`; `print` it. Its `outcome` is `"converged"`, `"stalled"` (nothing lowers the sum of squares any
    more, or `max_steps` were taken, at a point that is not known to be a minimum), or `"failed"` (no finite point). Compiled once for
    each `residual`, layout and shape of data, and anew when anything that `residual` reads has changed: globals, closures, attributes,
    the elements of arrays, and so on through what it calls. A function whose reach cannot be seen (it draws from NumPy's generators,
    reads files or the clock, or evaluates text) is compiled at every call. A function for scripts: it runs on concrete arrays, not
    inside `jax.jit`.

    **Errors:** `ValueError` for data that are not finite, or beyond the range of JAX's dtype; `ShapeError` for fewer residuals than
    parameters, or a batch of vectors;
    `LayerError` for a residual that does not return `(r, st)`; `SolveError` for a residual that is not finite at the start, and
    for a solve that did not converge. With `throw=False` it returns the best point and what can be said of it, and the reason in `result`.

    **Source:** covariance and delta method: Seber and Wild, "Nonlinear Regression" (1989), sections 2.1 and 5.1.
    """
    _check_parameters(ps)
    st = State() if st is None else as_state(st)
    chosen = loss_of(loss, f_scale)
    solver = LevenbergMarquardt() if solver is None else solver
    _check_solver(solver, chosen)
    coordinates = _coordinates(bounds, ps, solver)
    ps, box = coordinates.start, coordinates.box
    data = jax.tree.map(lambda leaf: as_array(leaf, what="data") if isinstance(leaf, np.ndarray) else leaf, data)
    task = Task(residual, solver, chosen, st, data)
    solved = task.run(ps, box, max_steps)
    outcome = _outcome(task, solved, absolute_sigma, coordinates)
    if throw and not outcome.successful:
        raise SolveError(_explain(outcome, chosen.cost(np.asarray(solved.start.residual)), solved.where, max_steps))
    return outcome


def _coordinates(bounds: object, ps: FlatParams, solver: object) -> Coordinates:
    """Closed bounds are for the solver that keeps them; to others parameters are as they are declared."""
    if isinstance(solver, LevenbergMarquardt):
        return coordinates_of(bounds, ps)
    if bounds is not None:
        raise ParameterError(
            f"bounds are kept by lux.solvers.LevenbergMarquardt, and not by {type(solver).__name__}; write solver=None, or no bounds"
        )
    return Coordinates(ps, None, ps.layout)


def _check_solver(solver: object, loss: Loss) -> None:
    if not loss.is_linear and type(solver) is not LevenbergMarquardt:
        raise ParameterError(
            f"loss={loss.name!r} is minimised by lux.solvers.LevenbergMarquardt, and not by {type(solver).__name__}; write solver=None"
        )


def _check_parameters(ps: object) -> None:
    if not isinstance(ps, FlatParams):
        raise ParameterError(
            f"least squares starts from a FlatParams, got {type(ps).__name__}; write ps, st = lux.setup(key, model), "
            "or ps = lux.flatten.flatten({'rate': lux.positive(0.5)})"
        )
    if is_traced(ps.vector) or is_compiling():
        raise ParameterError("least squares runs on concrete arrays; call it outside jax.jit, jax.grad and jax.vmap")
    if ps.vector.ndim != 1:
        raise ShapeError(
            f"least squares starts from one vector, got a batch of shape {ps.vector.shape[:-1]}; loop over ps.replace(vector[i])"
        )


def _outcome(task: Task, solved: Solved, absolute_sigma: bool, coordinates: Coordinates) -> LeastSquaresResult:
    box, ps, end, result, loss = coordinates.box, solved.ps, solved.end, solved.result, task.loss
    residual, jacobian, rates = (
        np.asarray(array, np.float64) for array in (end.residual, end.jacobian, value_jacobian(ps.layout, ps.vector))
    )
    names = estimated_names(ps.layout)
    sides = np.zeros(ps.layout.size, int) if box is None else box.sides(ps.vector)
    cost = loss.cost(residual)
    degrees_of_freedom = jacobian.shape[0] - int(np.sum(sides != 2))
    variance = 2 * cost / degrees_of_freedom if degrees_of_freedom else np.inf
    if np.isfinite(cost) and np.all(np.isfinite(jacobian)):
        epsilon = float(jnp.finfo(ps.layout.dtype).eps)
        # SciPy's least: what is left of a row whose curvature is 0 or negative.
        roots = np.sqrt(np.maximum(loss.curvature(residual), np.finfo(np.float64).eps))
        found = uncertainty(jacobian * roots[:, None], rates, 1.0 if absolute_sigma else variance, epsilon, sides)
    else:
        nan = np.full(len(names), np.nan)
        found = Uncertainty(np.full((len(names), len(names)), np.nan), nan, np.zeros(len(names), bool))
        result = optx.RESULTS.nonfinite if is_known(result, optx.RESULTS.successful) else result
    unidentified = tuple(name for name, bad in zip(names, found.unidentified, strict=True) if bad)
    active, converged = active_names(ps.layout, sides), is_known(result, optx.RESULTS.successful)
    weighted = residual * loss.weights(residual)
    return LeastSquaresResult(
        values=ps.params,
        stderr=structured(found.stderr, ps),
        covariance=found.covariance,
        names=names,
        unidentified=unidentified,
        active=active,
        ps=coordinates.declared(ps.vector),
        st=end.st,
        residuals=end.returned,
        jacobian=end.jacobian * jnp.asarray(coordinates.rates(ps.vector)[None], end.jacobian.dtype),
        num_data=jacobian.shape[0],
        degrees_of_freedom=degrees_of_freedom,
        chi_square=float(np.sum(residual**2)),
        cost=cost,
        residual_std=float(np.sqrt(variance)) if degrees_of_freedom else float("nan"),
        absolute_sigma=absolute_sigma,
        loss=loss.name,
        f_scale=loss.f_scale,
        num_steps=solved.num_steps,
        result=result,
        warnings=_warnings(
            ps, unidentified, solved.where, degrees_of_freedom, absolute_sigma, jacobian, weighted, active, converged
        ),
        refits=Refits(task, ps, box),
    )


def _warnings(
    ps: FlatParams,
    unidentified: tuple[str, ...],
    where: Optimality,
    degrees_of_freedom: int,
    absolute_sigma: bool,
    jacobian: np.ndarray,
    residual: np.ndarray,
    active: dict[str, str],
    converged: bool,
) -> tuple[str, ...]:
    flat = _without_influence(ps.layout, where)
    others = tuple(name for name in unidentified if name.partition("[")[0] not in flat)
    sentences = find_warnings(ps, others, degrees_of_freedom, absolute_sigma, jacobian, residual, converged)
    pressed = [f"{name} ({side})" for name, side in active.items() if side != "fixed"]
    if pressed:
        sentences = (
            f"at a bound: {', '.join(pressed)}; the standard errors of the others are those with this held there",
            *sentences,
        )
    if not flat:
        return sentences
    return (f"{_no_influence(flat)}, so that nothing is known of {_them(flat)}; {_cure(flat)}", *sentences)


def _without_influence(layout: Layout, where: Optimality) -> list[str]:
    """The paths of the parameters of which no number has any influence on the residual at the point."""
    return [e.path for e in layout.entries if e.size and np.all(where.flat[e.offset : e.offset + e.size])]


def _no_influence(paths: list[str]) -> str:
    return f"the residual does not depend on {', '.join(paths)} there (the derivative is exactly 0)"


def _them(paths: list[str]) -> str:
    return "them" if len(paths) > 1 else "it"


def _cure(paths: list[str]) -> str:
    return f"start {_them(paths)} elsewhere, or fix {_them(paths)} with lux.fixed(...) if it never does"


def _explain(outcome: LeastSquaresResult, before: float, where: Optimality, max_steps: int) -> str:
    """What a solve that did not converge says; `before` is the cost where it began."""
    at = describe_point(outcome.ps)
    if is_known(outcome.result, optx.RESULTS.nonlinear_max_steps_reached):
        what = f"did not converge within max_steps={max_steps}"
        hint = "Raise max_steps, start nearer, or look for parameters that the data do not determine"
    elif is_known(outcome.result, optx.RESULTS.nonlinear_divergence) and np.any(where.flat):
        flat = _without_influence(outcome.ps.layout, where)
        what = f"ended at a point that is not known to be a minimum: {_no_influence(flat)}"
        hint = _cure(flat).capitalize()
    elif is_known(outcome.result, optx.RESULTS.nonlinear_divergence):
        what = "found no step that lowers the sum of squares, at a point that is not a minimum"
        hint = (
            "Is the residual smooth there (tighter tolerances for solvers inside it)? Do parameters run away, or hold one another "
            "(bound them with lux.bounded, or fix one)? Otherwise start elsewhere"
        )
    else:
        what = f"failed: {optx.RESULTS[outcome.result]}".rstrip(".")
        hint = "Start elsewhere, or constrain the parameters"
    minimised = "the sum of squares" if outcome.loss == "linear" else f"the {outcome.loss} loss"
    return (
        f"least squares {what}, after {outcome.num_steps} steps; {minimised} went from {2 * before:.6g} to {2 * outcome.cost:.6g}, "
        f"at {at}. {hint}; throw=False returns what was reached"
    )
