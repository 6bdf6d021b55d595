"""Values between the steps of a solve: at many times at once, for one lane."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ._problem import InitialValueProblem

# Times in a batch. A chunk of steps passes few of very many, but to pick them out costs as much as to interpolate some.
WINDOW = 256


class Saved(NamedTuple):
    """The values at the first `number` times; infinite at the others."""

    ys: Any
    number: Any


def nothing_saved(problem: InitialValueProblem) -> Saved:
    """What is known before the first step: the values at the start, and where there is no span, all."""
    at_once = problem.ts * problem.direction <= problem.start
    ys = jnp.where(at_once[:, None], problem.y0[None], jnp.inf)
    return Saved(ys, jnp.sum(at_once, dtype=jnp.int32))


def save(
    problem: InitialValueProblem,
    saved: Saved,
    t: Float[Array, ""],
    frames: Float[Array, "steps frame"],
    k: Float[Array, "steps stages state"],
    number: Int[Array, ""],
) -> Saved:
    """The values up to `t`, within the last `number` steps: their `frames` (start, end, value at both), and stages `k`."""
    ts = problem.ts * problem.direction
    ends = jnp.where(jnp.arange(len(frames), dtype=number.dtype) < number, frames[:, 1], jnp.inf)

    def evaluate(t: Float[Array, ""]) -> Any:
        step = jnp.searchsorted(ends, t)
        frame = frames[step]
        y0, y1 = jnp.split(frame[2:].astype(k.dtype), 2)
        # What lies in no step is not kept, and need only be finite.
        t0, t1 = frame[0], jnp.where(frame[1] > frame[0], frame[1], frame[0] + 1)
        return problem.solver.interpolation_cls(t0=t0, t1=t1, y0=y0, y1=y1, k=k[step]).evaluate(t)

    def values(
        known: Int[Array, ""],
        first: Int[Array, ""] | int,
        some: Float[Array, " window"],
        ys: Float[Array, "window state"],
    ) -> tuple[Any, Any]:
        """The window `ys` of values at `some` times, the first of which has the index `first`; and how many are new."""
        new = first + jnp.arange(len(some), dtype=number.dtype) >= known
        fits = new & (some <= t)
        return jnp.where(fits[:, None], jax.vmap(evaluate)(some), ys), jnp.sum(fits, dtype=jnp.int32)

    if ts.size <= WINDOW:
        ys, more = values(saved.number, 0, ts, saved.ys)
        return Saved(ys, saved.number + more)

    def is_left(saved: Saved) -> Any:
        return (saved.number < ts.size) & (ts[jnp.minimum(saved.number, ts.size - 1)] <= t)

    def save_some(saved: Saved) -> Saved:
        first = jnp.minimum(saved.number, ts.size - WINDOW)
        some, ys = (lax.dynamic_slice_in_dim(rows, first, WINDOW) for rows in (ts, saved.ys))
        # The last window reaches back over values that an earlier one has saved.
        ys, more = values(saved.number, first, some, ys)
        return Saved(lax.dynamic_update_slice_in_dim(saved.ys, ys, first, 0), saved.number + more)

    return lax.while_loop(is_left, save_some, saved)
