"""Which way of differentiating suits a solve."""

from typing import Any, NamedTuple

import diffrax
import jax
from jaxtyping import PyTree

from ...core import differentiation_mode
from .._types import StateTree
from ..runge_kutta import LARGEST_RECORD, SMALL_STATE, record_bytes, why_not_recorded


class AdjointChoice(NamedTuple):
    """How a solve is differentiated, and why; print it. `adjoint` is `None` for the gradient from recorded steps."""

    adjoint: diffrax.AbstractAdjoint | None
    reason: str

    def __str__(self) -> str:
        name = "recorded steps" if self.adjoint is None else f"{type(self.adjoint).__name__}()"
        return f"{name}: {self.reason}"


def choose_adjoint(
    adjoint: Any,
    y0: StateTree,
    args: PyTree,
    settings: dict[str, Any],
    saveat: diffrax.SaveAt | None = None,
    event: diffrax.Event | None = None,
    driven: bool = False,
) -> AdjointChoice:
    """The adjoint of a solve: the one that was asked for, or, for `"auto"`, the one that suits.

    Under least squares, which asks for Jacobians of few parameters column by column, forward mode. Else the gradient from recorded
    steps, which computes nothing twice, where it applies and the record, up to the bound on the number of steps, takes no more than
    64 MB; else checkpoints, whose memory grows with the root of that bound.

    **Arguments:** `adjoint`; `y0`: what is solved for, of which only shapes and dtypes are read; `args`; `settings`: what
    `diffrax.diffeqsolve` is told; `saveat`, `event`: if any; `driven`: whether the terms are of diffrax, with noise or a path.
    """
    if adjoint != "auto":
        return AdjointChoice(adjoint, "as asked for")
    if differentiation_mode.value == "forward":
        return AdjointChoice(diffrax.ForwardMode(), "least squares differentiates forwards, column by column")
    reason = "more than time drives the equation" if driven else _why_not(y0, args, settings, saveat, event)
    if reason:
        return AdjointChoice(diffrax.RecursiveCheckpointAdjoint(), f"steps are not recorded, since {reason}")
    size = sum(leaf.size for leaf in jax.tree.leaves(y0))
    how = "many at a time" if size <= SMALL_STATE else "one by one"
    memory = f"{record_bytes(y0, settings) / 1e6:.3g} MB of {LARGEST_RECORD / 1e6:.3g}"
    return AdjointChoice(None, f"{how} ({size} numbers, at most {settings['max_steps']} steps, {memory})")


def _why_not(
    y0: StateTree, args: PyTree, settings: dict[str, Any], saveat: diffrax.SaveAt | None, event: diffrax.Event | None
) -> str | None:
    if event is not None:
        return "an event ends the solve"
    if saveat is not None:
        return "a saveat was given"
    if any(callable(leaf) for leaf in jax.tree.leaves(args)):
        # It may refer to traced arrays that nothing tells us about.
        return "an input is a function (sampled inputs, such as lux.solvers.linear_input, are none)"
    return why_not_recorded(y0, settings)
