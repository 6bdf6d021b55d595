"""One solve, from a checked request to a solution that says how it ended."""

import math
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..._errors import ShapeError
from ...core import is_okay, type_of
from .._failure import Failure, Outcome
from ..adjoints import APART, ReversibleAdjoint
from ._batching import Problem, own_times
from ._values import check_resolution, save_as, time_dtype


def solve_one(node: Any, saveat: diffrax.SaveAt | None, known: bool, problem: Problem, shared: Any) -> Any:
    """The solution of a problem, and whether it succeeded; the values of one that failed are those that it had reached.

    **Arguments:** `node`; `saveat`; `known`: whether the times were checked already; `problem`; `shared`: parameters and state.
    """
    params, state = shared
    y0 = node.lift(problem.given, params, state)
    if not jax.tree.leaves(y0):
        raise ShapeError(
            f"{type(node).__name__}: the state holds no arrays, got y0={problem.given!r}; write y0 = jnp.zeros(...) of the state's shape"
        )
    # Times of the state's own precision: diffrax would promote a float32 state to that of the times.
    time = time_dtype(y0).type
    check_resolution(type(node).__name__, node.t0, node.t1, np.dtype(time))
    t0 = time(node.t0) if problem.t0 is None else jnp.asarray(problem.t0, time)
    ts, real, wrong = None, None, None
    if problem.ts is not None:
        ts = jnp.asarray(problem.ts, time)
        if problem.length is not None:
            ts, real = own_times(ts, problem.length)
        if not known:
            ts, wrong = _within_span(node, ts, t0)
    elif not known:
        t0, wrong = _before_end(node, t0)
    saveat = None if saveat is None else save_as(saveat, time)
    solution = node._solution(y0, (params, state, problem.inputs), t0, ts, saveat, time)
    solution = _judged(solution, wrong)
    solution = node._observed(solution, saveat, params, state)
    if real is not None:
        solution = eqx.tree_at(lambda s: s.ys, solution, jax.tree.map(lambda leaf: _still(leaf, real), solution.ys))
    return solution, is_okay(solution.result)


def _within_span(node: Any, ts: Array, t0: Any) -> tuple[Array, Array]:
    """`ts`, and whether they cannot be: then all are `t0`, where there is nothing to do. Both are known at run time only."""
    forward = node.t1 > node.t0
    end = jnp.asarray(node.t1, ts.dtype)
    slack = 4 * jnp.finfo(ts.dtype).eps * max(abs(node.t0), abs(node.t1))
    before, after = (t0, end) if forward else (end, t0)
    steps = ts[1:] - ts[:-1] if forward else ts[:-1] - ts[1:]
    # A comparison with NaN is false.
    fits = jnp.all((ts >= before - slack) & (ts <= after + slack)) & jnp.all(steps >= 0)
    # No clip, which passes on half of a derivative at either end.
    ts = jnp.where(ts < before, before, jnp.where(ts > after, after, ts))
    return jnp.where(fits, ts, t0), ~fits


def _before_end(node: Any, t0: Any) -> tuple[Any, Array]:
    """`t0`, and whether a solve cannot start there: then it is the end, where there is nothing to do."""
    end = jnp.asarray(node.t1, jnp.result_type(t0))
    wrong = ~(t0 <= end if node.t1 > node.t0 else t0 >= end)
    return jnp.where(wrong, end, t0), wrong


def _judged(solution: diffrax.Solution, wrong: Any) -> diffrax.Solution:
    """A solution whose result also knows of times that cannot be, and of a state that is not finite."""
    result: Any = solution.result
    kind = type_of(result)
    if wrong is not None:
        result = kind.where(wrong, kind.nonfinite_input, result)
    if "y_largest" in solution.stats:
        finite = jnp.isfinite(solution.stats["y_largest"])
        result = kind.where(is_okay(result) & ~finite, kind.nonfinite, result)
    return eqx.tree_at(lambda s: s.result, solution, result)


def _still(leaf: Array, real: Array) -> Array:
    """`leaf`, from whose padding no gradient comes back."""
    rows = real.reshape(-1, *[1] * (leaf.ndim - 1))
    return jnp.where(rows, leaf, lax.stop_gradient(leaf))


def outcome(solution: diffrax.Solution, okay: Any) -> Outcome:
    unknown = jnp.full(jnp.shape(okay), jnp.nan, jnp.float32)
    facts = [solution.stats.get(name, unknown) for name in ("t_reached", "y_largest")]
    result: Any = solution.result
    return Outcome(okay, jnp.broadcast_to(result._value, jnp.shape(okay)), *facts)


def explain(node: Any, kind: Any, failure: Failure) -> str:
    """What happened, where, and what to try."""

    def failed(*items: Any) -> bool:
        return any(int(item._value) == failure.result for item in items)

    where = "" if math.isnan(failure.t) else f" at t={failure.t:.6g}"
    if failure.samples > 1:
        where += f" in sample {failure.sample} ({failure.number} of {failure.samples} samples failed)"
    size = "" if math.isnan(failure.largest) else f", where the largest number of the state is {failure.largest:.3g}"
    stiff = "" if node.stiff or node.solver is not None else ", or write stiff=True for an implicit solver"
    message = kind._index_to_message[failure.result].split(". ")[0].rstrip(".")
    own = node.advice(failure.result)
    if own is not None:
        advice = own
    elif failed(kind.nonlinear_divergence) and isinstance(node.adjoint, ReversibleAdjoint):
        message, advice = "The solve cannot be reversed", APART
    elif failed(kind.nonfinite_input):
        message = "The times ts are not sorted, not finite, or not within the span, or t0 is not"
        advice, size = "give sorted times from t0 to t1; lengths= leaves out padding", ""
    elif failed(kind.internal_error):
        message, size = "Values are missing at some of the times that were asked for", ""
        advice = "this is a fault of the solver's; report it with the times, and write adjoint=diffrax.DirectAdjoint() for another loop"
    elif failed(kind.nonfinite):
        message = "The state is not finite"
        advice = f"take smaller steps than dt0={node.dt0}, or leave out stepsize_controller for steps that adapt; look for NaN in the field"
    elif failed(kind.dt_min_reached):
        message = "The step shrank to nothing"
        advice = (
            "the field is NaN near there (the root or logarithm of a negative number?), jumps, or lets the solution grow without bound: "
            f"bound it, or shorten the span{stiff}"
        )
    else:
        advice = f"raise max_steps={node.max_steps}, loosen rtol={node.rtol:g} or atol={node.atol}{stiff}"
    return (
        f"{type(node).__name__}: the solve from t0={node.t0:g} to t1={node.t1:g} failed{where}{size}. {message}: {advice}. "
        "With throw=False failed solves return NaN, and their result says why"
    )
