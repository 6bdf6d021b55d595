"""The way back through the steps of a reversible solve: each is undone, and its adjoint is taken on the way."""

import functools
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._failure import Outcome, guard
from ..runge_kutta import tableau_of, weighted
from ._coupled import CoupledSolver, Interpolation, norm

DRIFTED = (
    "ReversibleAdjoint: the states that were reconstructed on the way back have drifted from those of the solve by more than half of "
    "their digits, so that the gradient would be wrong. Damped equations and very long solves do that: try float64, a coupling closer "
    "to 1, or adjoint=diffrax.RecursiveCheckpointAdjoint()"
)


class Solve(NamedTuple):
    """What a solution is differentiated with respect to. `ts`: the times of each `diffrax.SubSaveAt`, or `None`."""

    y0: Any
    args: Any
    terms: Any
    ts: list[Any]
    t1: Any

    def saving(self, saveat: diffrax.SaveAt) -> Any:
        """`saveat` at these times."""
        return eqx.tree_at(lambda s: [sub.ts for sub in subs_of(s)], saveat, self.ts, is_leaf=lambda node: node is None)


class Problem(eqx.Module):
    """The settings of a solve."""

    solver: CoupledSolver
    saveat: diffrax.SaveAt
    controller: diffrax.AbstractStepSizeController[Any, Any]
    t0: Any
    throw: bool


class Recorded(NamedTuple):
    """What is kept of a solve: the times between its `number` steps, a probe of `y` at the end of each, and where it ended.

    `indices`: for each `diffrax.SubSaveAt` the number of rows that were saved, and of those at its `ts`.
    """

    t: Float[Array, " steps+1"]
    probes: Float[Array, " steps"]
    number: Any
    y: Float[Array, " state"]
    z: Float[Array, " state"]
    indices: list[tuple[Any, Any]]


def subs_of(saveat: diffrax.SaveAt) -> list[Any]:
    return jax.tree.leaves(saveat.subs, is_leaf=lambda node: isinstance(node, diffrax.SubSaveAt))


def probe(y: Float[Array, " state"]) -> Float[Array, ""]:
    """One number that tells two states apart: a sum with weights that are as good as random, of size 1."""
    return jnp.sum(
        y * (jnp.sqrt(jnp.asarray(2, y.dtype)) * jnp.sin(12.9898 * jnp.arange(1, y.size + 1, dtype=y.dtype)))
    )


def pull_back_steps(problem: Problem, recorded: Recorded, ys_bar: list[Any], solve: Solve, perturbed: Solve) -> Solve:
    """The cotangents of `solve`, from those of what each `diffrax.SubSaveAt` saved."""
    weights, fixed = eqx.partition((solve.args, solve.terms), (perturbed.args, perturbed.terms))
    way = _BackwardPass(problem, recorded, ys_bar, solve, fixed)
    carry = way.start(weights, perturbed.t1)
    carry = lax.while_loop(lambda carry: carry.left > 0, lambda carry: way.half_step(carry, weights), carry)
    carry = way.finish(carry, weights)
    # Without cotangents there was no way back, and from a failed solve there is none.
    okay = (carry.drift <= jnp.sqrt(jnp.finfo(carry.v.dtype).eps) * carry.scale) | ~way.asked()
    bars = (problem.solver.shape.tree(carry.v_bar), *carry.weights_bar, carry.ts_bar, carry.t1_bar)
    return Solve(*guard(bars, Outcome(okay, 0, problem.t0, carry.scale), lambda _: DRIFTED, problem.throw))


class _Carry(NamedTuple):
    """Between half steps, of which `left` remain: first the one that made `w` from `v`; `_bar` are the cotangents.

    `drift`: the largest distance from the solution found so far; `scale`: the largest size of the solution.
    """

    left: Any
    v: Any
    w: Any
    v_bar: Any
    w_bar: Any
    weights_bar: Any
    indices: list[tuple[Any, Any]]
    ts_bar: list[Any]
    t1_bar: Any
    drift: Any
    scale: Any


class _BackwardPass(NamedTuple):
    """One solve on the way back."""

    problem: Problem
    recorded: Recorded
    ys_bar: list[Any]
    solve: Solve
    fixed: Any

    def asked(self) -> Any:
        """Whether there is any cotangent at all."""
        return functools.reduce(
            jnp.logical_or, [jnp.any(bar != 0) for bar in jax.tree.leaves(self.ys_bar)], jnp.asarray(False)
        )

    def start(self, weights: PyTree[Array], with_t1: bool) -> _Carry:
        """At the end of the solve."""
        recorded, number = self.recorded, self.recorded.number
        y_bar = jnp.zeros_like(recorded.y)
        weights_bar = jax.tree.map(jnp.zeros_like, weights)
        t1_bar = jnp.zeros_like(self.solve.t1)
        indices = []
        for sub, ys_bar, (row, index) in zip(subs_of(self.problem.saveat), self.ys_bar, recorded.indices, strict=True):
            # Values that a failed solve never reached: cotangents that are NaN make all gradients so.
            for bar in jax.tree.leaves(ys_bar):
                missed = jnp.where(_along(jnp.arange(len(bar)) >= row, bar), bar, 0)
                y_bar = y_bar + 0 * jnp.sum(missed).astype(y_bar.dtype)
            if sub.t1 and sub.steps != 1:
                row = row - 1
                saved = jnp.asarray(True) if sub.steps == 0 else number % sub.steps != 0
                bar = jax.tree.map(lambda bar, row=row, saved=saved: jnp.where(saved, bar[row], 0), ys_bar)
                t_bar, more, more_weights = self.pull_saved(sub, recorded.t[number], recorded.y, bar, weights)
                y_bar = y_bar + more
                weights_bar = _added(weights_bar, more_weights)
                if with_t1:
                    t1_bar = (
                        t1_bar + t_bar + jnp.vdot(more, self.slope(recorded.t[number], weights)).astype(t_bar.dtype)
                    )
            indices.append((row, index))
        zero = 0 * jnp.sum(y_bar)
        return _Carry(
            left=jnp.where(self.asked(), 2 * number, 0),
            v=recorded.y,
            w=recorded.z,
            v_bar=y_bar,
            w_bar=jnp.zeros_like(y_bar),
            weights_bar=jax.tree.map(lambda bar: bar + zero.astype(bar.dtype), weights_bar),
            indices=indices,
            ts_bar=[None if ts is None else jnp.zeros_like(ts) for ts in self.solve.ts],
            t1_bar=t1_bar,
            drift=jnp.zeros((), y_bar.dtype),
            scale=norm(recorded.y),
        )

    def half_step(self, carry: _Carry, weights: PyTree[Array]) -> _Carry:
        """Undoes one half of a step.

        A step makes `y` from `z`, then `z` from `y`; both are `w1 = w + (1 - mix) (v - w) + sign Psi(v)`.
        """
        solver, dtype = self.problem.solver, carry.v.dtype
        of_y, number = carry.left % 2 == 1, (carry.left + 1) // 2
        start, end = self.recorded.t[number - 1], self.end(number)
        mix = jnp.where(of_y, solver.mix(start, end, dtype), 1)
        sign = jnp.where(of_y, 1, -1).astype(dtype)
        interpolated = any(sub.ts is not None for sub in subs_of(self.problem.saveat))
        method = tableau_of(solver.solver)
        method = method if interpolated else method.advancing()

        def increment(v: Float[Array, " state"], weights: PyTree[Array]) -> Any:
            args, terms = eqx.combine(weights, self.fixed)
            k = solver.stages(method, terms, jnp.where(of_y, start, end), jnp.where(of_y, end, start), v, args)
            return (weighted(method.b, k), k) if interpolated else weighted(method.b, k)

        value, pull = jax.vjp(increment, carry.v, weights)
        psi, k = value if interpolated else (value, None)
        mixed = carry.w - sign * psi
        w0 = mixed + (1 - mix) / mix * (mixed - carry.v)
        carry = self.saved_at_steps(carry, ~of_y, number, weights)
        carry, w0_bar, k_bar = self.saved_inside(carry, of_y, (start, end, w0, carry.w, k), weights)
        bar = sign * carry.w_bar
        v_bar, more_weights = pull((bar, k_bar) if interpolated else bar)
        # The solution before the step, unless this was the half of z.
        lost = jnp.where(of_y & (number > 1), jnp.abs(probe(w0) - self.recorded.probes[number - 2]), 0)
        return carry._replace(
            left=carry.left - 1,
            v=w0,
            w=carry.v,
            v_bar=mix * carry.w_bar + w0_bar,
            w_bar=carry.v_bar + (1 - mix) * carry.w_bar + v_bar,
            weights_bar=_added(carry.weights_bar, more_weights),
            drift=jnp.maximum(carry.drift, lost),
            scale=jnp.maximum(carry.scale, norm(w0)),
        )

    def finish(self, carry: _Carry, weights: PyTree[Array]) -> _Carry:
        """At the start of the solve, where both solutions are the initial value."""
        y0 = self.problem.solver.shape.vector(self.solve.y0)
        y_bar, weights_bar = carry.v_bar + carry.w_bar, carry.weights_bar
        for sub, ys_bar, (row, _) in zip(subs_of(self.problem.saveat), self.ys_bar, carry.indices, strict=True):
            if sub.t0 or sub.ts is not None:
                # What remains was saved at the start; if the span is empty, all of it.
                bar = jax.tree.map(
                    lambda bar, row=row: jnp.sum(jnp.where(_along(jnp.arange(len(bar)) < row, bar), bar, 0), axis=0),
                    ys_bar,
                )
                _, more, more_weights = self.pull_saved(sub, self.problem.t0, y0, bar, weights)
                y_bar, weights_bar = y_bar + more, _added(weights_bar, more_weights)
        drift = jnp.maximum(carry.drift, jnp.maximum(norm(carry.v - y0), norm(carry.w - y0)))
        scale = jnp.maximum(carry.scale, norm(y0))
        return carry._replace(v_bar=y_bar, weights_bar=weights_bar, drift=drift, scale=scale)

    def saved_at_steps(
        self, carry: _Carry, at_end: Bool[Array, ""], number: Int[Array, ""], weights: PyTree[Array]
    ) -> _Carry:
        """Adds the cotangents of what was saved at the end of this step."""
        indices, v_bar, weights_bar = [], carry.v_bar, carry.weights_bar
        for sub, ys_bar, (row, index) in zip(subs_of(self.problem.saveat), self.ys_bar, carry.indices, strict=True):
            if sub.steps:
                saved = at_end & (number % sub.steps == 0)
                row = row - saved.astype(jnp.result_type(row))
                bar = jax.tree.map(lambda bar, row=row, saved=saved: jnp.where(saved, bar[row], 0), ys_bar)
                _, more, more_weights = self.pull_saved(sub, self.recorded.t[number], carry.v, bar, weights)
                v_bar, weights_bar = v_bar + more, _added(weights_bar, more_weights)
            indices.append((row, index))
        return carry._replace(indices=indices, v_bar=v_bar, weights_bar=weights_bar)

    def saved_inside(
        self, carry: _Carry, of_y: Bool[Array, ""], step: tuple[Any, ...], weights: PyTree[Array]
    ) -> tuple[_Carry, Any, Any]:
        """Adds the cotangents of what was saved by interpolation; those of the start of the step and of its stages as well."""
        _, _, y0, _, k = step
        bars = (jnp.zeros_like(y0), None if k is None else jnp.zeros_like(k))
        for j, sub in enumerate(subs_of(self.problem.saveat)):
            if sub.ts is not None:
                carry, bars = self.saved_at_times(j, carry, bars, of_y, step, weights)
        y0_bar, k_bar = bars
        return carry, y0_bar, k_bar

    def saved_at_times(
        self,
        j: int,
        carry: _Carry,
        bars: tuple[Any, Any],
        of_y: Bool[Array, ""],
        step: tuple[Any, ...],
        weights: PyTree[Array],
    ) -> tuple[_Carry, Any]:
        """Adds the cotangents of what the `j`-th `diffrax.SubSaveAt` saved within this step, the last time first."""
        start, end, *values = step
        ts, ys_bar, sub = self.solve.ts[j], self.ys_bar[j], subs_of(self.problem.saveat)[j]
        is_first, solver = carry.left == 1, self.problem.solver

        def inside(state: tuple[Any, ...]) -> Any:
            (_, index), *_ = state
            return of_y & (index > 0) & ((ts[index - 1] > start) | is_first)

        def pull(state: tuple[Any, ...]) -> Any:
            (row, index), bars, weights_bar, ts_bar = state
            row, index = row - 1, index - 1

            def value(
                t: Float[Array, ""],
                y0: Float[Array, " state"],
                y1: Float[Array, " state"],
                k: Float[Array, "stages state"],
            ) -> Any:
                return Interpolation(start, end, y0, y1, k, solver.solver, solver.shape).vector(t)

            y, pull_y = jax.vjp(value, ts[index], *values)
            bar = jax.tree.map(lambda bar: bar[row], ys_bar)
            t_bar, y_bar, more_weights = self.pull_saved(sub, ts[index], y, bar, weights)
            more_t, *more = pull_y(y_bar)
            return (
                (row, index),
                jax.tree.map(jnp.add, bars, more),
                _added(weights_bar, more_weights),
                ts_bar.at[index].add(t_bar + more_t),
            )

        y0_bar, k_bar = bars
        state = (carry.indices[j], [y0_bar, carry.w_bar, k_bar], carry.weights_bar, carry.ts_bar[j])
        indices, (y0_bar, w_bar, k_bar), weights_bar, ts_bar = lax.while_loop(inside, pull, state)
        carry = carry._replace(
            indices=[*carry.indices[:j], indices, *carry.indices[j + 1 :]],
            w_bar=w_bar,
            weights_bar=weights_bar,
            ts_bar=[*carry.ts_bar[:j], ts_bar, *carry.ts_bar[j + 1 :]],
        )
        return carry, (y0_bar, k_bar)

    def pull_saved(
        self,
        sub: diffrax.SubSaveAt,
        t: Float[Array, ""],
        y: Float[Array, " state"],
        bar: PyTree[Array],
        weights: PyTree[Array],
    ) -> tuple[Any, Any, Any]:
        """The cotangents of `t`, `y` and the weights, `None` for zeros, from that of `fn(t, y, args)`."""
        shape = self.problem.solver.shape
        t = jnp.asarray(t)
        if sub.fn is SAVE_Y:
            return jnp.zeros_like(t), shape.vector(bar), None

        def value(t: Float[Array, ""], y: Float[Array, " state"], weights: PyTree[Array]) -> Any:
            args, _ = eqx.combine(weights, self.fixed)
            return eqx.filter(sub.fn(t, shape.tree(y), args), eqx.is_inexact_array)

        return jax.vjp(value, t, y, weights)[1](bar)

    def slope(self, t: Float[Array, ""], weights: PyTree[Array]) -> Any:
        """The time derivative of the solution at its end."""
        args, terms = eqx.combine(weights, self.fixed)
        return self.problem.solver.slope(terms, t, self.recorded.y, args)

    def end(self, number: Int[Array, ""]) -> Any:
        """Where a step ended. What was recorded is where the next one began: past a discontinuity, by a rounding or two."""
        end = self.recorded.t[number]
        controller: Any = self.problem.controller
        while isinstance(controller, diffrax.ClipStepSizeController):
            if controller.jump_ts is not None:
                jumps = controller.jump_ts.astype(end.dtype)
                before = eqx.internal.prevbefore(end)
                past = jnp.any(before == jumps)
                end = jnp.where(past, eqx.internal.prevbefore(before), jnp.where(jnp.any(end == jumps), before, end))
            controller = controller.controller
        return end


SAVE_Y = diffrax.SubSaveAt(t1=True).fn


def _along(mask: Bool[Array, " rows"], array: Array) -> Any:
    """A mask of rows, ready to be broadcast."""
    return mask.reshape(mask.shape + (1,) * (array.ndim - 1))


def _added(bars: PyTree[Array], more: PyTree[Array]) -> Any:
    return bars if more is None else jax.tree.map(jnp.add, bars, more)
