"""`AbstractODE`: what every layer whose call solves an ordinary differential equation shares."""

import dataclasses
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from ...core import AbstractLayer, State, as_params, as_state, child_key
from ...flatten import Parameters
from .._adapter import AbstractAdapter
from .._types import StateTree, Time
from ..adjoints import AdjointChoice
from ._batching import check_samples, summary_of_each
from ._checks import check_model, checked_settings
from ._engine import advanced, choice_of, solve
from ._equation import Equation
from ._keys import drawn
from ._request import Request
from ._settings import SolveSettings
from ._values import as_state_arrays, time_dtype


class AbstractODE(Equation, AbstractAdapter):
    """A layer whose call solves `dy/dt = derivative(t, y)`, `y(t0) = y0`, from `t0` to `t1`.

    A subclass writes the hooks of an `Equation`: `derivative`, and, where what it solves for is not what it is given, `lift` and
    `observe`; or, where noise or a path drives it, `driven_terms`.

    **Arguments:** `model`, the layer that the derivative is made of; then, by name:

    - `t0`, `t1`: the span; `t1 < t0` integrates backwards.
    - `time`: whether the model is given the time.
    - `solver`: of diffrax; by default `Tsit5()`, or, with `stiff=True`, an implicit method, `Kvaerno5()`, and the root finder and step-size
      control that were fastest on stiff test problems (`differential/_stiff.py`). It factors the Jacobian of the field, a square matrix of
      the size of the state, once a step. In float32, write the problem so that `atol` is above the rounding of each component, and
      `rtol` 1e-5 or more; shorter steps than the rounding of `t1` are no steps.
    - `rtol`, `atol`: tolerances on the local error, `atol + rtol |y|`; `atol` in the units of the state, a number, or a tuple with one
      for each component along the last axis. For a state that is a tree: a tuple with such an entry for each leaf.
    - `dt0`: first step (default: chosen by the solver), or the fixed step under `stepsize_controller=diffrax.ConstantStepSize()`;
      `stepsize_controller`: replaces the default, `PIDController(rtol, atol)`, or `ConstantStepSize()` for a solver that does
      not estimate its error, such as `diffrax.Euler()`, which needs `dt0`.
    - `adjoint`: of diffrax, or `lux.solvers.ReversibleAdjoint()`; by default, `"auto"`, `ForwardMode` under least squares, and elsewhere
      the gradient of the discrete solve: from recorded steps for explicit methods (`runge_kutta/_replay.py`), by
      `RecursiveCheckpointAdjoint` for all others. `print(node.choose_adjoint(y0, ps, st))` says which one, and why.
    - `jump_ts`: times at which the field jumps, such as those of parameters that step in time. Steps end at them: no step crosses a jump,
      which would cost many, and the gradient its accuracy.
    - `max_steps`; `event`: a `diffrax.Event`, whose time is located, by its root finder or, without one, by bisection; a
      condition that changes sign is differentiated, one that is true or false has no derivative; of several that are met within one step,
      the first in their order counts; `throw`: whether a failed solve raises.
    - `batching`: `"joint"`, one solve with one step size for all of `y0`, whatever its shapes; or `"each"`: the leading axis of every
      array in `y0` is the sample, and each is solved with its own steps, as by `jax.vmap`. Inside, `model` is called on one sample.

    **Call:** `y0`, any tree of floating-point arrays, gives `y(t1)` of the same structure. `solve` gives the whole solution.

    **Parameters:** `model`. They are unravelled once, before the solver's loop.

    **States:** `model`, which is constant during a solve (one dropout mask, batch statistics as they were) and advanced once per
    call, by one evaluation of the derivative at `(t0, y0)`; `solution.num_steps` and `solution.result` (`diffrax.RESULTS`) of the
    last solve, for losses and loggers. With `batching="each"`, `model` is advanced to the mean over the samples that succeeded (what
    is no floating-point number: to that of the first); `num_steps` is the most that any sample took, `result` that of the first
    sample that failed, and `num_failed` how many did. With `throw=False`, where they are the caller's to leave out, `result` says
    `successful` unless all failed. The results of all samples are in the solution. An equation that `is_random`
    has a `key`, which advances once per call.

    **Errors:** `LayerError` for a span or a setting that cannot be; `ShapeError` for `ts` that are empty, unsorted or outside
    the span, and for a model whose result is not shaped like `y`; `ValueError` for NaN in `y0` or `ts`; at run time, for a failed
    solve, `lux.SolveError`, which says when and in which sample it happened and what to try (within a compiled function: a
    `jax.errors.JaxRuntimeError` with that text). Solves fail at `max_steps`; where a step leads nowhere, since the field is NaN or
    the solution grows without bound (`dt_min_reached`); with a state that is not finite, after fixed steps (`nonfinite`); and
    for `ts` that are seen to be wrong at run time only (`nonfinite_input`). With `throw=False` a failed solve returns
    NaN, as do its gradients, and `solution.result` says why. With `batching="each"` the gradients of failed samples are zero,
    and those of the others what they are alone: choose by `sol.result == diffrax.RESULTS.successful` before taking a sum.
    """

    model: AbstractLayer
    _: dataclasses.KW_ONLY
    t0: float = 0.0
    t1: float = 1.0
    time: bool = False
    solver: diffrax.AbstractSolver[Any] | None = None
    stiff: bool = False
    rtol: float = 1e-5
    atol: float | tuple[Any, ...] = 1e-6
    dt0: float | None = None
    stepsize_controller: diffrax.AbstractStepSizeController[Any, Any] | None = None
    adjoint: diffrax.AbstractAdjoint | Literal["auto"] = "auto"
    jump_ts: Any = ()
    max_steps: int | None = 4096
    event: diffrax.Event | None = None
    throw: bool = True
    batching: Literal["joint", "each"] = "joint"

    def __post_init__(self) -> None:
        check_model(type(self).__name__, self.model, self.pair)
        self._check_settings()

    def _check_settings(self) -> None:
        object.__setattr__(self, "jump_ts", checked_settings(SolveSettings.of(self)).jump_ts)

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        solution: dict[str, Any] = {"num_steps": jnp.zeros((), jnp.int32), "result": diffrax.RESULTS.successful}
        if self.batching == "each":
            solution["num_failed"] = jnp.zeros((), jnp.int32)
        own = {"key": child_key(key, "key")} if self.is_random else {}
        return {**super().initial_states(key), **own, "solution": solution}

    def __call__(self, y0: Any, ps: Parameters, st: State, *, inputs: Any = None) -> tuple[Any, State]:
        solution, st = self.solve(y0, ps, st, inputs=inputs)
        return self.final(solution), st

    def final(self, solution: diffrax.Solution) -> Any:
        """The last values of a solution, or of that of each sample."""
        return jax.tree.map(lambda leaf: leaf[:, -1] if self.batching == "each" else leaf[-1], solution.ys)

    def solve(
        self,
        y0: Any,
        ps: Any,
        st: State,
        ts: Any = None,
        *,
        lengths: Any = None,
        t0: Any = None,
        inputs: Any = None,
        saveat: diffrax.SaveAt | None = None,
        key: Key[Array, "..."] | None = None,
    ) -> tuple[diffrax.Solution, State]:
        """The whole solution: `sol.ts`, `sol.ys`, `sol.stats`, `sol.result`, and the state.

        **Arguments:** `y0`, `ps`, `st`: as for a call; `ts`: sorted times within the span at which to save, the last of which
        ends the solve (default: `t1` alone); `t0`: where this solve starts, which may be traced (default: the node's);
        `inputs`: a function of time, or an interpolation of diffrax, for a model that takes control inputs; `saveat`: any
        `diffrax.SaveAt` in place of `ts`, whose `fn` is given what is solved for; `key`: for an equation that is random, the
        random key of this solve, in place of the one that it draws from `st.key`, which then stays as it is.

        With `batching="each"`: `ts` of shape `(samples, n)` gives each sample its own times, and `lengths`, whole numbers of shape
        `(samples,)`, says how many of them are real. The rest is padding, whatever it holds: a sample's solve ends at
        its last real time, whose values its padded rows repeat, without gradients. `t0` may have shape `(samples,)`; `inputs`
        made by `jax.vmap`, whose own times are a matrix, give each sample its own. A `key` is one for each sample.

        **Returns:** `(solution, st)`; the arrays of `solution.ys` have one row for each time saved. `sol.stats["t_reached"]` and
        `sol.stats["y_largest"]` are where the solve ended, and the largest number of the state there. With `batching="each"` all
        of them, `sol.result` included, have a leading axis, the samples.
        """
        return self.answer(Request(y0, t0, ts, lengths, inputs, None, saveat, key), ps, st)

    def answer(self, request: Request, ps: Any, st: State) -> tuple[diffrax.Solution, State]:
        """The solution of what is asked for, and the state: `solve`, for a subclass whose equation is driven by more than that takes."""
        params, state, settings = as_params(ps), as_state(st), SolveSettings.of(self)
        solved = solve(self, settings, request, params, state)
        children = State({name: state[name] for name in self.children()})
        if jax.tree.leaves(children):
            children = advanced(self, settings, solved, params, state, children)
        own = {} if solved.key is None else {"key": solved.key}
        return solved.solution, State(**children, **own, solution=State(self.summary(solved.solution, solved.okay)))

    def random_keys(self, st: State, samples: int | None = None) -> Key[Array, "..."]:
        """The random key that the next solve from the state `st` draws; with `batching="each"`, those of so many samples.

        Given to `solve` as `key`, they lead to the same paths again: those of one sample alone, or of another equation.
        """
        return drawn(as_state(st)["key"], samples)[0]

    def choose_adjoint(self, y0: Any, ps: Parameters, st: State, *, inputs: Any = None) -> AdjointChoice:
        """How a solve, at given `ts` or to the end, is differentiated, and why, to be printed. Arguments as for a call."""
        params, state, settings = as_params(ps), as_state(st), SolveSettings.of(self)
        request = Request(as_state_arrays(settings.adapter, y0, self.pair), inputs=inputs)
        if not settings.by_sample:
            return choice_of(self, settings, request, params, state)
        check_samples(settings.adapter, request.y0, None, None)
        choices: list[AdjointChoice] = []

        def one(request: Request) -> Any:
            choices.append(choice_of(self, settings, request, params, state))
            return jnp.zeros(())

        eqx.filter_vmap(one, in_axes=(request.axes(self.input_axes(inputs), None),))(request)
        return choices[0]

    def model_input(self, t: Time, y: StateTree, inputs: Any) -> Any:
        """What a model is called on: `y`, `(t, y)`, `(y, u)` or `(t, y, u)`, with the time if asked for and the value of the inputs."""
        time = (jnp.asarray(t, time_dtype(y)),) if self.time else ()
        forcing = self.forcing(t, inputs)
        return (*time, y, *forcing) if time or forcing else y

    def forcing(self, t: Time, inputs: Any) -> tuple[Any, ...]:
        """The value of the inputs at `t`, or nothing where there are none."""
        return () if inputs is None else (inputs.evaluate(t) if hasattr(inputs, "evaluate") else inputs(t),)

    def summary(self, solution: diffrax.Solution, okay: Bool[Array, "..."]) -> dict[str, Any]:
        """What the state keeps of a solution: entries like those in `initial_states`."""
        steps = jnp.asarray(solution.stats["num_steps"], jnp.int32)
        if self.batching == "joint":
            return {"num_steps": steps, "result": solution.result}
        return {"num_steps": jnp.max(steps), **summary_of_each(solution.result, okay, self.throw)}
