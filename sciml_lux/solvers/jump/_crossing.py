"""The first time at which a function of time and state changes sign along a solution."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .._types import StateTree
from ..differential import Bracket, off_jumps, step_onto, with_rate


class Departure(NamedTuple):
    """On which side of 0 a condition is right after a time: 1, -1, or 0 for a state that stays where it is 0.

    `until`: the time up to which its value need not show that.
    """

    side: Any
    until: Any


def departure(
    condition: Callable[..., Any],
    direction: bool | None,
    field: Callable[..., Any],
    t: Float[Array, ""],
    y: StateTree,
    args: PyTree,
    slack: Float[Array, ""],
    resolution: Float[Array, ""],
    jumped: Bool[Array, ""],
) -> Departure:
    """The side to which a condition leaves at `t`.

    After a jump it is 0 up to `slack`: there the sign of its rate of change decides, as it does where 0 is so near that time does not
    resolve it. Elsewhere its own sign does, if crossings in one `direction` count: a state that starts close to the surface and moves
    towards it has the crossing before it, and one that starts on it and moves in the direction that counts crosses at once. If both
    count, a state that starts as close as rounding leaves the surface, as it does where a solve goes on after a jump.
    """
    value, rate = with_rate(condition, field, t, y, args)
    near = jnp.abs(value) <= jnp.abs(rate) * resolution.astype(value.dtype) + slack
    until = t + 2 * jnp.where(near, jnp.abs(value) / jnp.where(rate == 0, 1, jnp.abs(rate)), 0).astype(t.dtype)
    leaves = Departure(jnp.where(near, jnp.sign(rate), jnp.sign(value)), until)
    if direction is None:
        return leaves
    counts = jnp.asarray(1 if direction else -1, value.dtype)
    on_surface = jnp.where(jnp.sign(rate) == counts, -counts, jnp.sign(rate))
    starts = Departure(jnp.where(value == 0, on_surface, jnp.sign(value)), t)
    return jax.tree.map(lambda after, start: jnp.where(jumped, after, start), leaves, starts)


def first_crossing(
    condition: Callable[..., Any],
    direction: bool | None,
    start: Departure,
    field: Callable[..., Any],
    y0: StateTree,
    args: PyTree,
    settings: dict[str, Any],
) -> tuple[Bool[Array, ""], Float[Array, ""], Any]:
    """Whether and when the condition changes sign in `direction` between `settings["t0"]` and `settings["t1"]`, and the result.

    **Arguments:** `condition`: `condition(t, y, args)`, a scalar; `direction`: `True` upwards, `False` downwards, `None` both;
    `start`; the others as for `integrate`. Nothing here is differentiated.
    """
    # Any crossing that counts goes upwards: of -g for a downward one, of the g that starts out negative if both count.
    sign = jnp.ones_like(start.side) if direction else -jnp.ones_like(start.side) if direction is False else -start.side
    field = off_jumps(field, settings)
    args, settings = step_onto(args, settings)
    # diffrax joins the value of an event with Python's 0.0 and with times, whatever its dtype.
    with jax.numpy_dtype_promotion("standard"):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            y0=y0,
            args=args,
            saveat=diffrax.SaveAt(t1=True),
            adjoint=diffrax.ForwardMode(),
            event=diffrax.Event(_Upward(condition, start.until, sign, sign * start.side), Bracket(), direction=True),
            throw=False,
            **settings,
        )
    ts: Any = solution.ts
    return solution.result == diffrax.RESULTS.event_occurred, ts[0], solution.result


class _Upward(eqx.Module):
    """The condition with its sign turned, and at the start on the side to which it leaves, which its value there need not show."""

    condition: Callable[..., Any]
    until: Any
    sign: Any
    at_start: Any

    def __call__(self, t: Float[Array, ""], y: StateTree, args: PyTree, **kwargs: Any) -> Any:
        value = jnp.where(t <= self.until, self.at_start, self.sign * self.condition(t, y, args))
        return value.astype(jnp.result_type(float))
