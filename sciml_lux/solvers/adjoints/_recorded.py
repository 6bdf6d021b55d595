"""A solve without derivatives that records the steps it accepted, for a gradient to be computed from them afterwards."""

import functools
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.custom_batching
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int


class Part(NamedTuple):
    """Some steps in a row: starts, ends and initial values; those that are not `active` have a length of 0."""

    t0: Float[Array, " chunk"]
    t1: Float[Array, " chunk"]
    y0: Float[Array, "chunk state"]
    active: Bool[Array, " chunk"]


class Steps(NamedTuple):
    """The accepted steps: row `i` is `(t_i, y_i)`, and step `i` of `number` leads from row `i` to row `i + 1`."""

    rows: Float[Array, "steps+1 1+state"]
    number: Int[Array, ""]

    @property
    def most(self) -> int:
        """How many steps there can be."""
        return self.rows.shape[0] - 1

    @property
    def end(self) -> tuple[Any, Any]:
        """The time and the state that were reached."""
        row = self.rows[self.number]
        return row[0], row[1:]

    def part(self, first: Any, end: Any, size: int, dtype: Any) -> Part:
        """`size` steps from `first` on, of which those before `end` are active."""
        rows = lax.dynamic_slice(self.rows, (first, jnp.zeros_like(first)), (size + 1, self.rows.shape[1]))
        active = first + jnp.arange(size, dtype=first.dtype) < end
        # Idle steps stand still where the last active one ends, in a state that was met.
        t0 = jnp.where(active, rows[:-1, 0], rows[end - first, 0])
        y0 = jnp.where(active[:, None], rows[:-1, 1:], rows[:1, 1:])
        return Part(t0, jnp.where(active, rows[1:, 0], t0), y0.astype(dtype), active)


def is_recordable(settings: dict[str, Any]) -> bool:
    """Whether each step begins where the last one ended, which it does not at a jump, and there is a bound on their number."""
    controller = settings["stepsize_controller"]
    if isinstance(controller, diffrax.ClipStepSizeController) and controller.jump_ts is None:
        controller = controller.controller
    meets = isinstance(controller, diffrax.PIDController | diffrax.ConstantStepSize)
    return meets and settings["max_steps"] is not None


def solve_and_record(field: Any, y0: Any, args: Any, ts: Any, settings: dict[str, Any]) -> tuple[Any, Steps]:
    """diffrax's solution at the times `ts`, of a state that is a vector, and its steps. It has no derivatives.

    A step size controller that writes the steps down is the cheapest recorder for one solve. Under `vmap` each lane of a loop selects
    between all that it carries, at every iteration; of that, diffrax spares what it saves itself.
    """
    dynamic, static = eqx.partition((field, y0, args, ts, settings), eqx.is_array)
    leaves, structure = jax.tree.flatten(dynamic)

    def solve(record: Any, *leaves: Any) -> Any:
        return record(*eqx.combine(jax.tree.unflatten(structure, leaves), static))

    alone = jax.custom_batching.custom_vmap(functools.partial(solve, _by_controller))

    @alone.def_vmap
    def _(axis_size: int, is_mapped: Any, *leaves: Any) -> tuple[Any, Any]:
        axes = [0 if mapped else None for mapped in is_mapped]
        result = jax.vmap(functools.partial(solve, _by_saving), axes, axis_size=axis_size)(*leaves)
        return result, jax.tree.map(lambda _: True, result)

    solution, steps = alone(*leaves)
    # What was a Python number came out as an array.
    stats = {**solution.stats, "max_steps": settings["max_steps"]}
    return eqx.tree_at(lambda s: s.stats, solution, stats), steps


def solve_plainly(field: Any, y0: Any, args: Any, ts: Any, settings: dict[str, Any]) -> Any:
    """diffrax's solution at the times `ts`, of a state that is a vector, without derivatives."""
    end = diffrax.SubSaveAt(t1=True)
    solution = _diffeqsolve(field, y0, args, diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=ts), end]), settings)
    saved_ts: Any = solution.ts
    saved_ys: Any = solution.ys
    return _reporting(solution, saved_ts[0], saved_ys[0], saved_ts[1][0], saved_ys[1][0])


def _reporting(solution: Any, ts: Any, ys: Any, t: Any, y: Any) -> Any:
    """The solution at the times `ts`, which also says what it reached in the end."""
    stats = {**solution.stats, "t_reached": t, "y_largest": jnp.max(jnp.abs(y)).astype(t.dtype)}
    return eqx.tree_at(lambda s: (s.ts, s.ys, s.stats), solution, (ts, ys, stats))


def _by_controller(field: Any, y0: Any, args: Any, ts: Any, settings: dict[str, Any]) -> tuple[Any, Steps]:
    recorder = _Recorder(settings["stepsize_controller"], settings["max_steps"])
    saveat = diffrax.SaveAt(ts=ts, controller_state=True)
    solution = _diffeqsolve(field, y0, args, saveat, {**settings, "stepsize_controller": recorder})
    state: Any = solution.controller_state
    steps = Steps(state.rows, state.number)
    solution = eqx.tree_at(lambda s: s.controller_state, solution, None)
    return _reporting(solution, solution.ts, solution.ys, *steps.end), steps


def _by_saving(field: Any, y0: Any, args: Any, ts: Any, settings: dict[str, Any]) -> tuple[Any, Steps]:
    rows = diffrax.SubSaveAt(t0=True, steps=True, fn=lambda t, y, args: _row(t, y))
    solution = _diffeqsolve(field, y0, args, diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=ts), rows]), settings)
    saved_ts: Any = solution.ts
    saved_ys: Any = solution.ys
    steps = Steps(saved_ys[1], solution.stats["num_accepted_steps"].astype(jnp.int32))
    return _reporting(solution, saved_ts[0], saved_ys[0], *steps.end), steps


def _diffeqsolve(field: Any, y0: Any, args: Any, saveat: diffrax.SaveAt, settings: dict[str, Any]) -> diffrax.Solution:
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        y0=y0,
        args=args,
        saveat=saveat,
        adjoint=diffrax.ForwardMode(),  # the cheapest to compile; no derivative is taken through it
        throw=False,
        **settings,
    )


def _row(t: Any, y: Any) -> Any:
    return jnp.concatenate([jnp.reshape(t, (1,)), y.astype(jnp.result_type(t))])


class _Recording(NamedTuple):
    controller: Any
    rows: Any
    number: Any


class _Recorder(diffrax.AbstractStepSizeController):
    """The step sizes of `controller`, written down: a step that is rejected is overwritten by the next attempt."""

    controller: diffrax.AbstractStepSizeController
    max_steps: int = eqx.field(static=True)
    direction: Any = 1

    def wrap(self, direction: Any) -> "_Recorder":
        return _Recorder(self.controller.wrap(direction), self.max_steps, direction)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, error_order: Any) -> Any:
        first, state = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        row = _row(self._time(t0), y0)
        rows = jnp.zeros((self.max_steps + 1, row.size), row.dtype).at[0].set(row)
        return first, _Recording(state, rows, jnp.zeros((), jnp.int32))

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Any,
    ) -> Any:
        state, rows, number = controller_state
        keep, next_t0, next_t1, made_jump, state, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, state
        )
        rows = rows.at[number + 1].set(_row(self._time(t1), y1_candidate), mode="promise_in_bounds")
        recording = _Recording(state, rows, number + jnp.asarray(keep, jnp.int32))
        return keep, next_t0, next_t1, made_jump, recording, result

    def _time(self, t: Any) -> Any:
        return t * jnp.asarray(self.direction).astype(jnp.result_type(t))
