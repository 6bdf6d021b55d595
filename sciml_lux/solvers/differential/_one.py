"""One solve, from a checked request to a solution that says how it ended."""

import math
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ..._errors import ShapeError
from ...core import State, is_okay, message_of, number_of, type_of
from ...flatten import Params
from .._failure import Failure, Outcome
from .._types import StateTree
from ..adjoints import APART, ReversibleAdjoint
from ._batching import own_times
from ._equation import Equation
from ._request import Request, Start
from ._settings import SolveSettings
from ._values import check_resolution, save_as, time_dtype

_SAVED_AS_IT_IS = diffrax.SubSaveAt(t1=True).fn


def solve_one(
    equation: Equation, settings: SolveSettings, known: bool, request: Request, shared: tuple[Params, State]
) -> Any:
    """The solution of a request, and whether it succeeded; the values of one that failed are those that it had reached.

    **Arguments:** `known`: whether the times were checked already; `request`: of one sample, or of all jointly; `shared`: parameters and
    state.
    """
    params, state = shared
    state = request.seen_by(state)
    y0 = equation.lift(request.y0, params, state)
    if not jax.tree.leaves(y0):
        raise ShapeError(
            f"{settings.adapter}: the state holds no arrays, got y0={request.y0!r}; write y0 = jnp.zeros(...) of the state's shape"
        )
    # Times of the state's own precision: diffrax would promote a float32 state to that of the times.
    time = time_dtype(y0).type
    check_resolution(settings.adapter, settings.t0, settings.t1, np.dtype(time))
    t0 = time(settings.t0) if request.t0 is None else jnp.asarray(request.t0, time)
    ts, real, wrong = None, None, None
    if request.ts is not None:
        ts = jnp.asarray(request.ts, time)
        if request.lengths is not None:
            ts, real = own_times(ts, request.lengths)
        if not known:
            ts, wrong = _within_span(settings, ts, t0)
    elif not known:
        t0, wrong = _before_end(settings, t0)
    saveat = None if request.saveat is None else save_as(request.saveat, time)
    start = Start(y0, t0, ts, params, state, request.inputs, request.drives, saveat)
    solution = _judged(equation.solution_from(start, settings), wrong)
    solution = _observed(equation, solution, start)
    if real is not None:
        solution = eqx.tree_at(
            lambda s: s.ys, solution, jax.tree.map(lambda leaf: _without_gradient_of_padding(leaf, real), solution.ys)
        )
    return solution, is_okay(solution.result)


def _within_span(settings: SolveSettings, ts: Array, t0: Any) -> tuple[Array, Array]:
    """`ts`, and whether they cannot be: then all are `t0`, where there is nothing to do. Both are known at run time only."""
    forward = settings.t1 > settings.t0
    end = jnp.asarray(settings.t1, ts.dtype)
    slack = 4 * jnp.finfo(ts.dtype).eps * max(abs(settings.t0), abs(settings.t1))
    before, after = (t0, end) if forward else (end, t0)
    steps = ts[1:] - ts[:-1] if forward else ts[:-1] - ts[1:]
    # A comparison with NaN is false.
    fits = jnp.all((ts >= before - slack) & (ts <= after + slack)) & jnp.all(steps >= 0)
    # No clip, which passes on half of a derivative at either end.
    ts = jnp.where(ts < before, before, jnp.where(ts > after, after, ts))
    return jnp.where(fits, ts, t0), ~fits


def _before_end(settings: SolveSettings, t0: Float[Array, ""]) -> tuple[Any, Array]:
    """`t0`, and whether a solve cannot start there: then it is the end, where there is nothing to do."""
    end = jnp.asarray(settings.t1, jnp.result_type(t0))
    wrong = ~(t0 <= end if settings.t1 > settings.t0 else t0 >= end)
    return jnp.where(wrong, end, t0), wrong


def _judged(solution: diffrax.Solution, wrong: Bool[Array, ""] | None) -> diffrax.Solution:
    """A solution whose result also knows of times that cannot be, and of a state that is not finite."""
    result: Any = solution.result
    kind = type_of(result)
    if wrong is not None:
        result = kind.where(wrong, kind.nonfinite_input, result)
    if "y_largest" in solution.stats:
        finite = jnp.isfinite(solution.stats["y_largest"])
        result = kind.where(is_okay(result) & ~finite, kind.nonfinite, result)
    return eqx.tree_at(lambda s: s.result, solution, result)


def _observed(equation: Equation, solution: diffrax.Solution, start: Start) -> diffrax.Solution:
    """The solution with what is returned of the states in it."""
    if type(equation).observe is Equation.observe or solution.ys is None:
        return solution

    def observed(sub: diffrax.SubSaveAt, ys: StateTree) -> Any:
        # What a function of the user's made of the state is no state.
        if sub.fn is not _SAVED_AS_IT_IS:
            return ys
        return jax.vmap(lambda y: equation.observe(y, start.params, start.state))(ys)

    subs = diffrax.SubSaveAt(t1=True) if start.saveat is None else start.saveat.subs
    ys = jax.tree.map(observed, subs, solution.ys, is_leaf=lambda node: isinstance(node, diffrax.SubSaveAt))
    return eqx.tree_at(lambda s: s.ys, solution, ys)


def _without_gradient_of_padding(leaf: Array, real: Array) -> Array:
    """`leaf`, from whose padding no gradient comes back."""
    rows = real.reshape(-1, *[1] * (leaf.ndim - 1))
    return jnp.where(rows, leaf, lax.stop_gradient(leaf))


def outcome(solution: diffrax.Solution, okay: Bool[Array, "..."]) -> Outcome:
    unknown = jnp.full(jnp.shape(okay), jnp.nan, jnp.float32)
    facts = [solution.stats.get(name, unknown) for name in ("t_reached", "y_largest")]
    result: Any = solution.result
    return Outcome(okay, jnp.broadcast_to(number_of(result), jnp.shape(okay)), *facts)


def explain(equation: Equation, settings: SolveSettings, kind: type, failure: Failure) -> str:
    """What happened, where, and what to try."""

    def failed(*items: Any) -> bool:
        return any(int(number_of(item)) == failure.result for item in items)

    where = "" if math.isnan(failure.t) else f" at t={failure.t:.6g}"
    if failure.samples > 1:
        where += f" in sample {failure.sample} ({failure.number} of {failure.samples} samples failed)"
    size = "" if math.isnan(failure.largest) else f", where the largest number of the state is {failure.largest:.3g}"
    stiff = "" if settings.stiff or settings.solver is not None else ", or write stiff=True for an implicit solver"
    message = message_of(kind, failure.result).split(". ")[0].rstrip(".")
    own = equation.advice(failure.result)
    if own is not None:
        advice = own
    elif failed(kind.nonlinear_divergence) and isinstance(settings.adjoint, ReversibleAdjoint):
        message, advice = "The solve cannot be reversed", APART
    elif failed(kind.nonfinite_input):
        message = "The times ts are not sorted, not finite, or not within the span, or t0 is not"
        advice, size = "give sorted times from t0 to t1; lengths= leaves out padding", ""
    elif failed(kind.internal_error):
        message, size = "Values are missing at some of the times that were asked for", ""
        advice = "this is a fault of the solver's; report it with the times, and write adjoint=diffrax.DirectAdjoint() for another loop"
    elif failed(kind.nonfinite):
        message = "The state is not finite"
        advice = (
            f"take smaller steps than dt0={settings.dt0}, or leave out stepsize_controller for steps that adapt; "
            "look for NaN in the field"
        )
    elif failed(kind.dt_min_reached):
        message = "The step shrank to nothing"
        advice = (
            "the field is NaN near there (the root or logarithm of a negative number?), jumps, or lets the solution grow without bound: "
            f"bound it, or shorten the span{stiff}"
        )
    else:
        advice = f"raise max_steps={settings.max_steps}, loosen rtol={settings.rtol:g} or atol={settings.atol}{stiff}"
    return (
        f"{settings.adapter}: the solve from t0={settings.t0:g} to t1={settings.t1:g} failed{where}{size}. {message}: {advice}. "
        "With throw=False failed solves return NaN, and their result says why"
    )
