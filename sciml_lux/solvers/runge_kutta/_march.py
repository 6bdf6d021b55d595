"""The loop of an explicit Runge-Kutta solve: methods and step size control of diffrax, for one problem or for many side by side.

`diffrax.diffeqsolve` saves at `ts` in a loop within its loop, which under `vmap` runs once for each time of each lane, and writes each
step to a place of its own for each lane. Here the steps of all lanes are written side by side, as one block, and values are interpolated
when `CHUNK` steps have been taken. A lane that is done, or rejects a step, leaves a step of no length. What this saves is in
benchmarks/ode_batches.py. Nothing is differentiated here.
"""

import functools
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ._interpolate import Saved, nothing_saved, save
from ._problem import InitialValueProblem, Lanes
from ._stages import stages, weighted
from ._tableau import Tableau, tableau_of

CHUNK = 128


class Progress(NamedTuple):
    """How far a problem has come; of lanes, every array has a leading axis."""

    t: Any
    next_t: Any
    y: Any
    slope: Any  # at `(t, y)`, for methods whose last stage is the first one of the next step
    control: Any  # the state of the step size controller
    result: Any
    tried: Any  # numbers of steps
    taken: Any


class Marched(NamedTuple):
    """The end of a solve, what was saved, and, if asked for, `(t, y)` after each of the `number` steps of all lanes."""

    progress: Progress
    saved: Saved | None
    rows: Float[Array, "steps+1 *lanes 1+state"] | None
    number: Int[Array, ""]


def march(lanes: Lanes, tableau: Tableau, *, max_steps: int, saves: bool, records: bool) -> Marched:
    """Solve. `saves`: whether the problems have times to save at; `records`: whether to return the steps."""
    zero = jnp.zeros((), jnp.int32)
    progress = lanes.each(_start)

    def goes_on(progress: Progress) -> Any:
        return jnp.any(lanes.each(_goes_on, progress))

    def step(progress: Progress) -> tuple[Progress, Any, Any]:
        y1, k, slope = _attempt(lanes, tableau, progress)
        new = lanes.each(_judged, progress, y1, _error(tableau, k), slope)
        if lanes.axes is not None:
            new = lanes.each(_where_it_goes_on, progress, new)
        frame = _packed(progress.t[..., None], new.t[..., None], progress.y, y1)
        return new, frame, k

    def plain(progress: Progress) -> Progress:
        return step(progress)[0]

    if not (saves or records):
        progress = lax.while_loop(goes_on, plain, progress)
        return Marched(lanes.each(_ended, progress), None, None, zero)

    size = min(max_steps, CHUNK)
    _, *shapes = jax.eval_shape(step, progress)
    frames, k = (jnp.zeros((size, *shape.shape), shape.dtype) for shape in shapes)
    # Chunks are written whole.
    row = (*progress.y.shape[:-1], 1 + progress.y.shape[-1])
    rows = jnp.zeros((max_steps + 1 + size, *row), progress.t.dtype) if records else None
    saved = lanes.each(nothing_saved) if saves else None

    def one(carry: tuple[Progress, Array, Array | None, Array]) -> Any:
        progress, frames, k, number = carry
        new, frame, stages = step(progress)
        frames = lax.dynamic_update_index_in_dim(frames, frame, number, 0)
        if saves:
            k = lax.dynamic_update_index_in_dim(k, stages, number, 0)
        # A step that no lane has taken is overwritten.
        return new, frames, k, number + jnp.any(new.t != progress.t).astype(jnp.int32)

    def chunk(carry: tuple[Progress, Array, Array | None, Saved | None, Array | None, Array]) -> Any:
        progress, frames, k, saved, rows, number = carry
        progress, frames, k, more = lax.while_loop(
            lambda carry: (carry[3] < size) & goes_on(carry[0]), one, (progress, frames, k, zero)
        )
        if saves:
            saved = lanes.each(save, saved, progress.t, frames, k, more, axes=(0, 0, 1, 2, None))
        if rows is not None:
            rows = lax.dynamic_update_slice_in_dim(rows, lanes.each(_starts, frames, axes=1, out=1), number, 0)
        return progress, frames, k, saved, rows, number + more

    carry = (progress, frames, k if saves else None, saved, rows, zero)
    progress, _, _, saved, rows, number = lax.while_loop(lambda carry: goes_on(carry[0]), chunk, carry)
    if records:
        rows = lax.dynamic_update_index_in_dim(rows, lanes.each(_row, progress), number, 0)
    return Marched(lanes.each(_ended, progress), saved, rows, number)


def _start(problem: InitialValueProblem) -> Progress:
    t, term, solver, dt0 = problem.start, problem.term(), problem.solver, problem.settings["dt0"]
    dt0 = None if dt0 is None else dt0 * problem.direction
    next_t, control = problem.controller().init(
        term, t, problem.end, problem.y0, dt0, None, solver.func, solver.error_order(term)
    )
    slope = problem.slope(t, problem.y0) if tableau_of(solver).reuses_last_stage() else None
    # What is a Python number at first becomes an array in the loop.
    control, result = jax.tree.map(jnp.asarray, (control, diffrax.RESULTS.successful))
    zero = jnp.zeros((), jnp.int32)
    return Progress(t, jnp.minimum(next_t, problem.end), problem.y0, slope, control, result, zero, zero)


def _goes_on(problem: InitialValueProblem, progress: Progress) -> Any:
    return _unfinished(problem, progress) & (progress.tried < problem.settings["max_steps"])


def _unfinished(problem: InitialValueProblem, progress: Progress) -> Any:
    return (progress.t < problem.end) & (progress.result == diffrax.RESULTS.successful)


def _ended(problem: InitialValueProblem, progress: Progress) -> Progress:
    result = diffrax.RESULTS.where(_unfinished(problem, progress), diffrax.RESULTS.max_steps_reached, progress.result)
    return progress._replace(t=progress.t * problem.direction, result=result)


def _attempt(lanes: Lanes, tableau: Tableau, progress: Progress) -> tuple[Any, Any, Any]:
    """The result of a step of every lane, its stages `h f`, and the slope at the last one, if the next step begins with it."""
    field = functools.partial(lanes.each, InitialValueProblem.slope)
    k, slope = stages(field, tableau, progress.t, progress.next_t, progress.y, progress.slope)
    return progress.y + weighted(tableau.b, k), k, slope


def _error(tableau: Tableau, k: Float[Array, "stages *lanes state"]) -> Any:
    error = weighted(tableau.b_error, k)
    # A step into a region where the field is not defined is too long.
    return jnp.where(jnp.isnan(error), jnp.inf, error)


def _judged(
    problem: InitialValueProblem,
    progress: Progress,
    y1: Float[Array, " state"],
    error: Float[Array, " state"],
    slope: Float[Array, " state"] | None,
) -> Progress:
    """After a step that was accepted or not."""
    t, next_t, end = progress.t, progress.next_t, problem.end
    order: Any = problem.solver.error_order(problem.term())
    keep, t, next_t, _, control, result = problem.controller().adapt_step_size(
        t, next_t, progress.y, y1, None, error, order, progress.control
    )
    keep = jnp.asarray(keep)
    t = jnp.minimum(t, end)
    # No step is left that is no more than rounding; one that would be, after a rejected one, is halved instead.
    last = next_t > end - 100 * jnp.finfo(t.dtype).eps * jnp.abs(end)
    next_t = jnp.where(last, jnp.where(keep, end, t + 0.5 * (end - t)), next_t)
    control = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), control, progress.control)
    y = jnp.where(keep, y1, progress.y)
    slope = None if slope is None else jnp.where(keep, slope, progress.slope)
    taken = progress.taken + keep.astype(jnp.int32)
    # The result may be known without running anything.
    result = jax.tree.map(jnp.asarray, result)
    return Progress(t, next_t, y, slope, control, result, progress.tried + 1, taken)


def _where_it_goes_on(problem: InitialValueProblem, progress: Progress, new: Progress) -> Progress:
    goes_on = _goes_on(problem, progress)
    return jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), new, progress)


def _row(problem: InitialValueProblem, progress: Progress) -> Any:
    return _packed(problem.direction * progress.t[None], progress.y)


def _starts(problem: InitialValueProblem, frames: Float[Array, "steps frame"]) -> Any:
    """`(t, y)` before each step."""
    size = frames.shape[-1] // 2 - 1
    return _packed(problem.direction * frames[:, :1], frames[:, 2 : 2 + size])


def _packed(t: Float[Array, "..."], *others: Any) -> Any:
    """Side by side, in the precision of the times."""
    return jnp.concatenate([t, *(other.astype(t.dtype) for other in others)], axis=-1)
