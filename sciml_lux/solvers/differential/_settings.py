"""The checks of an adapter's settings."""

import math
import numbers
import types
from typing import Any

import diffrax
import jax
import numpy as np

from ..._errors import LayerError
from ...core import AbstractLayer, kind_of, no_layer, takes_arguments
from ...kernels import is_traced
from ..adjoints import ReversibleAdjoint
from ..runge_kutta import why_not_by_tableau


def check_model(node: Any) -> None:
    """Refuses a model that is no layer."""
    if not isinstance(node.model, AbstractLayer):
        raise LayerError(f"{type(node).__name__}: model is a layer, got {kind_of(node.model)}; {_as_layer(node)}")


def _as_layer(node: Any) -> str:
    """What to write for a model that is no layer."""
    name, model = type(node).__name__, node.model
    if not callable(model) or isinstance(model, type):
        return no_layer(model)
    if takes_arguments(model, 1):
        return f"for a function f of the state write {name}(lux.WrappedFunction(f))"
    if node.pair is not None and takes_arguments(model, 2):
        return f"for a function f({node.pair}) write {name}(lux.WrappedFunction(lambda pair: f(*pair)))"
    if takes_arguments(model, 2):
        return f"for a function f(t, y) write {name}(lux.WrappedFunction(lambda ty: f(*ty)), time=True)"
    return "for a function f(t, y, terms), with layers and parameters as terms, write lux.HybridODE(f)"


def check_settings(node: Any) -> None:
    """Refuses a span or a setting that cannot be."""
    name = type(node).__name__
    for field in ("t0", "t1", "rtol", "dt0"):
        value = getattr(node, field)
        if not (_is_real(value) or (field == "dt0" and value is None)):
            raise LayerError(f"{name}: {field} is a number, got {value!r}")
    for field in ("t0", "t1"):
        if not math.isfinite(getattr(node, field)):
            raise LayerError(f"{name}: {field} is a finite time, got {getattr(node, field)!r}")
    if node.t0 == node.t1:
        raise LayerError(f"{name}: the span is empty, t0 = t1 = {node.t0}")
    # Conditions that NaN does not meet.
    if node.dt0 is not None and not node.dt0 * (node.t1 - node.t0) > 0:
        raise LayerError(
            f"{name}: dt0={node.dt0} does not lead from t0={node.t0} to t1={node.t1}; "
            "exchange t0 and t1, or give dt0 the sign of t1 - t0"
        )
    absolute = jax.tree.leaves(node.atol, is_leaf=lambda leaf: leaf is None)
    if not absolute or not all(map(_is_real, absolute)):
        raise LayerError(f"{name}: atol is a number, or a tuple of numbers, got {node.atol!r}")
    if not (node.rtol >= 0 and min(absolute) >= 0 and node.rtol + min(absolute) > 0):
        raise LayerError(f"{name}: tolerances are 0 or more, one of them more, got rtol={node.rtol}, atol={node.atol}")
    if isinstance(node.atol, tuple) and not min(absolute) > 0:
        raise LayerError(f"{name}: each atol of a tuple is more than 0, got {node.atol}")
    if not (node.solver is None or isinstance(node.solver, diffrax.AbstractSolver)):
        raise LayerError(f"{name}: solver is a solver of diffrax, such as diffrax.Tsit5(), got {node.solver!r}")
    if node.stiff and isinstance(node.solver, diffrax.AbstractERK):
        raise LayerError(
            f"{name}: stiff=True chooses an implicit solver, and solver={type(node.solver).__name__}() is an explicit one; leave out either"
        )
    if node.stepsize_controller is None and is_fixed(node.solver) and node.dt0 is None:
        raise LayerError(
            f"{name}: {type(node.solver).__name__}() takes steps of a fixed size, since it does not estimate its error; give the step, dt0"
        )
    if node.max_steps is not None and (not _is_real(node.max_steps) or node.max_steps % 1 or node.max_steps < 1):
        raise LayerError(f"{name}: max_steps is a whole number, 1 or more, or None, got {node.max_steps!r}")
    if node.batching not in ("joint", "each"):
        raise LayerError(f'{name}: batching is "joint" or "each", got {node.batching!r}')
    if isinstance(node.stepsize_controller, diffrax.ConstantStepSize) and node.dt0 is None:
        raise LayerError(f"{name}: ConstantStepSize needs the step, dt0")
    _check_jumps(node)
    refusal = _unsuitable(node)
    if refusal:
        raise LayerError(f"{name}: {refusal}")


def _check_jumps(node: Any) -> None:
    """Makes `jump_ts` a tuple of numbers, the times at which the field jumps."""
    name = type(node).__name__
    if is_traced(node.jump_ts):
        raise LayerError(
            f"{name}: jump_ts are known when the layer is made, got traced ones; what jumps at such times is an input, "
            "inputs=lux.solvers.hold_input(times, values)"
        )
    try:
        times = np.asarray(node.jump_ts, np.float64)
    except (TypeError, ValueError):
        times = np.full(1, np.nan)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise LayerError(f"{name}: jump_ts are finite times, such as jump_ts=(1.0, 2.0), got {node.jump_ts!r}")
    object.__setattr__(node, "jump_ts", tuple(sorted(set(times.tolist()))))
    adapts = isinstance(node.stepsize_controller, diffrax.AbstractAdaptiveStepSizeController | types.NoneType)
    if node.jump_ts and (is_fixed(node.solver) or not adapts):
        what = type(node.stepsize_controller or node.solver).__name__
        raise LayerError(
            f"{name}: jump_ts={node.jump_ts} are met by steps that adapt, and {what}() takes steps as they are given; leave it out, "
            "or solve from jump to jump, node.solve(..., t0=...)"
        )


def _unsuitable(node: Any) -> str | None:
    """What is wrong with the adjoint for this node, and which one works."""
    adjoint = node.adjoint
    if isinstance(adjoint, str) and adjoint == "auto":
        return None
    if not isinstance(adjoint, diffrax.AbstractAdjoint):
        return (
            f'adjoint is "auto" or an adjoint of diffrax, such as diffrax.RecursiveCheckpointAdjoint(), got {adjoint!r}'
        )
    if isinstance(adjoint, diffrax.BacksolveAdjoint):
        return (
            "BacksolveAdjoint solves another equation backwards, whose gradient is not that of the solve; for little memory write "
            "adjoint=diffrax.RecursiveCheckpointAdjoint() or lux.solvers.ReversibleAdjoint()"
        )
    if isinstance(adjoint, diffrax.ImplicitAdjoint):
        return "ImplicitAdjoint differentiates equilibria; use SteadyStateODE, or leave adjoint out"
    if isinstance(adjoint, diffrax.DirectAdjoint) and node.max_steps is None:
        return (
            "DirectAdjoint needs a bound on the steps; give max_steps, or write "
            "adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=100)"
        )
    if isinstance(adjoint, ReversibleAdjoint):
        unknown = None if node.solver is None else why_not_by_tableau(node.solver)
        unknown = "stiff=True chooses an implicit method" if node.stiff and node.solver is None else unknown
        if unknown or node.event is not None:
            return (
                f"ReversibleAdjoint goes with explicit Runge-Kutta methods and no event{f', and {unknown}' if unknown else ''}; "
                "leave adjoint out, or write adjoint=diffrax.RecursiveCheckpointAdjoint()"
            )
    return None


def is_fixed(solver: Any) -> bool:
    """Whether a solver cannot choose its steps."""
    return solver is not None and not isinstance(solver, diffrax.AbstractAdaptiveSolver)


def takes_two_terms(solver: Any) -> bool:
    """Whether a solver treats two parts of the state in turn, such as positions and momenta."""
    return isinstance(getattr(solver, "term_structure", None), tuple)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
