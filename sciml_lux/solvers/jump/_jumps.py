"""The solution of an equation whose state jumps: pieces between jumps, one after the other, in one loop.

The pieces are solved between constant times. How the result depends on the time `tau` of a jump is added to first order, which is exact
for first derivatives: with `y-` at `tau` on the old trajectory and `y+ = jump(tau, y-)` on the new one,

    d y- = d y-|tau + f(tau, y-) d tau,        d y+|tau = d y+ - f(tau, y+) d tau,

and, for an event, `g(tau, y-) = 0` gives `d tau = -dg|tau / (g_t + g_y f)`, with `|tau` for "at constant tau". So whatever
differentiates a plain solve differentiates this one, and neither step sizes nor the interpolation that located an event do.
Hiskens and Pai 2000, Trajectory sensitivity analysis of hybrid systems, IEEE Transactions on Circuits and Systems I 47.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from ...core import is_okay
from .._constant import constant
from .._types import StateTree
from ..differential import RESULTS, SUCCESSFUL, integrate, largest, leading, shifted, with_rate
from ._crossing import Departure, departure, first_crossing

# How far from the solution, in units of the tolerance, a state may be at which a solve is taken up again.
_FAR = 10


class Jumping(NamedTuple):
    """An equation and its jumps, as pytrees that can be called.

    `field(t, y, args)`; `condition(t, y, args)` and `jump(t, y, args)`, or `None`; `dose(t, y, amount, args)`.
    """

    field: Callable[..., Any]
    condition: Callable[..., Any] | None
    jump: Callable[..., Any]
    dose: Callable[..., Any]


class _Progress(NamedTuple):
    """Where a solve is: at the start of a piece. `doses`, `jumps`: how many there were; `jump_times`: of events."""

    t: Any
    y: Any
    leaves: Departure
    doses: Any
    jumps: Any
    done: Any
    result: Any
    stats: Any
    jump_times: Any
    ys: Any


@eqx.filter_jit  # for calls that nothing compiles: the loop would be compiled anew each time
def solve_with_jumps(
    system: Jumping, direction: bool | None, max_jumps: int, y0: StateTree, args: PyTree, ts: Float[Array, " times"],
    doses: tuple[Any, Any], settings: dict[str, Any], adjoint: Any, resumed: Any = None,
) -> diffrax.Solution:  # fmt: skip
    """The solution at the times `ts`, at a jump the value after it, with `num_jumps` and `jump_times` among its `stats`.

    **Arguments:** `y0`, `args`; `ts`: sorted; `doses`: `(times, amounts)`, sorted; `settings`, `adjoint`: as for `integrate`;
    `resumed`: whether `y0` is the state after an event at the start, and how far from the solution it may be.
    """
    t0, t1 = (jnp.asarray(settings[name], ts.dtype) for name in ("t0", "t1"))
    span = constant(jnp.maximum(jnp.maximum(jnp.abs(t0), jnp.abs(t1)), t1 - t0))
    resolution = jnp.asarray(jnp.finfo(ts.dtype).eps ** 0.75, ts.dtype) * span
    pieces = _Pieces(system, direction, settings, adjoint, constant(t1), ts, doses, args, resolution)
    zero = jnp.zeros((), jnp.int32)
    okay = jnp.all(doses[0] >= t0)  # not so of NaN
    start = _Progress(
        t=t0,
        y=y0,
        leaves=pieces.departure(t0, y0, jnp.zeros((), ts.dtype), jnp.zeros((), bool))
        if resumed is None
        else pieces.resumption(t0, y0, *resumed),
        doses=zero,
        jumps=zero,
        done=~okay,
        result=RESULTS.where(okay, SUCCESSFUL, RESULTS.dose_before_start),
        stats={"num_steps": zero, "t_reached": t0, "y_largest": largest(y0, ts.dtype)},
        jump_times=jnp.full(max_jumps, jnp.inf, ts.dtype),
        ys=jax.tree.map(lambda leaf: jnp.zeros((ts.size, *leaf.shape), leaf.dtype), y0),
    )
    number = max_jumps + doses[0].size + 1
    end, _ = lax.scan(lambda progress, _: (pieces.advance(progress), None), start, length=number)
    slopes = jax.vmap(lambda t, y: system.field(t, y, args))(constant(ts), end.ys)
    stats = {**end.stats, "num_jumps": end.jumps, "jump_times": end.jump_times}
    return diffrax.Solution(
        t0=t0, t1=t1, ts=ts, ys=shifted(end.ys, slopes, ts), interpolation=None, stats=stats,
        result=end.result, solver_state=None, controller_state=None, made_jump=None, event_mask=None,
    )  # fmt: skip


class _Pieces(NamedTuple):
    """What is the same for all pieces. `t1`: the end, as a constant."""

    system: Jumping
    direction: bool | None
    settings: dict[str, Any]
    adjoint: Any
    t1: Any
    ts: Any
    doses: Any
    args: Any
    resolution: Any

    def advance(self, at: _Progress) -> _Progress:
        """From the start of one piece to that of the next."""
        t0 = constant(at.t)
        dose_time, amount = self._next_dose(at)
        stop = jnp.where(at.done, t0, jnp.clip(constant(dose_time), t0, self.t1))
        start = shifted(at.y, self._slope(t0, at.y), -at.t)
        occurred, end, located = self._event(at.leaves, t0, stop, start)
        solution = self._solve(t0, end, start)
        saved = jax.tree.map(lambda leaf: leaf[:-1], solution.ys)
        last = jax.tree.map(lambda leaf: leaf[-1], solution.ys)
        result = diffrax.RESULTS.where(diffrax.is_okay(located), solution.result, located)
        overflow = occurred & (at.jumps >= at.jump_times.size)
        jumped = occurred & ~overflow
        dosed = ~occurred & ~at.done & (dose_time <= self.t1)
        t, y, leaves = self._after(end, last, jumped, dosed, dose_time, amount)
        stuck = jumped & ((leaves.side == 0) | self._follows(at, t))
        result = _first_failure(at.result, RESULTS.promote(result))
        for failed, reason in ((overflow, RESULTS.max_jumps_reached), (stuck, RESULTS.jumps_accumulate)):
            result = _first_failure(result, RESULTS.where(failed, reason, SUCCESSFUL))
        # Later pieces write over what earlier ones hold beyond their end.
        mine = ~at.done & (self.ts >= t0)
        times = jnp.where(jumped & (jnp.arange(at.jump_times.size, dtype=at.jumps.dtype) == at.jumps), t, at.jump_times)
        return _Progress(
            t=t,
            y=y,
            leaves=leaves,
            doses=at.doses + dosed.astype(at.doses.dtype),
            jumps=at.jumps + jumped.astype(at.jumps.dtype),
            done=at.done | ~(jumped | dosed) | ~is_okay(result),
            result=result,
            stats=self._stats(at, solution),
            jump_times=times,
            ys=_where(mine, saved, at.ys),
        )

    def departure(
        self, t: Float[Array, ""], y: StateTree, slack: Float[Array, ""], jumped: Bool[Array, ""]
    ) -> Departure:
        """On which side of the surface of the event the state is, after it was there up to `slack` if it `jumped`."""
        if self.system.condition is None:
            return Departure(jnp.zeros((), t.dtype), t)
        t, y, args = constant((t, y, self.args))
        condition, field = self.system.condition, self.system.field
        return departure(condition, self.direction, field, t, y, args, slack, self.resolution, jumped)

    def resumption(
        self, t: Float[Array, ""], y: StateTree, resumed: Bool[Array, ""], tolerance: PyTree[Array]
    ) -> Departure:
        """Where a state leaves to that may be one after an event, if `resumed`; where it may not, the event is about to happen."""
        plain = self.departure(t, y, jnp.zeros((), t.dtype), jnp.zeros((), bool))
        system, condition = self.system, self.system.condition
        if condition is None:
            return plain
        t, y, args = constant((t, y, self.args))
        gradient = jax.grad(lambda y: condition(t, y, args))(y)
        errors = jax.tree.map(lambda slope, error: jnp.sum(jnp.abs(slope) * error), gradient, tolerance)
        slack = _FAR * jnp.sum(jnp.stack(jax.tree.leaves(errors)))
        if self.direction is None:
            # Which of two opposite crossings it was, its value alone can tell.
            slack = jnp.zeros_like(slack)
        jumped = jnp.ones((), bool)
        after = departure(condition, self.direction, system.field, t, y, args, slack, self.resolution, jumped)
        _, rate = with_rate(condition, system.field, t, y, args)
        value, reflected = with_rate(condition, system.field, t, system.jump(t, y, args), args)
        counts = jnp.zeros((), bool) if self.direction is None else (rate > 0) == self.direction
        # An event that turns back what comes to it leaves nothing behind that comes to it still.
        before = counts & (rate * reflected < 0) & (jnp.abs(value) <= slack)
        side = jnp.where(before & (after.side == jnp.sign(rate)), -jnp.sign(rate), after.side)
        return Departure(*(jnp.where(resumed, new, old) for new, old in zip((side, after.until), plain, strict=True)))

    def _slope(self, t: Float[Array, ""], y: StateTree) -> Any:
        return self.system.field(t, y, self.args)

    def _next_dose(self, at: _Progress) -> tuple[Any, Any]:
        times, amounts = self.doses
        if times.size == 0:
            return jnp.asarray(jnp.inf, self.ts.dtype), None
        index = jnp.minimum(at.doses, times.size - 1)
        time = jnp.where(at.doses < times.size, times[index], jnp.inf)
        return time, jax.tree.map(lambda leaf: leaf[index], amounts)

    def _event(
        self, leaves: Departure, t0: Float[Array, ""], stop: Float[Array, ""], y0: StateTree
    ) -> tuple[Any, Any, Any]:
        """Whether an event occurs before `stop`, the end of the piece, and the result of looking for it."""
        if self.system.condition is None:
            return jnp.zeros((), bool), stop, diffrax.RESULTS.successful
        settings = {**self.settings, "t0": t0, "t1": stop}
        y0, args, field, condition = constant((y0, self.args, self.system.field, self.system.condition))
        occurred, t, result = first_crossing(condition, self.direction, leaves, field, y0, args, settings)
        return occurred, constant(jnp.where(occurred, t, stop)), result

    def _solve(self, t0: Float[Array, ""], t1: Float[Array, ""], y0: StateTree) -> diffrax.Solution:
        """The piece from `t0` to `t1`, at the times within it, at `t0` for those before and at `t1` for those after it."""
        settings = {**self.settings, "t0": t0, "t1": t1}
        ts = jnp.append(jnp.clip(constant(self.ts), t0, t1), t1)
        return integrate(self.system.field, y0, self.args, ts, None, settings, self.adjoint, None)

    def _after(
        self,
        end: Float[Array, ""],
        y: StateTree,
        jumped: Bool[Array, ""],
        dosed: Bool[Array, ""],
        dose_time: Float[Array, ""],
        amount: PyTree[Array],
    ) -> tuple[Any, Any, Any]:
        """Time and state at the start of the next piece, from the state at the constant time `end`, and where it leaves to."""
        slope = self._slope(end, y)
        t, slack = jnp.where(dosed, dose_time, end), jnp.zeros((), end.dtype)
        if self.system.condition is not None:
            value, rate = with_rate(self.system.condition, self.system.field, end, y, self.args)
            rate = jnp.where(jumped, rate, 1)
            # A step of Newton's method: what located the event was an interpolation.
            correction = constant(jnp.where(jumped, -value / rate, 0)).astype(end.dtype)
            t = jnp.where(jumped, shifted(end + correction, -1 / rate, value), t)
            y = jax.tree.map(lambda y, slope: y + constant(slope) * correction.astype(slope.dtype), y, slope)
        y = shifted(y, slope, t)
        after = y
        if self.system.condition is not None:
            slack = 4 * jnp.abs(constant(self.system.condition(t, y, self.args)))
            slack = jnp.where(jumped, slack, 0)
            after = _where(jumped, self.system.jump(t, y, self.args), after)
        if amount is not None:
            after = _where(dosed, self.system.dose(t, y, amount, self.args), after)
        return t, after, self.departure(t, after, slack, jumped)

    def _stats(self, at: _Progress, solution: diffrax.Solution) -> dict[str, Any]:
        """The steps of all pieces, and how far they came."""
        steps = at.stats["num_steps"] + jnp.asarray(solution.stats["num_steps"], at.stats["num_steps"].dtype)
        reached = {name: solution.stats.get(name, at.stats[name]) for name in ("t_reached", "y_largest")}
        reached = {name: jnp.where(at.done, at.stats[name], constant(value)) for name, value in reached.items()}
        return {"num_steps": steps, **reached}

    def _follows(self, at: _Progress, t: Float[Array, ""]) -> Any:
        """Whether there is no time between a jump at `t` and the one before."""
        if at.jump_times.size == 0:
            return jnp.zeros((), bool)
        previous = jnp.where(at.jumps > 0, at.jump_times[jnp.maximum(at.jumps - 1, 0)], -jnp.inf)
        return constant(t - previous) <= self.resolution


def _first_failure(result: Any, later: Any) -> Any:
    return RESULTS.where(is_okay(result), later, result)


def _where(mask: Bool[Array, "..."], new: PyTree[Array], old: PyTree[Array]) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(leading(mask, new), new, old), new, old)
