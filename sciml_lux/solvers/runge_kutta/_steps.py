"""The steps of a solve, recorded for a gradient to be computed from them afterwards."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Part(NamedTuple):
    """Some steps in a row: starts, ends and initial values; those that are not `active` have a length of 0."""

    t0: Float[Array, " chunk"]
    t1: Float[Array, " chunk"]
    y0: Float[Array, "chunk state"]
    active: Bool[Array, " chunk"]


class Steps(NamedTuple):
    """Row `i` is `(t_i, y_i)`, and step `i` of `number` leads from there to row `i + 1`; where a lane took none, it has no length."""

    rows: Float[Array, "rows *lanes 1+state"]
    number: Int[Array, ""]


def part_of(rows: Float[Array, "rows row"], number: Int[Array, ""], dtype: np.dtype[Any]) -> Part:
    """The steps between these rows, of which the first `number` are active."""
    active = jnp.arange(len(rows) - 1, dtype=number.dtype) < number
    # Idle steps stand still where the last active one ends, in a state that was met.
    t0 = jnp.where(active, rows[:-1, 0], rows[number, 0])
    y0 = jnp.where(active[:, None], rows[:-1, 1:], rows[:1, 1:])
    return Part(t0, jnp.where(active, rows[1:, 0], t0), y0.astype(dtype), active)
