"""An explicit Runge-Kutta solve without derivatives, and the steps that it took."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...kernels import with_batching_rule
from ._march import Marched, march
from ._problem import InitialValueProblem, Lanes
from ._steps import Steps
from ._tableau import tableau_of


def solve(problem: InitialValueProblem, *, records: bool) -> tuple[diffrax.Solution, Steps | None]:
    """The solution at the times `problem.ts`, or at the end alone, whether it succeeded or not; and the steps, if asked for."""
    dynamic, static = eqx.partition(problem, eqx.is_array)
    leaves, structure = jax.tree.flatten(dynamic)
    tableau = tableau_of(problem.solver)
    max_steps, saves = problem.settings["max_steps"], problem.ts is not None

    def build(leaves: list[Array]) -> InitialValueProblem:
        return eqx.combine(jax.tree.unflatten(structure, leaves), static)

    def run(lanes: Lanes) -> Marched:
        return march(lanes, tableau, max_steps=max_steps, saves=saves, records=records)

    def single(*leaves: Array) -> Any:
        return run(Lanes(build, list(leaves), None, 1))

    def batched(axis_size: int, is_mapped: list[bool], *leaves: Array) -> tuple[Any, Any]:
        marched = run(Lanes(build, list(leaves), [0 if mapped else None for mapped in is_mapped], axis_size))
        if marched.rows is not None:
            marched = marched._replace(rows=jnp.moveaxis(marched.rows, 1, 0))
        # All lanes have the same number of steps, of which some are of no length.
        return marched, jax.tree.map(lambda _: True, marched)._replace(number=False)

    marched = with_batching_rule(single, batched)(*leaves)
    return _solution(problem, marched), Steps(marched.rows, marched.number) if records else None


def _solution(problem: InitialValueProblem, marched: Marched) -> diffrax.Solution:
    """The same, as diffrax returns it, with what the solve reached in the end."""
    progress, saved = marched.progress, marched.saved
    if saved is None:
        ts, ys = progress.t[None], progress.y[None]
    else:
        reached = jnp.arange(problem.ts.size, dtype=saved.number.dtype) < saved.number
        ts, ys = jnp.where(reached, problem.ts, problem.direction * jnp.inf), saved.ys
    stats = {
        "num_steps": progress.tried,
        "num_accepted_steps": progress.taken,
        "num_rejected_steps": progress.tried - progress.taken,
        "max_steps": problem.settings["max_steps"],
        "t_reached": progress.t,
        "y_largest": jnp.max(jnp.abs(progress.y)).astype(progress.t.dtype),
    }
    return diffrax.Solution(
        t0=problem.settings["t0"],
        t1=problem.settings["t1"],
        ts=ts,
        ys=ys,
        interpolation=None,
        stats=stats,
        result=progress.result,
        solver_state=None,
        controller_state=None,
        made_jump=None,
        event_mask=None,
    )
