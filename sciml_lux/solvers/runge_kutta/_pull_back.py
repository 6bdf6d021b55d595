"""The way back through recorded steps, from the last to the first: many at once, or one by one."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ._chunk import chunk_adjoint
from ._problem import Lanes
from ._step import step_adjoint
from ._steps import Steps, part_of

# Field evaluations for the Jacobians grow with the size of the state: beyond this many numbers, steps go one by one.
SMALL_STATE = 16


class Solved(NamedTuple):
    """A solve to be differentiated: the cotangents of what it saved, what it depends on, `(y0, args, ts, t0)`, and its equation."""

    ys_bar: Any
    differentiable: Any
    problem: Any


class Cotangents(NamedTuple):
    """The cotangents that have been found on the way back; `saved`: the last time saved at that has not been pulled back yet."""

    saved: Any
    y: Any
    args: Any
    ts: Any


def pull_back(lanes: Lanes, steps: Steps, size: int, in_ts: bool, in_t0: bool) -> Any:
    """The cotangents of `differentiable`, of each lane; by chunks of `size` steps, if the state is small.

    `in_ts`, `in_t0`: whether those of `ts` and `t0` are asked for.
    """
    rows, number = steps
    is_small = rows.shape[-1] - 1 <= SMALL_STATE
    size = min(size, len(rows) - 1) if is_small else 1

    def back(carry: tuple[Int[Array, ""], Cotangents]) -> Any:
        end, cotangents = carry
        first = jnp.maximum(end - size, 0)
        part = lax.dynamic_slice_in_dim(rows, first, size + 1)
        pull = _pull_chunk if is_small else _pull_step
        return first, lanes.each(pull, cotangents, part, end - first, axes=(0, 1, None))

    cotangents = lanes.each(_start, lax.dynamic_index_in_dim(rows, number, keepdims=False))
    _, cotangents = lax.while_loop(lambda carry: carry[0] > 0, back, (number, cotangents))
    return lanes.each(functools.partial(_finish, in_ts, in_t0), cotangents)


def _start(solved: Solved, end: Float[Array, " row"]) -> Cotangents:
    ys_bar, (_, args, ts, _), problem = solved
    floating = eqx.filter(args, eqx.is_inexact_array)
    # Values that a failed solve never reached: their cotangents, which are NaN unless nobody looks at them, make all gradients so.
    direction = problem.direction(ts.dtype)
    reached = direction * ts <= direction * end[0]
    missed = jnp.sum(jnp.where(reached[:, None], 0, ys_bar), axis=0)
    zeros = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0 * jnp.sum(missed).astype(leaf.dtype)), floating)
    return Cotangents(jnp.sum(reached, dtype=jnp.int32) - 1, missed, zeros, jnp.zeros_like(ts))


def _pull_chunk(
    solved: Solved, cotangents: Cotangents, rows: Float[Array, "rows row"], number: Int[Array, ""]
) -> Cotangents:
    part, given = _given(solved, cotangents, rows, number)
    y_bar, more_args, more_ts = chunk_adjoint(solved.problem, part, *given)
    return Cotangents(
        cotangents.saved, y_bar, jax.tree.map(jnp.add, cotangents.args, more_args), cotangents.ts + more_ts
    )


def _pull_step(
    solved: Solved, cotangents: Cotangents, rows: Float[Array, "rows row"], number: Int[Array, ""]
) -> Cotangents:
    part, given = _given(solved, cotangents, rows, number)
    y_bar, more_args, more_ts, saved = step_adjoint(solved.problem, part, *given, saved=cotangents.saved)
    return Cotangents(saved, y_bar, jax.tree.map(jnp.add, cotangents.args, more_args), cotangents.ts + more_ts)


def _given(
    solved: Solved, cotangents: Cotangents, rows: Float[Array, "rows row"], number: Int[Array, ""]
) -> tuple[Any, Any]:
    _, args, ts, _ = solved.differentiable
    floating, rest = eqx.partition(args, eqx.is_inexact_array)
    return part_of(rows, number, cotangents.y.dtype), (floating, rest, ts, solved.ys_bar, cotangents.y)


def _finish(in_ts: bool, in_t0: bool, solved: Solved, cotangents: Cotangents) -> Any:
    ys_bar, (y0, args, ts, t0), problem = solved
    # What is saved at the very start is the initial value itself.
    at_start = jnp.where((ts == problem.settings["t0"])[:, None], ys_bar, 0)
    y_bar, ts_bar, t0_bar = cotangents.y + jnp.sum(at_start, axis=0), cotangents.ts, None
    if in_t0 or (in_ts and not problem.ends):
        # y(t) as a function of where it starts has the derivative of the flow: dy(t0)/dt0 = -f(t0, y0), dy(t)/dt = f there.
        slope = problem.on_vectors(t0, y0, args).astype(ts.dtype)
        ts_bar = ts_bar + at_start.astype(ts.dtype) @ slope
        t0_bar = -(y_bar.astype(ts.dtype) @ slope)
    return y_bar, cotangents.args, ts_bar, t0_bar if in_t0 else None
