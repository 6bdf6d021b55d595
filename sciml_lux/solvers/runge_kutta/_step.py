"""The adjoint of one recorded step, for states that are too large for Jacobians: the step is computed again and pulled back."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from ._problem import RecordedProblem
from ._stages import stages, weighted
from ._steps import Part
from ._tableau import tableau_of


def step_adjoint(
    problem: RecordedProblem,
    part: Part,
    floating: PyTree[Array],
    rest: PyTree,
    ts: Float[Array, " times"],
    ys_bar: Float[Array, "times state"],
    y_bar: Float[Array, " state"],
    saved: Int[Array, ""],
) -> tuple[Any, Any, Any, Any]:
    """The cotangents of the initial value of a step, of `args` and of `ts`, from that of its result; and the saved value to go on from.

    **Arguments:** `problem`; `part`: one step; `floating`, `rest`: `args`, parted; `ts`, `ys_bar`: the times saved at, and the
    cotangents of what was saved; `y_bar`: that of the result; `saved`: the last of `ts` that has not been pulled back yet.
    """
    solver = problem.settings["solver"]
    y0, t0, t1 = part.y0[0], part.t0[0], part.t1[0]
    (y1, k), pull = jax.vjp(lambda y0, floating: _step(problem, t0, t1, y0, floating, rest), y0, floating)
    direction = jnp.sign(t1 - t0)

    def evaluate(
        t: Float[Array, ""], y0: Float[Array, " state"], y1: Float[Array, " state"], k: Float[Array, "stages state"]
    ) -> Any:
        return solver.interpolation_cls(t0=t0, t1=t1, y0=y0, y1=y1, k=k).evaluate(t)

    def within(carry: tuple[Array, Array, tuple[Array, ...]]) -> Any:
        return (carry[0] >= 0) & (direction * ts[carry[0]] > direction * t0)

    def one(carry: tuple[Array, Array, tuple[Array, ...]]) -> Any:
        i, ts_bar, bars = carry
        _, pull_saved = jax.vjp(evaluate, ts[i], y0, y1, k)
        t_bar, *more = pull_saved(ys_bar[i])
        return i - 1, ts_bar.at[i].add(t_bar), tuple(map(jnp.add, bars, more))

    none = (jnp.zeros_like(y0), y_bar, jnp.zeros_like(k))
    saved, ts_bar, (y0_bar, y1_bar, k_bar) = lax.while_loop(within, one, (saved, jnp.zeros_like(ts), none))
    more, args_bar = pull((y1_bar, k_bar))
    return y0_bar + more, args_bar, ts_bar, saved


def _step(
    problem: RecordedProblem,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    y0: Float[Array, " state"],
    floating: PyTree[Array],
    rest: PyTree,
) -> tuple[Any, Any]:
    """The result of a step, and its stages."""
    tableau = tableau_of(problem.settings["solver"])
    k, _ = stages(lambda t, y: problem.derivative(t, y, floating, rest), tableau, t0, t1, y0)
    return y0 + weighted(tableau.b, k), k
