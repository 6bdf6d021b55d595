"""`JumpODE`: the equation `dy/dt = model(y)` whose state jumps, at events and at doses."""

import dataclasses
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters, Params
from ...kernels import is_traced, known
from .._types import StateTree, Time
from ..adjoints import AdjointChoice
from ..differential import (
    RESULTS,
    Request,
    SolveSettings,
    Start,
    advice_for,
    as_array,
    diffrax_settings,
    per_component,
    time_dtype,
)
from ..ode import NeuralODE
from ._jumps import Jumping, solve_with_jumps


class Doses(NamedTuple):
    """What drives the equation beside its inputs: `doses`, a pair of times and amounts; and whether the start is `resume`d from."""

    doses: Any
    resume: Any = False


class JumpODE(NeuralODE):
    """The solution of `dy/dt = model(y)` with a state that jumps: where a condition changes sign, and at given times.

        y(tau+) = jump(tau, y(tau-))        where condition(tau, y(tau-)) = 0
        y(tau+) = dose(tau, y(tau-), amount)        at each (tau, amount) of the doses

    A ball that bounces, a neuron that fires and is reset, a drug given every eight hours:

        ball = lux.JumpODE(model, condition=lambda t, y, ps: y[0], direction=False, jump=lambda t, y, ps: y * jnp.array([1, -0.8]), t1=3.0)
        drug = lux.JumpODE(model, t1=48.0)
        solution, st = drug.solve(y0, ps, st, ts=ts, doses=(times, amounts))

    Derivatives go through the times of the jumps: an event's by the implicit function theorem, and those of doses, which may be
    differentiated with respect to times and amounts.

    **Arguments:** as for every `AbstractODE`, of which `event` has no place here, and `t1` is later than `t0`; then, by name:

    - `condition`, `jump`: functions of `(t, y, ps)`, `ps` the parameters of `model`, or layers that are called on `(t, y)`. The
      condition is a scalar. For several surfaces, give the distance to the nearest, and let `jump` tell them apart.
    - `direction`: `True` if only changes from negative to positive count, `False` if only the other way; `None` for both.
    - `dose`: a function of `(t, y, amount, ps)`, or a layer called on `(t, y, amount)`; by default `y + amount`.
    - `max_jumps`: the most events in a solve. It bounds the work: each possible jump is a turn of the solve's loop.

    `max_steps` is for each piece between two jumps. A condition is looked at after each step: one that crosses 0 twice within a step
    goes unnoticed (bound the step by `stepsize_controller=diffrax.PIDController(rtol, atol, dtmax=...)`).

    **Call:** `node(y0, ps, st)`, with `inputs` and `doses=(times, amounts)` by name: `times` of shape `(doses,)`, in any order, those
    after the end ignored (so `inf` pads); `amounts` a tree whose arrays have a leading axis for the doses, added to `y` by default. `solve`
    takes `ts` as well. **At the time of a jump the value after it is returned.** A dose at `t0` comes before the value there.

    **Parameters:** `model`; `condition`, `jump` and `dose` if they are layers.

    **States:** those layers, of which only `model` is advanced; `solution.num_steps`, `solution.num_jumps` (of events, without doses)
    and `solution.result` (`lux.solvers.RESULTS`).

    **Errors:** as for every `AbstractODE`; `LayerError` for settings that do not go together; `ShapeError` for doses before `t0` or of the
    wrong shape, and a jump that returns anything but a state; at run time for more than `max_jumps` events, for events
    that accumulate at one time, and for a second derivative, which jumps do not have here.

    **Source:** Hiskens and Pai 2000, Trajectory sensitivity analysis of hybrid systems, IEEE Transactions on Circuits and Systems I 47;
    Chen, Amos and Nickel 2021, Learning Neural Event Functions for Ordinary Differential Equations.
    """

    _: dataclasses.KW_ONLY
    condition: Any = None
    jump: Any = None
    direction: bool | None = None
    dose: Any = None
    max_jumps: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.event is not None:
            raise LayerError(
                f"{name} goes on after its events; write condition= and jump=, or use a NeuralODE with event="
            )
        if not self.t1 > self.t0:
            raise LayerError(f"{name}: jumps have no way back; give t1 > t0, got t0={self.t0}, t1={self.t1}")
        if (self.condition is None) != (self.jump is None):
            raise LayerError(f"{name}: condition and jump go together; got only {'jump' if self.jump else 'condition'}")
        for field in ("condition", "jump", "dose"):
            if not (getattr(self, field) is None or callable(getattr(self, field))):
                raise LayerError(f"{name}: {field} is a function or a layer, got {getattr(self, field)!r}")
        if isinstance(self.max_jumps, bool) or not isinstance(self.max_jumps, int) or self.max_jumps < 1:
            raise LayerError(f"{name}: max_jumps is a whole number, 1 or more, got {self.max_jumps!r}")
        if self.direction not in (None, True, False):
            raise LayerError(
                f"{name}: direction is True (upwards), False (downwards) or None (both), got {self.direction!r}"
            )

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        states = super().initial_states(key)
        own = {"result": RESULTS.successful, "num_jumps": jnp.zeros((), jnp.int32)}
        return {**states, "solution": {**states["solution"], **own}}

    def summary(self, solution: diffrax.Solution, okay: Bool[Array, "..."]) -> dict[str, Any]:
        return {**super().summary(solution, okay), "num_jumps": jnp.max(solution.stats["num_jumps"])}

    def advice(self, result: int) -> str | None:
        return advice_for(result)

    def derivative(self, t: Time, y: StateTree, params: Params, state: State, inputs: Any) -> tuple[Any, State]:
        dy, children = super().derivative(t, y, params, state, inputs)
        return dy, State({name: children.get(name, state[name]) for name in self.children()})

    def __call__(
        self, y0: Any, ps: Parameters, st: State, *, inputs: Any = None, doses: Any = None
    ) -> tuple[Any, State]:
        solution, st = self.solve(y0, ps, st, inputs=inputs, doses=doses)
        return self.final(solution), st

    def solve(
        self,
        y0: Any,
        ps: Parameters,
        st: State,
        ts: Any = None,
        *,
        lengths: Any = None,
        t0: Any = None,
        inputs: Any = None,
        doses: Any = None,
        resume: Any = False,
        saveat: diffrax.SaveAt | None = None,
        key: Key[Array, "..."] | None = None,
    ) -> tuple[diffrax.Solution, State]:
        """The solution at the times `ts`, by default at `t1` alone, and the state: as for every `AbstractODE`, with `doses` as for a call.

        `resume`: whether `y0` is the state of a solution at `t0`, which is the one after all jumps there: doses until `t0` have been given,
        and an event at `t0` has happened. A truth value, which may be traced; with `batching="each"` one for each sample, or one for all.

        `solution.stats` has `num_jumps`, the number of events, and `jump_times`, `(max_jumps,)`, which end in `inf`; derivatives go
        through them. `saveat` has no place here. With `batching="each"`, times of doses that are a matrix give each sample its own.
        """
        name = type(self).__name__
        if saveat is not None:
            raise LayerError(f"{name}.solve saves at ts; write ts=... in place of saveat=...")
        if doses is not None:
            if not (isinstance(doses, tuple) and len(doses) == 2):
                raise ShapeError(f"{name}: doses are a pair (times, amounts), got {doses!r}")
            # A list is numbers, not a tree of them.
            doses = jax.tree.map(as_array, doses, is_leaf=lambda node: isinstance(node, list))
        return self.answer(Request(y0, t0, ts, lengths, inputs, Doses(doses, resume), None, key), ps, st)

    def choose_adjoint(
        self, y0: Any, ps: Parameters, st: State, *, inputs: Any = None, doses: Any = None
    ) -> AdjointChoice:
        """How a solve between two jumps is differentiated, and why, to be printed. Arguments as for a call."""
        del doses  # between two of them
        return super().choose_adjoint(y0, ps, st, inputs=inputs)

    def drive_axes(self, drives: Doses) -> Doses:
        each = drives.doses is not None and jnp.ndim(drives.doses[0]) == 2
        return Doses(eqx.if_array(0) if each else None, eqx.if_array(0) if jnp.ndim(drives.resume) else None)

    def solution_from(self, start: Start, settings: SolveSettings) -> diffrax.Solution:
        y0, t0, resume = start.y0, start.t0, start.drives.resume
        time = time_dtype(y0).type
        ts = jnp.asarray(settings.t1, time)[None] if start.ts is None else start.ts
        doses = self._sorted_doses(y0, start.drives.doses, t0, time, resume)
        options = diffrax_settings(settings, y0, t0, ts[-1])
        condition = None if self.condition is None else jax.tree_util.Partial(JumpODE._condition, self)
        jump, dose = (jax.tree_util.Partial(method, self) for method in (JumpODE._jump, JumpODE._dose))
        system = Jumping(self.terms(options["solver"]), condition, jump, dose)
        events = self._events()
        resumed = None if resume is False else (jnp.asarray(resume), self._tolerance(y0))
        adjoint = settings.adjoint
        return solve_with_jumps(system, self.direction, events, y0, start.args, ts, doses, options, adjoint, resumed)

    def _tolerance(self, y: StateTree) -> Any:
        """How far from the solution a state may be that was solved for."""
        atol = per_component(f"{type(self).__name__}: atol", self.atol, y)
        return jax.tree.map(lambda atol, leaf: jnp.asarray(atol, leaf.dtype) + self.rtol * jnp.abs(leaf), atol, y)

    def _events(self) -> int:
        return 0 if self.condition is None else self.max_jumps

    def _condition(self, t: Float[Array, ""], y: StateTree, args: PyTree) -> Any:
        value = self._call("condition", args, t, y)
        if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            got = f"{jnp.result_type(value)}{list(jnp.shape(value))}"
            raise ShapeError(f"{type(self).__name__}: condition returns a real number that changes sign, got {got}")
        return value

    def _jump(self, t: Float[Array, ""], y: StateTree, args: PyTree) -> Any:
        return self._same("jump", self._call("jump", args, t, y), y)

    def _dose(self, t: Float[Array, ""], y: StateTree, amount: PyTree[Array], args: PyTree) -> Any:
        if self.dose is None:
            return jax.tree.map(jnp.add, y, amount)
        return self._same("dose", self._call("dose", args, t, y, amount), y)

    def _call(self, name: str, args: PyTree, *given: Any) -> Any:
        params, state, _ = args
        function = getattr(self, name)
        if isinstance(function, AbstractLayer):
            return function(given, params[name], state[name])[0]
        return function(*given, params["model"])

    def _same(self, name: str, new: StateTree, y: StateTree) -> Any:
        shapes = lambda tree: jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree)  # noqa: E731
        if shapes(new) != shapes(y):
            raise ShapeError(
                f"{type(self).__name__}: {name} returns the state after it, of the shapes and dtypes {shapes(y)}, got {shapes(new)}"
            )
        return new

    def _sorted_doses(self, y0: StateTree, doses: Any, t0: Any, time: Any, resume: Any) -> tuple[Any, Any]:
        """Times and amounts in the order of time, in the precision of the solve; those that were given before it never come."""
        name = type(self).__name__
        if doses is None:
            return jnp.zeros(0, time), None
        times = jnp.asarray(doses[0], time)
        if times.ndim != 1:
            raise ShapeError(f"{name}: the times of doses are a vector, got shape {times.shape}")
        given = known(doses[0])
        if given is not None and np.isnan(given).any():
            raise ShapeError(f"{name}: the times of doses hold NaN; write inf for a dose that is not given")
        known_start = resume is False and not is_traced(t0)
        if known_start and given is not None and np.min(given, initial=np.inf).astype(time) < t0:
            raise ShapeError(
                f"{name}: a dose at {np.min(given):g} comes before the solve starts, at {float(t0):g}; leave it out, or write "
                "resume=True if y0 is the state after it"
            )
        if resume is not False:
            times = jnp.where(jnp.asarray(resume) & (times <= t0), jnp.asarray(jnp.inf, time), times)
        amounts = jax.tree.map(jnp.asarray, doses[1])
        if self.dose is None:
            expected = jax.tree.map(lambda leaf: (times.size, *leaf.shape), y0)
            if jax.tree.map(jnp.shape, amounts) != expected:
                raise ShapeError(
                    f"{name}: amounts are added to the state, one for each dose, of shape {expected}, "
                    f"got {jax.tree.map(jnp.shape, amounts)}; or write dose=lambda t, y, amount, ps: ..."
                )
        real = lambda leaf: jnp.result_type(leaf) if jnp.iscomplexobj(leaf) else time  # noqa: E731
        order = jnp.argsort(jax.lax.stop_gradient(times))
        return times[order], jax.tree.map(lambda leaf: jnp.asarray(leaf, real(leaf))[order], amounts)
