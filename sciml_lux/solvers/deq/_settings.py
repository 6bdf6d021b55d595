"""What an equilibrium can be told, checked at construction."""

from typing import Any

import optimistix as optx

from ..._errors import LayerError
from ...core import AbstractLayer, check_layer, kind_of, no_layer, takes_arguments
from ..fixed_point import Broyden
from ._penalties import JacobianPenalty
from .gradients import AbstractEquilibriumGradient, ShineGradient, UnrolledGradient


def check_settings(deq: Any) -> None:
    """Raises `LayerError` for a setting of `deq` that cannot be."""
    name = type(deq).__name__
    if not isinstance(deq.model, AbstractLayer):
        hint = no_layer(deq.model)
        if callable(deq.model) and not isinstance(deq.model, type):
            function = "f" if takes_arguments(deq.model, 1) else "lambda zx: f(*zx)"
            hint = f"for a function f of {'the pair' if function == 'f' else 'z and x'} write {name}(lux.WrappedFunction({function}))"
        raise LayerError(f"{name}: model is a layer that takes (z, x), got {kind_of(deq.model)}; {hint}")
    if deq.adjoint != "auto" and not isinstance(deq.adjoint, AbstractEquilibriumGradient | UnrolledGradient):
        raise LayerError(
            f'{name}: adjoint is "auto", lux.solvers.ImplicitGradient(), JacobianFreeGradient(), PhantomGradient(), ShineGradient() or '
            f"UnrolledGradient(steps=...), with its parentheses; got {deq.adjoint!r}"
        )
    if isinstance(deq.adjoint, ShineGradient) and not isinstance(deq.solver, Broyden):
        raise LayerError(
            f"{name}: ShineGradient uses the matrix that Broyden's method leaves; write solver=lux.solvers.Broyden(...), got {deq.solver!r}"
        )
    if not callable(deq.init) and deq.init not in ("zeros", "skip_reg"):
        raise LayerError(f'{name}: init is "zeros", "skip_reg", a layer or a function of x, got {deq.init!r}')
    if isinstance(deq.init, type) and issubclass(deq.init, AbstractLayer):
        check_layer(deq.init)
    if isinstance(deq.max_steps, bool) or not isinstance(deq.max_steps, int) or deq.max_steps < 1:
        raise LayerError(f"{name}: max_steps is a whole number, 1 or more, got {deq.max_steps!r}")
    if deq.unconverged not in ("fail", "best"):
        raise LayerError(f'{name}: unconverged is "fail" or "best", got {deq.unconverged!r}')
    if deq.jacobian_penalty is not None and not isinstance(deq.jacobian_penalty, JacobianPenalty):
        raise LayerError(
            f"{name}: jacobian_penalty is None or lux.solvers.JacobianPenalty(probes=1), got {deq.jacobian_penalty!r}; "
            "its weight belongs into the loss: loss + 0.1 * jnp.mean(st.solution.jacobian_penalty)"
        )


def check_solver(deq: Any) -> None:
    """Raises `LayerError` for a solver of `deq` that finds no fixed points."""
    if not isinstance(deq.solver, optx.AbstractFixedPointSolver | optx.AbstractRootFinder):
        raise LayerError(
            f"{type(deq).__name__}: solver is a fixed-point solver or root finder of optimistix, such as lux.solvers.Anderson(rtol=1e-4), "
            f"got {deq.solver!r}"
        )
