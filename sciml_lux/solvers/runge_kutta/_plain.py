"""Whether a method and a controller of diffrax are what the loops here do in their place.

A subclass may do more than its tableau says: project each step onto a manifold, choose steps of its own. The loops here stand for
exactly one `step` and one `adapt_step_size`, and are used only where an object's own method is that one; everything else is
stepped by diffrax.
"""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import optimistix

from .._types import StateTree

_STEP = ("step", "init", "_common")
_CONTROL = ("wrap", "init", "adapt_step_size")
# The same of a tree of arrays and of one vector of all their numbers.
_NORMS = (optimistix.rms_norm, optimistix.max_norm, optimistix.two_norm)


def why_not_by_tableau(solver: diffrax.AbstractSolver[Any]) -> str | None:
    """Why a step of this method is not the one that its tableau says, and its interpolation, if it is not."""
    name = type(getattr(solver, "base", solver)).__name__
    tableau = getattr(solver, "tableau", None)
    if not isinstance(solver, diffrax.AbstractERK) or not isinstance(tableau, diffrax.ButcherTableau):
        return f"{name} is not an explicit Runge-Kutta method"
    for method in _STEP:
        if not _is_that_of(solver, diffrax.AbstractERK, method):
            return f"{name} has its own {method}, which its tableau knows nothing of"
    interpolation = solver.interpolation_cls
    if not _is_by(getattr(interpolation, "__self__", interpolation), "diffrax"):
        return f"{name} has its own interpolation"
    return None


def why_not_followed(controller: diffrax.AbstractStepSizeController[Any, Any], y0: StateTree) -> str | None:
    """Why the sizes of the steps cannot be left to this controller within a loop that holds the state `y0` as one vector."""
    if isinstance(controller, diffrax.ClipStepSizeController):
        if controller.jump_ts is not None:
            return "a step may not begin where the last one ended"
        return _why_overridden(controller, diffrax.ClipStepSizeController) or why_not_followed(
            controller.controller, y0
        )
    if isinstance(controller, diffrax.ConstantStepSize):
        return _why_overridden(controller, diffrax.ConstantStepSize)
    if not isinstance(controller, diffrax.PIDController):
        return f"{type(controller).__name__} is neither a PIDController nor a ConstantStepSize"
    is_vector = [leaf.ndim for leaf in jax.tree.leaves(y0)] == [1]
    if not is_vector and (controller.norm not in _NORMS or jnp.ndim(controller.rtol) or jnp.ndim(controller.atol)):
        return f"the norm or the tolerances of {type(controller).__name__} may be meant for the shapes of the state"
    return _why_overridden(controller, diffrax.PIDController)


def _why_overridden(controller: diffrax.AbstractStepSizeController[Any, Any], base: type) -> str | None:
    for method in _CONTROL:
        own = getattr(type(controller), method)
        if not (_is_that_of(controller, base, method) or _is_by(own, "sciml_lux")):
            return f"{type(controller).__name__} has its own {method}"
    return None


def _is_that_of(thing: object, base: type, method: str) -> bool:
    return getattr(type(thing), method) is getattr(base, method) and method not in vars(thing)


def _is_by(thing: object, package: str) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] == package
