"""The checks of an adapter's model and settings."""

import dataclasses
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
from ._settings import SolveSettings


def check_model(name: str, model: Any, pair: str | None) -> None:
    """Refuses a model that is no layer. `pair`: what a state is made of that is a pair, and the model is called on."""
    if not isinstance(model, AbstractLayer):
        raise LayerError(f"{name}: model is a layer, got {kind_of(model)}; {_as_layer(name, model, pair)}")


def _as_layer(name: str, model: Any, pair: str | None) -> str:
    """What to write for a model that is no layer."""
    if not callable(model) or isinstance(model, type):
        return no_layer(model)
    if takes_arguments(model, 1):
        return f"for a function f of the state write {name}(lux.WrappedFunction(f))"
    if pair is not None and takes_arguments(model, 2):
        return f"for a function f({pair}) write {name}(lux.WrappedFunction(lambda pair: f(*pair)))"
    if takes_arguments(model, 2):
        return f"for a function f(t, y) write {name}(lux.WrappedFunction(lambda ty: f(*ty)), time=True)"
    return "for a function f(t, y, terms), with layers and parameters as terms, write lux.HybridODE(f)"


def checked_settings(settings: SolveSettings) -> SolveSettings:
    """The settings, their `jump_ts` as a sorted tuple of numbers. **Errors:** `LayerError` for a span or a setting that cannot be."""
    name = settings.adapter
    for field in ("t0", "t1", "rtol", "dt0"):
        value = getattr(settings, field)
        if not (_is_real(value) or (field == "dt0" and value is None)):
            raise LayerError(f"{name}: {field} is a number, got {value!r}")
    for field in ("t0", "t1"):
        if not math.isfinite(getattr(settings, field)):
            raise LayerError(f"{name}: {field} is a finite time, got {getattr(settings, field)!r}")
    if settings.t0 == settings.t1:
        raise LayerError(f"{name}: the span is empty, t0 = t1 = {settings.t0}")
    # Conditions that NaN does not meet.
    if settings.dt0 is not None and not settings.dt0 * (settings.t1 - settings.t0) > 0:
        raise LayerError(
            f"{name}: dt0={settings.dt0} does not lead from t0={settings.t0} to t1={settings.t1}; "
            "exchange t0 and t1, or give dt0 the sign of t1 - t0"
        )
    absolute = jax.tree.leaves(settings.atol, is_leaf=lambda leaf: leaf is None)
    if not absolute or not all(map(_is_real, absolute)):
        raise LayerError(f"{name}: atol is a number, or a tuple of numbers, got {settings.atol!r}")
    if not (settings.rtol >= 0 and min(absolute) >= 0 and settings.rtol + min(absolute) > 0):
        raise LayerError(
            f"{name}: tolerances are 0 or more, one of them more, got rtol={settings.rtol}, atol={settings.atol}"
        )
    if isinstance(settings.atol, tuple) and not min(absolute) > 0:
        raise LayerError(f"{name}: each atol of a tuple is more than 0, got {settings.atol}")
    if not (settings.solver is None or isinstance(settings.solver, diffrax.AbstractSolver)):
        raise LayerError(f"{name}: solver is a solver of diffrax, such as diffrax.Tsit5(), got {settings.solver!r}")
    if settings.stiff and isinstance(settings.solver, diffrax.AbstractERK):
        raise LayerError(
            f"{name}: stiff=True chooses an implicit solver, and solver={type(settings.solver).__name__}() is an explicit one; "
            "leave out either"
        )
    if settings.stepsize_controller is None and is_fixed(settings.solver) and settings.dt0 is None:
        raise LayerError(
            f"{name}: {type(settings.solver).__name__}() takes steps of a fixed size, since it does not estimate its error; "
            "give the step, dt0"
        )
    if settings.max_steps is not None and (
        not _is_real(settings.max_steps) or settings.max_steps % 1 or settings.max_steps < 1
    ):
        raise LayerError(f"{name}: max_steps is a whole number, 1 or more, or None, got {settings.max_steps!r}")
    if settings.batching not in ("joint", "each"):
        raise LayerError(f'{name}: batching is "joint" or "each", got {settings.batching!r}')
    if isinstance(settings.stepsize_controller, diffrax.ConstantStepSize) and settings.dt0 is None:
        raise LayerError(f"{name}: ConstantStepSize needs the step, dt0")
    settings = dataclasses.replace(settings, jump_ts=_checked_jumps(settings))
    refusal = _unsuitable(settings)
    if refusal:
        raise LayerError(f"{name}: {refusal}")
    return settings


def _checked_jumps(settings: SolveSettings) -> tuple[float, ...]:
    """The times at which the field jumps, as a tuple of numbers."""
    name = settings.adapter
    if is_traced(settings.jump_ts):
        raise LayerError(
            f"{name}: jump_ts are known when the layer is made, got traced ones; what jumps at such times is an input, "
            "inputs=lux.solvers.hold_input(times, values)"
        )
    try:
        times = np.asarray(settings.jump_ts, np.float64)
    except (TypeError, ValueError):
        times = np.full(1, np.nan)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise LayerError(f"{name}: jump_ts are finite times, such as jump_ts=(1.0, 2.0), got {settings.jump_ts!r}")
    jumps = tuple(sorted(set(times.tolist())))
    adapts = isinstance(settings.stepsize_controller, diffrax.AbstractAdaptiveStepSizeController | types.NoneType)
    if jumps and (is_fixed(settings.solver) or not adapts):
        what = type(settings.stepsize_controller or settings.solver).__name__
        raise LayerError(
            f"{name}: jump_ts={jumps} are met by steps that adapt, and {what}() takes steps as they are given; leave it out, "
            "or solve from jump to jump, node.solve(..., t0=...)"
        )
    return jumps


def _unsuitable(settings: SolveSettings) -> str | None:
    """What is wrong with the adjoint for these settings, and which one works."""
    adjoint = settings.adjoint
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
    if isinstance(adjoint, diffrax.DirectAdjoint) and settings.max_steps is None:
        return (
            "DirectAdjoint needs a bound on the steps; give max_steps, or write "
            "adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=100)"
        )
    if isinstance(adjoint, ReversibleAdjoint):
        unknown = None if settings.solver is None else why_not_by_tableau(settings.solver)
        unknown = "stiff=True chooses an implicit method" if settings.stiff and settings.solver is None else unknown
        if unknown or settings.event is not None:
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


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
