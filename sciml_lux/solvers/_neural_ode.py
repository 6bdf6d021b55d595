"""`NeuralODE`: a layer whose call solves an ordinary differential equation."""

import math
import numbers
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key

from ..core import AbstractContainer, AbstractLayer, State, as_params, as_state, describe, differentiation_mode
from ..flatten import LayerError, ShapeError
from ._failure import guard
from ._replay import is_replayable, solve_and_replay


class NeuralODE(AbstractContainer):
    """The solution of `dy/dt = model(y)`, `y(t0) = y0`, as a layer.

    `model` is any layer, learned, mechanistic, or both. By default it is called on the state `y` alone. With `time=True` it is
    called on the tuple `(t, y)`; a solve that is given `inputs` appends their value at `t`: `(y, u)` or `(t, y, u)`.

    **Arguments:** `model`; `t0`, `t1`: the span, `t1 < t0` integrates backwards; `time`: whether the model is given the time;
    `solver`: of diffrax; `rtol`, `atol`: tolerances on the local error; `dt0`: first step (default: chosen by the solver), or
    the fixed step under `stepsize_controller=diffrax.ConstantStepSize()`; `stepsize_controller`: replaces the default
    `PIDController(rtol, atol)`; `adjoint`: of diffrax; by default `ForwardMode` under least squares, and elsewhere the gradient
    of the discrete solve, many steps at a time for explicit methods and states of up to 16 numbers (`_replay.py`), by
    `RecursiveCheckpointAdjoint` for all others; `max_steps`; `event`: a `diffrax.Event`; `throw`: whether a failed solve raises.

    **Call:** `y0`, any tree of floating-point arrays, gives `y(t1)` of the same structure. `solve` gives the whole solution.

    **Parameters:** `model`. They are unravelled once, before the solver's loop.

    **States:** `model`, which is constant during a solve and advanced once per call, by one evaluation of the model at
    `(t0, y0)`; `solution.num_steps` and `solution.result` (`diffrax.RESULTS`) of the last solve, for losses and loggers.

    **Errors:** `LayerError` for a span or a setting that cannot be; `ShapeError` for `ts` that are empty, unsorted or outside
    the span, and for a model whose result is not shaped like `y`; `ValueError` for NaN in `y0` or `ts`; at run time, for a failed solve, an
    error that says what to try. With `throw=False` a failed solve returns NaN, as do its gradients, and `solution.result` says why.

    **Source:** Chen et al. 2018, Neural Ordinary Differential Equations; Kidger 2021, On Neural Differential Equations, chapter 5.
    """

    model: AbstractLayer
    t0: float = 0.0
    t1: float = 1.0
    time: bool = False
    solver: diffrax.AbstractSolver = diffrax.Tsit5()
    rtol: float = 1e-5
    atol: float = 1e-6
    dt0: float | None = None
    stepsize_controller: diffrax.AbstractStepSizeController | None = None
    adjoint: diffrax.AbstractAdjoint | None = None
    max_steps: int | None = 4096
    event: diffrax.Event | None = None
    throw: bool = True

    def __post_init__(self) -> None:
        _check_settings(self)

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        solution = {"num_steps": jnp.zeros((), jnp.int32), "result": diffrax.RESULTS.successful}
        return {**super().initial_states(key), "solution": solution}

    def __call__(self, y0: Any, ps: Any, st: Any, *, inputs: Any = None) -> tuple[Any, State]:
        solution, st = self.solve(y0, ps, st, inputs=inputs)
        return jax.tree.map(lambda leaf: leaf[-1], solution.ys), st

    def solve(
        self, y0: Any, ps: Any, st: Any, ts: Any = None, *, inputs: Any = None, saveat: diffrax.SaveAt | None = None
    ) -> tuple[diffrax.Solution, State]:
        """The whole solution: `sol.ts`, `sol.ys`, `sol.stats`, `sol.result`, and the state.

        **Arguments:** `y0`, `ps`, `st`: as for a call; `ts`: sorted times within the span at which to save, the last of which
        ends the solve (default: `t1` alone); `inputs`: a function of time, or an interpolation of diffrax, for a model
        that takes control inputs; `saveat`: any `diffrax.SaveAt` in place of `ts`.

        **Returns:** `(solution, st)`; the arrays of `solution.ys` have one row for each time saved.
        """
        params, state = as_params(ps), as_state(st)
        y0 = jax.tree.map(_as_float_array, y0)
        # Times of the state's own precision: diffrax would promote a float32 state to that of the times.
        time = _time_dtype(y0).type
        if ts is not None:
            if saveat is not None:
                raise LayerError(
                    "NeuralODE.solve takes ts or saveat, not both; write saveat=diffrax.SaveAt(ts=ts, ...)"
                )
            ts = jnp.asarray(_check_times(ts, self.t0, self.t1), time)
        saveat = None if saveat is None else _save_as(saveat, time)
        solution = self._solution(y0, (params["model"], state["model"], inputs), ts, saveat, time)
        saved = (solution.ys, solution.interpolation)
        saved = guard(saved, diffrax.is_okay(solution.result), solution.result, self._explain, self.throw)
        solution = eqx.tree_at(lambda s: (s.ys, s.interpolation), solution, saved, is_leaf=lambda node: node is None)
        return solution, self._advance(y0, params, state, inputs, solution)

    def _solution(self, y0: Any, args: Any, ts: Any, saveat: Any, time: Any) -> diffrax.Solution:
        # As a pytree, not as a method, which equals only that of the same object: equal nodes share a compilation.
        field = jax.tree_util.Partial(NeuralODE._field, self)
        settings: dict[str, Any] = {
            "solver": self.solver,
            "t0": time(self.t0),
            "t1": time(self.t1) if ts is None else ts[-1],
            "dt0": None if self.dt0 is None else time(self.dt0),
            "stepsize_controller": self.stepsize_controller or diffrax.PIDController(rtol=self.rtol, atol=self.atol),
            "max_steps": self.max_steps,
        }
        if saveat is None and self._can_replay(y0, args):
            return solve_and_replay(field, y0, args, jnp.stack([settings["t1"]]) if ts is None else ts, settings)
        if saveat is None:
            saveat = diffrax.SaveAt(t1=True) if ts is None else diffrax.SaveAt(ts=ts)
        adjoint = self.adjoint or _default_adjoint()
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            y0=y0,
            args=args,
            saveat=saveat,
            adjoint=adjoint,
            event=self.event,
            throw=False,
            **settings,
        )

    def _can_replay(self, y0: Any, args: Any) -> bool:
        by_default = self.adjoint is None and self.event is None and differentiation_mode.value == "reverse"
        # A function may refer to traced arrays that nothing tells us about.
        known = not any(callable(leaf) for leaf in jax.tree.leaves(args))
        return by_default and known and is_replayable(self.solver, y0, self.max_steps)

    def _field(self, t: Any, y: Any, args: Any) -> Any:
        params, state, inputs = args
        dy, _ = self.model(self._model_input(t, y, inputs), params, state)
        # Types and shapes as strings; a tree of them is compared, and shown, as one.
        got, expected = (
            jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", tree) for tree in (dy, y)
        )
        if got != expected:
            raise ShapeError(
                f"NeuralODE: the model {describe(self.model)} returned {got}, expected a time derivative of the shape and dtype "
                f"of the state, {expected}"
            )
        return dy

    def _model_input(self, t: Any, y: Any, inputs: Any) -> Any:
        time = (jnp.asarray(t, _time_dtype(y)),) if self.time else ()
        forcing = () if inputs is None else (inputs.evaluate(t) if hasattr(inputs, "evaluate") else inputs(t),)
        return (*time, y, *forcing) if time or forcing else y

    def _advance(self, y0: Any, params: Any, state: State, inputs: Any, solution: diffrax.Solution) -> State:
        model_state = state["model"]
        if jax.tree.leaves(model_state):
            _, model_state = self.model(self._model_input(self.t0, y0, inputs), params["model"], model_state)
        steps = jnp.asarray(solution.stats["num_steps"], jnp.int32)
        return State(model=model_state, solution=State(num_steps=steps, result=solution.result))

    def _explain(self, message: str) -> str:
        advice = f"raise max_steps={self.max_steps}, loosen rtol={self.rtol:g} or atol={self.atol:g}, or pass a stiff solver such as"
        return (
            f"NeuralODE: the solve from t0={self.t0:g} to t1={self.t1:g} failed. {message} If the field is finite and well scaled, "
            f"{advice} solver=diffrax.Kvaerno5(); throw=False returns NaN and says why in st.solution.result"
        )


def _default_adjoint() -> diffrax.AbstractAdjoint:
    # Least squares asks for Jacobians column by column, which the checkpointed adjoint, a reverse-mode rule, cannot give.
    return diffrax.ForwardMode() if differentiation_mode.value == "forward" else diffrax.RecursiveCheckpointAdjoint()


def _check_settings(node: NeuralODE) -> None:
    if not isinstance(node.model, AbstractLayer):
        raise LayerError(
            f"NeuralODE: model is a layer, got {node.model!r}; wrap a function f(y) in lux.WrappedFunction(f)"
        )
    for name in ("t0", "t1", "rtol", "atol", "dt0"):
        value = getattr(node, name)
        if not (_is_real(value) or (name == "dt0" and value is None)):
            raise LayerError(f"NeuralODE: {name} is a number, got {value!r}")
    for name in ("t0", "t1"):
        if not math.isfinite(getattr(node, name)):
            raise LayerError(f"NeuralODE: {name} is a finite time, got {getattr(node, name)!r}")
    if node.t0 == node.t1:
        raise LayerError(f"NeuralODE: the span is empty, t0 = t1 = {node.t0}")
    # Conditions that NaN does not meet.
    if node.dt0 is not None and not node.dt0 * (node.t1 - node.t0) > 0:
        raise LayerError(
            f"NeuralODE: dt0={node.dt0} does not lead from t0={node.t0} to t1={node.t1}; "
            "exchange t0 and t1, or give dt0 the sign of t1 - t0"
        )
    if not (node.rtol >= 0 and node.atol >= 0 and node.rtol + node.atol > 0):
        raise LayerError(
            f"NeuralODE: tolerances are 0 or more, one of them more, got rtol={node.rtol}, atol={node.atol}"
        )
    if node.max_steps is not None and (not _is_real(node.max_steps) or node.max_steps % 1 or node.max_steps < 1):
        raise LayerError(f"NeuralODE: max_steps is a whole number, 1 or more, or None, got {node.max_steps!r}")
    if isinstance(node.stepsize_controller, diffrax.ConstantStepSize) and node.dt0 is None:
        raise LayerError("NeuralODE: ConstantStepSize needs the step, dt0")


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_times(ts: Any, t0: float, t1: float) -> Any:
    """`ts` as an array, after the checks that are possible: of its values, unless they are traced."""
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(ts))
    times = jnp.asarray(ts) if traced else np.asarray(ts)
    if times.ndim != 1 or times.size == 0:
        raise ShapeError(f"NeuralODE: ts is a vector of at least one time, got shape {times.shape}")
    if isinstance(times, Tracer):
        return times
    values, direction = np.asarray(times, np.float64), np.sign(t1 - t0)
    if np.isnan(values).any():
        raise ValueError(f"NeuralODE: ts holds NaN at index {int(np.flatnonzero(np.isnan(values))[0])}")
    unsorted = np.flatnonzero(np.diff(values) * direction < 0)
    if unsorted.size:
        i = int(unsorted[0])
        raise ShapeError(
            f"NeuralODE: ts must be sorted from t0 to t1, got {values[i]:g} before {values[i + 1]:g} at index {i}"
        )
    # Times that came in a lower precision may stick out by a rounding.
    slack = 4 * np.finfo(times.dtype).eps * max(abs(t0), abs(t1)) if jnp.issubdtype(times.dtype, jnp.floating) else 0.0
    if (values[0] - t0) * direction < -slack or (values[-1] - t1) * direction > slack:
        raise ShapeError(
            f"NeuralODE: ts from {values[0]:g} to {values[-1]:g} leave the span from t0={t0:g} to t1={t1:g}; widen it"
        )
    return np.clip(values, min(t0, t1), max(t0, t1))


def _save_as(saveat: diffrax.SaveAt, dtype: Any) -> diffrax.SaveAt:
    def times(saveat: diffrax.SaveAt) -> list[Any]:
        subs = jax.tree.leaves(saveat.subs, is_leaf=lambda node: isinstance(node, diffrax.SubSaveAt))
        return [sub.ts for sub in subs if sub.ts is not None]

    return eqx.tree_at(times, saveat, replace_fn=lambda ts: ts.astype(dtype))


def _time_dtype(y: Any) -> np.dtype:
    """The dtype of the times that go with a state: real, at least float32, since times are sums of many small steps."""
    with jax.numpy_dtype_promotion("standard"):
        widest = jnp.result_type(jnp.float32, *(leaf.dtype for leaf in jax.tree.leaves(y)))
    return np.dtype(jnp.finfo(widest).dtype)


def _as_float_array(leaf: Any) -> Array:
    if not isinstance(leaf, Tracer) and np.isnan(np.asarray(leaf)).any():
        raise ValueError(f"NeuralODE: y0 holds NaN, got {leaf}")
    dtype = jnp.asarray(leaf).dtype
    # Naming the dtype also makes a Python number one of that dtype for good.
    return jnp.asarray(leaf, dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(float))
