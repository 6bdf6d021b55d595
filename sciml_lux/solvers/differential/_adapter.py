"""`AbstractODE`: what every layer whose call solves an ordinary differential equation shares."""

import dataclasses
import functools
from typing import Any, ClassVar, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..._errors import LayerError, ShapeError
from ...core import (
    AbstractContainer,
    AbstractLayer,
    State,
    as_params,
    as_state,
    describe,
    differentiation_mode,
    type_of,
)
from .._failure import guard
from ..adjoints import AdjointChoice, ReversibleAdjoint, choose_adjoint
from ._batching import Problem, advance_each, check_samples, dense_each, solve_each, summary_of_each
from ._implicit import with_own_derivative
from ._inputs import step_onto
from ._integrate import integrate
from ._one import explain, outcome, solve_one
from ._settings import check_model, check_settings, takes_two_terms
from ._stiff import implicit_solver
from ._tolerances import default_controller
from ._values import as_array, as_state_arrays, check_start, check_times, time_dtype

_SAVED_AS_IT_IS = diffrax.SubSaveAt(t1=True).fn


class AbstractODE(AbstractContainer):
    """A layer whose call solves `dy/dt = derivative(t, y)`, `y(t0) = y0`, from `t0` to `t1`.

    A subclass writes `derivative`, and, where what it solves for is not what it is given, `lift` and `observe`.

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
    `successful` unless all failed. The results of all samples are in the solution.

    **Errors:** `LayerError` for a span or a setting that cannot be; `ShapeError` for `ts` that are empty, unsorted or outside
    the span, and for a model whose result is not shaped like `y`; `ValueError` for NaN in `y0` or `ts`; at run time, for a failed
    solve, `lux.solvers.SolveError`, which says when and in which sample it happened and what to try (within a compiled function: a
    `jax.errors.JaxRuntimeError` with that text). Solves fail at `max_steps`; where a step leads nowhere, since the field is NaN or
    the solution grows without bound (`dt_min_reached`); with a state that is not finite, after fixed steps (`nonfinite`); and
    for `ts` that are seen to be wrong at run time only (`nonfinite_input`). With `throw=False` a failed solve returns
    NaN, as do its gradients, and `solution.result` says why. With `batching="each"` the gradients of failed samples are zero,
    and those of the others what they are alone: choose by `sol.result == diffrax.RESULTS.successful` before taking a sum.
    """

    # What a state is made of that is a pair, and the model is called on: "q, p".
    pair: ClassVar[str | None] = None

    model: AbstractLayer
    _: dataclasses.KW_ONLY
    t0: float = 0.0
    t1: float = 1.0
    time: bool = False
    solver: diffrax.AbstractSolver | None = None
    stiff: bool = False
    rtol: float = 1e-5
    atol: float | tuple[Any, ...] = 1e-6
    dt0: float | None = None
    stepsize_controller: diffrax.AbstractStepSizeController | None = None
    adjoint: diffrax.AbstractAdjoint | Literal["auto"] = "auto"
    jump_ts: Any = ()
    max_steps: int | None = 4096
    event: diffrax.Event | None = None
    throw: bool = True
    batching: Literal["joint", "each"] = "joint"

    def __post_init__(self) -> None:
        check_model(self)
        check_settings(self)

    # What a subclass says of its equation

    def derivative(self, t: Any, y: Any, params: Any, state: State, inputs: Any) -> tuple[Any, State]:
        """`dy/dt` at `(t, y)`, and the advanced state of the children. `inputs`: as given to `solve`."""
        raise LayerError(
            f"{type(self).__name__} has no derivative(self, t, y, params, state, inputs); "
            "write one that returns (dy, state of the children)"
        )

    def lift(self, y0: Any, params: Any, state: State) -> Any:
        """The state that is solved for, from the initial value that was given."""
        return y0

    def observe(self, y: Any, params: Any, state: State) -> Any:
        """What is returned of a state that was solved for."""
        return y

    @property
    def hides_state(self) -> bool:
        """Whether what is given and returned is another thing than the state that is solved for, so that a solve cannot be taken up
        again from what it returned."""
        return type(self).lift is not AbstractODE.lift or type(self).observe is not AbstractODE.observe

    def terms(self, solver: diffrax.AbstractSolver) -> Any:
        """The derivative as a callable pytree of `(t, y, args)`; a tuple of them for a solver that takes several terms, such as
        `diffrax.SemiImplicitEuler()`. `args` are `(params, state, inputs)`."""
        if takes_two_terms(solver):
            raise LayerError(
                f"{type(self).__name__} has one field, and {type(solver).__name__} takes two; use it with SecondOrderODE or HamiltonianODE"
            )
        # As a pytree, not as a method, which equals only that of the same object: equal nodes share a compilation.
        return jax.tree_util.Partial(AbstractODE._field, self)

    def advance(self, t0: Any, given: Any, y0: Any, params: Any, state: State, inputs: Any) -> State:
        """The state of the children after a call. `t0`: the start of the solve; `given`: the initial value as it came; `y0`: what
        `lift` made of it."""
        return self.derivative(t0, y0, params, state, inputs)[1]

    def advice(self, result: int) -> str | None:
        """What to try after a failure that is this adapter's own, given the number of the result; `None` after any other."""
        return None

    # The solve

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        solution: dict[str, Any] = {"num_steps": jnp.zeros((), jnp.int32), "result": diffrax.RESULTS.successful}
        if self.batching == "each":
            solution["num_failed"] = jnp.zeros((), jnp.int32)
        return {**super().initial_states(key), "solution": solution}

    def __call__(self, y0: Any, ps: Any, st: Any, *, inputs: Any = None) -> tuple[Any, State]:
        solution, st = self.solve(y0, ps, st, inputs=inputs)
        return self.final(solution), st

    def final(self, solution: diffrax.Solution) -> Any:
        """The last values of a solution, or of that of each sample."""
        return jax.tree.map(lambda leaf: leaf[:, -1] if self.batching == "each" else leaf[-1], solution.ys)

    def solve(
        self,
        y0: Any,
        ps: Any,
        st: Any,
        ts: Any = None,
        *,
        lengths: Any = None,
        t0: Any = None,
        inputs: Any = None,
        saveat: diffrax.SaveAt | None = None,
    ) -> tuple[diffrax.Solution, State]:
        """The whole solution: `sol.ts`, `sol.ys`, `sol.stats`, `sol.result`, and the state.

        **Arguments:** `y0`, `ps`, `st`: as for a call; `ts`: sorted times within the span at which to save, the last of which
        ends the solve (default: `t1` alone); `t0`: where this solve starts, which may be traced (default: the node's);
        `inputs`: a function of time, or an interpolation of diffrax, for a model that takes control inputs; `saveat`: any
        `diffrax.SaveAt` in place of `ts`, whose `fn` is given what is solved for.

        With `batching="each"`: `ts` of shape `(samples, n)` gives each sample its own times, and `lengths`, whole numbers of shape
        `(samples,)`, says how many of them are real. The rest is padding, whatever it holds: a sample's solve ends at
        its last real time, whose values its padded rows repeat, without gradients. `t0` may have shape `(samples,)`; `inputs`
        made by `jax.vmap`, whose own times are a matrix, give each sample its own.

        **Returns:** `(solution, st)`; the arrays of `solution.ys` have one row for each time saved. `sol.stats["t_reached"]` and
        `sol.stats["y_largest"]` are where the solve ended, and the largest number of the state there. With `batching="each"` all
        of them, `sol.result` included, have a leading axis, the samples.
        """
        name = type(self).__name__
        params, state = as_params(ps), as_state(st)
        each = self.batching == "each"
        # One sample may be lost where many are solved and none may raise.
        known = not (each and not self.throw)
        given = as_state_arrays(name, y0, self.pair, known)
        if ts is not None and saveat is not None:
            raise LayerError(f"{name}.solve takes ts or saveat, not both; write saveat=diffrax.SaveAt(ts=ts, ...)")
        ts, lengths = as_array(ts), as_array(lengths)
        if each:
            check_samples(name, given, ts, lengths)
        elif lengths is not None:
            raise LayerError(f'{name}: lengths goes with batching="each", got batching="joint"')
        t0 = as_array(t0)
        checked = t0 is None or (known and check_start(name, t0, self.t0, self.t1))
        if ts is not None:
            ts, known = check_times(name, ts, self.t0 if t0 is None else t0, self.t1, lengths, each)
            checked = checked and known
        problem = Problem(given, t0, ts, lengths, inputs)
        solve = jax.tree_util.Partial(solve_one, self, saveat, checked)
        if each:
            solution, okay = solve_each(solve, problem, (params, state), self.input_axes(inputs), self._isolates())
        else:
            solution, okay = solve(problem, (params, state))
        saved = (solution.ys, solution.interpolation)
        saved = guard(
            saved, outcome(solution, okay), functools.partial(explain, self, type_of(solution.result)), self.throw
        )
        solution = eqx.tree_at(lambda s: (s.ys, s.interpolation), solution, saved, is_leaf=lambda node: node is None)
        return (dense_each(solution) if each else solution), self._advanced(problem, params, state, solution, okay)

    def choose_adjoint(self, y0: Any, ps: Any, st: Any, *, inputs: Any = None) -> AdjointChoice:
        """How a solve, at given `ts` or to the end, is differentiated, and why, to be printed. Arguments as for a call."""
        params, state = as_params(ps), as_state(st)
        given = as_state_arrays(type(self).__name__, y0, self.pair)
        if self.batching == "joint":
            return self._choice(params, state, given, inputs)
        check_samples(type(self).__name__, given, None, None)
        choices: list[AdjointChoice] = []

        def one(given: Any, inputs: Any) -> Any:
            choices.append(self._choice(params, state, given, inputs))
            return jnp.zeros(())

        eqx.filter_vmap(one, in_axes=(eqx.if_array(0), self.input_axes(inputs)))(given, inputs)
        return choices[0]

    def _choice(self, params: Any, state: State, given: Any, inputs: Any) -> AdjointChoice:
        start = self.lift(given, params, state)
        time = time_dtype(start).type
        settings = self._settings(start, time(self.t0), time(self.t1), time)
        args, settings = step_onto((params, state, inputs), settings)
        return choose_adjoint(self.adjoint, start, args, settings, event=self.event)

    def input_axes(self, inputs: Any) -> Any:
        """Which arrays in `inputs` have a leading axis, the samples of `batching="each"`, as for `equinox.filter_vmap`: by default all
        of an interpolation whose times are a matrix, and none of any other."""
        times: Any = getattr(inputs, "ts", None)
        return eqx.if_array(0) if np.ndim(times) == 2 else None

    def _isolates(self) -> bool:
        # In forward mode nothing is shared between samples; that rule is known by how it is differentiated.
        forward = differentiation_mode.value == "forward" and self.adjoint == "auto"
        return (
            not self.throw and not forward and not isinstance(self.adjoint, diffrax.ForwardMode | diffrax.DirectAdjoint)
        )

    def _solution(self, y0: Any, args: Any, t0: Any, ts: Any, saveat: Any, time: Any) -> diffrax.Solution:
        settings = self._settings(y0, t0, time(self.t1) if ts is None else ts[-1], time)
        adjoint = self.adjoint
        if isinstance(adjoint, ReversibleAdjoint) and adjoint.throw is None:
            adjoint = ReversibleAdjoint(adjoint.coupling, self.throw)
        return integrate(self.terms(settings["solver"]), y0, args, ts, saveat, settings, adjoint, self.event, True)

    def _settings(self, y0: Any, t0: Any, t1: Any, time: Any) -> dict[str, Any]:
        """What `diffrax.diffeqsolve` is told beside the problem and what to save, and `jump_ts`, where the field jumps."""
        solver = self.solver or (implicit_solver(self) if self.stiff else diffrax.Tsit5())
        solver = with_own_derivative(solver, y0, self.throw)
        return {
            "solver": solver,
            "t0": t0,
            "t1": t1,
            "dt0": None if self.dt0 is None else time(self.dt0),
            "stepsize_controller": self.stepsize_controller or default_controller(self, solver, y0),
            "max_steps": self.max_steps,
            **({"jump_ts": np.asarray(self.jump_ts, time)} if self.jump_ts else {}),
        }

    def _field(self, t: Any, y: Any, args: Any) -> Any:
        params, state, inputs = args
        return self.checked(self.derivative(t, y, params, state, inputs)[0], y)

    def checked(self, dy: Any, y: Any) -> Any:
        """`dy`, a time derivative of `y` or of a part of the state, if it is of its shape and dtype. **Errors:** `ShapeError`."""
        # Types and shapes as strings; a tree of them is compared, and shown, as one.
        got, expected = (
            jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", tree) for tree in (dy, y)
        )
        if got != expected:
            raise ShapeError(
                f"{type(self).__name__}: the model {describe(self.model)} returned {got}, expected a time derivative of the shape "
                f"and dtype of the state, {expected}"
            )
        return dy

    def model_input(self, t: Any, y: Any, inputs: Any) -> Any:
        """What a model is called on: `y`, `(t, y)`, `(y, u)` or `(t, y, u)`, with the time if asked for and the value of the inputs."""
        time = (jnp.asarray(t, time_dtype(y)),) if self.time else ()
        forcing = self.forcing(t, inputs)
        return (*time, y, *forcing) if time or forcing else y

    def forcing(self, t: Any, inputs: Any) -> tuple[Any, ...]:
        """The value of the inputs at `t`, or nothing where there are none."""
        return () if inputs is None else (inputs.evaluate(t) if hasattr(inputs, "evaluate") else inputs(t),)

    def _observed(self, solution: diffrax.Solution, saveat: Any, params: Any, state: State) -> diffrax.Solution:
        if type(self).observe is AbstractODE.observe or solution.ys is None:
            return solution

        def observed(sub: Any, ys: Any) -> Any:
            # What a function of the user's made of the state is no state.
            return jax.vmap(lambda y: self.observe(y, params, state))(ys) if sub.fn is _SAVED_AS_IT_IS else ys

        subs = diffrax.SubSaveAt(t1=True) if saveat is None else saveat.subs
        ys = jax.tree.map(observed, subs, solution.ys, is_leaf=lambda node: isinstance(node, diffrax.SubSaveAt))
        return eqx.tree_at(lambda s: s.ys, solution, ys)

    def _advanced(self, problem: Problem, params: Any, state: State, solution: diffrax.Solution, okay: Any) -> State:
        children = State({name: state[name] for name in self.children()})

        def advance(problem: Problem) -> State:
            y0 = self.lift(problem.given, params, state)
            t0 = self.t0 if problem.t0 is None else problem.t0
            return self.advance(t0, problem.given, y0, params, state, problem.inputs)

        if jax.tree.leaves(children) and self.batching == "each":
            children = advance_each(advance, problem, self.input_axes(problem.inputs), children, okay)
        elif jax.tree.leaves(children):
            children = advance(problem)
        return State(**children, solution=State(self.summary(solution, okay)))

    def summary(self, solution: diffrax.Solution, okay: Any) -> dict[str, Any]:
        """What the state keeps of a solution: entries like those in `initial_states`."""
        steps = jnp.asarray(solution.stats["num_steps"], jnp.int32)
        if self.batching == "joint":
            return {"num_steps": steps, "result": solution.result}
        return {"num_steps": jnp.max(steps), **summary_of_each(solution.result, okay, self.throw)}
