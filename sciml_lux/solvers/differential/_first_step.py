"""The length of the first step where nobody gave it, `dt0=None`: chosen by one rule, whatever solves the equation.

The rule is that of Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, section II.4: a first step that is small
for the size of the state, of its slope and of the change of the slope, in units of the tolerance, so that it is the same in any units of
time. `diffrax.PIDController` has it, but `diffeqsolve` (0.7.2) hides from the controller that the terms are those of an ordinary
differential equation, so that there it takes 0.01 whatever the problem; the loop of `runge_kutta/` hides nothing. Without this
module the values of a solve would depend on its adjoint, which decides who solves it.
"""

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
from jaxtyping import PyTree

from .._types import StateTree, TermTree, Time


class ChoosesFirstStep(eqx.Module):
    """What makes a `diffrax.PIDController`, or a class derived from it, see an ordinary differential equation for what it is."""

    def init(
        self,
        terms: TermTree,
        t0: Time,
        t1: Time,
        y0: StateTree,
        dt0: Time | None,
        args: PyTree,
        func: Callable[..., Any],
        error_order: Time | None,
    ) -> tuple[Any, Any]:
        hidden = getattr(terms, "term", None)
        if isinstance(hidden, diffrax.ODETerm):
            terms = diffrax.ODETerm(terms.vf)
        after: Any = super()
        return after.init(terms, t0, t1, y0, dt0, args, func, error_order)


def choosing_first_step(controller: diffrax.AbstractStepSizeController[Any, Any]) -> Any:
    """The controller, as one that chooses the first step if it is a `diffrax.PIDController`, also within others; all else is its own."""
    inner = getattr(controller, "controller", None)
    if isinstance(controller, diffrax.ClipStepSizeController) and inner is not None:
        return eqx.tree_at(lambda c: c.controller, controller, choosing_first_step(inner))
    if not isinstance(controller, diffrax.PIDController) or isinstance(controller, ChoosesFirstStep):
        return controller
    chooses = object.__new__(_choosing_class(type(controller)))
    for name, value in vars(controller).items():
        object.__setattr__(chooses, name, value)
    return chooses


# One class for each, or equal controllers would not share a compilation.
@functools.cache
def _choosing_class(base: type) -> type:
    return type(base)(base.__name__, (ChoosesFirstStep, base), {"__module__": base.__module__})
