"""The engine: one solve by diffrax, with the gradient that suits it."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from ...core import differentiation_mode
from ..adjoints import is_replayable, solve_and_replay


def integrate(
    field: Any,
    y0: Any,
    args: Any,
    ts: Any,
    saveat: diffrax.SaveAt | None,
    settings: dict[str, Any],
    adjoint: diffrax.AbstractAdjoint | None,
    event: diffrax.Event | None,
) -> diffrax.Solution:
    """The solution of `dy/dt = field(t, y, args)`, `y(t0) = y0`, whether the solve succeeded or not.

    **Arguments:** `field`: a pytree that can be called, or a tuple of them for a solver that takes several terms; `y0`: a tree of
    floating-point arrays; `args`; `ts`: sorted times to save at, or `None` for the end alone; `saveat`: in place of `ts`;
    `settings`: the other arguments of `diffrax.diffeqsolve`; `adjoint`: `None` for the one that suits; `event`.
    """
    if adjoint is None and event is None and saveat is None and _can_replay(y0, args, settings):
        return solve_and_replay(field, y0, args, jnp.stack([settings["t1"]]) if ts is None else ts, settings)
    if saveat is None:
        saveat = diffrax.SaveAt(t1=True) if ts is None else diffrax.SaveAt(ts=ts)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field) if callable(field) else tuple(diffrax.ODETerm(part) for part in field),
        y0=y0,
        args=args,
        saveat=saveat,
        adjoint=adjoint or _default_adjoint(),
        event=event,
        throw=False,
        **settings,
    )


def _can_replay(y0: Any, args: Any, settings: dict[str, Any]) -> bool:
    # A function may refer to traced arrays that nothing tells us about.
    known = not any(callable(leaf) for leaf in jax.tree.leaves(args))
    reverse = differentiation_mode.value == "reverse"
    return reverse and known and is_replayable(settings["solver"], y0, settings["max_steps"])


def _default_adjoint() -> diffrax.AbstractAdjoint:
    # Least squares asks for Jacobians column by column, which the checkpointed adjoint, a reverse-mode rule, cannot give.
    return diffrax.ForwardMode() if differentiation_mode.value == "forward" else diffrax.RecursiveCheckpointAdjoint()
