"""The engine: one solve by diffrax, with the gradient that suits it."""

import contextlib
from typing import Any

import diffrax
import equinox as eqx
import jax

from ...core import differentiation_mode
from ..adjoints import ReversibleAdjoint, choose_adjoint
from ..runge_kutta import solve_and_replay
from ._events import differentiated, locating
from ._inputs import off_jumps, step_onto
from ._values import largest

_FORWARD_ONLY = (
    "a solve with adjoint=diffrax.ForwardMode(), which is also what least squares chooses, has no reverse-mode derivative: use jax.jvp or "
    "jax.jacfwd, or leave adjoint out"
)


def integrate(
    field: Any,
    y0: Any,
    args: Any,
    ts: Any,
    saveat: diffrax.SaveAt | None,
    settings: dict[str, Any],
    adjoint: Any,
    event: diffrax.Event | None,
    locates: bool = False,
) -> diffrax.Solution:
    """The solution of `dy/dt = field(t, y, args)`, `y(t0) = y0`, whether the solve succeeded or not.

    **Arguments:** `field`: a pytree that can be called, or a tuple of them for a solver that takes several terms; `y0`: a tree of
    floating-point arrays; `args`; `ts`: sorted times to save at, or `None` for the end alone; `saveat`: in place of `ts`;
    `settings`: the other arguments of `diffrax.diffeqsolve`, and `jump_ts`, if the field jumps; `adjoint`: of diffrax, or `"auto"` for the
    one that suits; `event`; `locates`: whether the solve ends when it occurs, or at the end of the step.
    """
    field = off_jumps(field, settings)
    args, settings = step_onto(args, settings)
    if isinstance(settings["solver"], diffrax.AbstractImplicitSolver):
        field = jax.tree.map(lambda part: jax.tree_util.Partial(_in_forward_mode, part), field, is_leaf=callable)
    adjoint = choose_adjoint(adjoint, y0, args, settings, saveat, event).adjoint
    if adjoint is None:
        return solve_and_replay(field, y0, args, ts, settings)
    chosen = saveat is not None
    if saveat is None:
        saveat = diffrax.SaveAt(t1=True) if ts is None else diffrax.SaveAt(ts=ts)
    found = locating(event, field, y0, args, settings) if event is not None and locates else None
    # Adjoints with an equation of their own take no more to save than what they know.
    reports = isinstance(
        adjoint, diffrax.RecursiveCheckpointAdjoint | diffrax.ForwardMode | diffrax.DirectAdjoint | ReversibleAdjoint
    )
    # diffrax joins the value of an event with Python's 0.0 and with times, whatever its dtype.
    promotes = contextlib.nullcontext() if event is None else jax.numpy_dtype_promotion("standard")
    with promotes:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field) if callable(field) else tuple(diffrax.ODETerm(part) for part in field),
            y0=y0,
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
    if isinstance(adjoint, diffrax.ForwardMode):
        ys = eqx.internal.nondifferentiable_backward(solution.ys, msg=_FORWARD_ONLY, symbolic=True)
        solution = eqx.tree_at(lambda s: s.ys, solution, ys, is_leaf=lambda node: node is None)
    return solution


def _in_forward_mode(field: Any, t: Any, y: Any, args: Any) -> Any:
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


def _largest(t: Any, y: Any, args: Any) -> Any:
    del args
    return largest(y, t.dtype)
