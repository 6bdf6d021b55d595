"""The engine: one solve by diffrax, with the gradient that suits it."""

import contextlib
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...core import differentiation_mode
from .._both_modes import in_both_modes
from .._types import Fields, StateTree, Time
from ..adjoints import ReversibleAdjoint, choose_adjoint
from ..runge_kutta import solve_and_replay
from ._closure import with_closures
from ._empty_span import end_moved, start_moved
from ._events import differentiated, locating
from ._fields import as_terms, is_driven, map_fields
from ._first_step import choosing_first_step
from ._inputs import off_jumps, step_onto
from ._values import largest

_FORWARD_ONLY = (
    "a solve with adjoint=diffrax.ForwardMode(), which is also what least squares chooses, has no reverse-mode derivative: use jax.jvp or "
    "jax.jacfwd, or leave adjoint out"
)
_ONCE = (
    "the default gradient of a solve cannot be differentiated backwards once more: use jax.hessian or jax.jacfwd(jax.grad(...)), which go "
    "forward through it, or write adjoint=diffrax.DirectAdjoint()"
)
_ONCE_FROM_CHECKPOINTS = (
    "a solve with checkpoints, adjoint=diffrax.RecursiveCheckpointAdjoint(), can be differentiated once; for second derivatives write "
    "adjoint=diffrax.DirectAdjoint(), or adjoint=diffrax.ForwardMode() and jax.jacfwd twice"
)
# Adjoints with an equation of their own take no more to save than what they know.
_REPORTING = diffrax.RecursiveCheckpointAdjoint | diffrax.ForwardMode | diffrax.DirectAdjoint | ReversibleAdjoint


def integrate(
    field: Fields,
    y0: StateTree,
    args: PyTree,
    ts: Float[Array, " times"] | None,
    saveat: diffrax.SaveAt | None,
    settings: dict[str, Any],
    adjoint: Any,
    event: diffrax.Event | None,
    locates: bool = False,
) -> diffrax.Solution:
    """The solution of `dy/dt = field(t, y, args)`, `y(t0) = y0`, whether the solve succeeded or not.

    It is successful only if a value was saved at every time that was asked for.

    **Arguments:** `field`: a pytree that can be called, a tuple of them for a solver that takes several terms, or terms of diffrax; `y0`:
    a tree of floating-point arrays; `args`; `ts`: sorted times to save at, or `None` for the end alone; `saveat`: in place of `ts`;
    `settings`: the other arguments of `diffrax.diffeqsolve`, and `jump_ts`, if the field jumps; `adjoint`: of diffrax, or `"auto"` for the
    one that suits; `event`; `locates`: whether the solve ends when it occurs, or at the end of the step.

    Solutions of driven terms have no slope: an event of theirs is not located, unless by its own root finder, and their end does not move
    with times.
    """
    field = off_jumps(field, settings)
    settings = {**settings, "stepsize_controller": choosing_first_step(settings["stepsize_controller"])}
    args, settings = step_onto(args, settings)
    if isinstance(settings["solver"], diffrax.AbstractImplicitSolver):
        field = map_fields(lambda part: jax.tree_util.Partial(_in_forward_mode, part), field)
    adjoint = choose_adjoint(adjoint, y0, args, settings, saveat, event, driven=is_driven(field)).adjoint
    if not _has_one_mode(adjoint):
        solution = _solved((field, y0, args, ts, saveat, settings, event), adjoint, locates)
        return _complete(solution, saveat)
    field, args, saveat, event = with_closures(field, args, saveat, event, y0, settings)
    solution = in_both_modes(
        lambda problem: _solved(problem, adjoint, locates),
        lambda problem: _solved(problem, diffrax.ForwardMode(), locates),
        (field, y0, args, ts, saveat, settings, event),
        _ONCE if adjoint is None else _ONCE_FROM_CHECKPOINTS,
        twice=adjoint is None,
    )
    return _complete(solution, saveat)


def _has_one_mode(adjoint: Any) -> bool:
    """Whether an adjoint is for reverse mode alone, and gives the derivative of the very steps that are taken without it."""
    return adjoint is None or type(adjoint) is diffrax.RecursiveCheckpointAdjoint


def _solved(problem: tuple[Any, ...], adjoint: Any, locates: bool) -> diffrax.Solution:
    field, y0, args, ts, saveat, settings, event = problem
    if adjoint is None:
        return solve_and_replay(field, y0, args, ts, settings)
    chosen = saveat is not None
    if saveat is None:
        saveat = diffrax.SaveAt(t1=True) if ts is None else diffrax.SaveAt(ts=ts)
    driven = is_driven(field)
    found = locating(event, field, y0, args, settings) if event is not None and locates and not driven else None
    reports = isinstance(adjoint, _REPORTING)
    terms = as_terms(field)
    # diffrax joins the value of an event with Python's 0.0 and with times, whatever its dtype.
    promotes = contextlib.nullcontext() if event is None else jax.numpy_dtype_promotion("standard")
    with promotes:
        solution = diffrax.diffeqsolve(
            terms,
            y0=y0 if driven else start_moved(terms, y0, args, settings),
            args=args,
            saveat=_with_end(saveat) if reports else saveat,
            adjoint=adjoint,
            event=event if found is None else found.event,
            throw=False,
            **settings,
        )
    solution = _without_end(solution) if reports else solution
    if found is not None:
        solution = differentiated(found, solution, ts is None and not chosen, chosen, field, args, settings)
    ys = solution.ys
    if ts is not None and not driven:
        ys = end_moved(terms, ys, ts, y0, args, settings)
    if isinstance(adjoint, diffrax.ForwardMode):
        ys = eqx.internal.nondifferentiable_backward(ys, msg=_FORWARD_ONLY, symbolic=True)
    return eqx.tree_at(lambda s: s.ys, solution, ys, is_leaf=lambda node: node is None)


def _complete(solution: diffrax.Solution, saveat: diffrax.SaveAt | None) -> diffrax.Solution:
    """The solution, which is no success if a value is missing: a row that no step came to has no time."""
    subs = diffrax.SaveAt(t1=True).subs if saveat is None else saveat.subs
    result: Any = solution.result

    def missing(sub: diffrax.SubSaveAt, ts: Float[Array, " times"]) -> Any:
        asked = ts.size if not sub.steps else sub.t0 + (0 if sub.ts is None else sub.ts.size)
        return jnp.sum(jnp.isfinite(ts), dtype=jnp.int32) < asked

    parts = jax.tree.map(missing, subs, solution.ts, is_leaf=_is_sub)
    short = jax.tree.reduce(jnp.logical_or, parts, jnp.zeros((), bool)) & (result == diffrax.RESULTS.successful)
    result = diffrax.RESULTS.where(short, diffrax.RESULTS.internal_error, result)
    return eqx.tree_at(lambda s: s.result, solution, result)


def _is_sub(node: object) -> bool:
    return isinstance(node, diffrax.SubSaveAt)


def _in_forward_mode(field: Callable[..., Any], t: Time, y: StateTree, args: PyTree) -> Any:
    """The field for a solver that needs its Jacobian, which is computed forward whatever becomes of the solution."""
    with differentiation_mode("forward"):
        return field(t, y, args)


def _with_end(saveat: diffrax.SaveAt) -> diffrax.SaveAt:
    end = diffrax.SubSaveAt(t1=True, fn=_largest)
    return eqx.tree_at(lambda s: s.subs, saveat, (saveat.subs, end), is_leaf=lambda node: node is None)


def _without_end(solution: diffrax.Solution) -> diffrax.Solution:
    saved: Any = (solution.ts, solution.ys)
    (ts, t), (ys, size) = saved
    stats = {**solution.stats, "t_reached": t[0], "y_largest": size[0]}
    is_none = lambda node: node is None  # noqa: E731
    return eqx.tree_at(lambda s: (s.ts, s.ys, s.stats), solution, (ts, ys, stats), is_leaf=is_none)


def _largest(t: Float[Array, ""], y: StateTree, args: PyTree) -> Any:
    del args
    return largest(y, t.dtype)
