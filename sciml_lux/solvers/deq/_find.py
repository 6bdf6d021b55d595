"""From a start to a fixed point: one run of an optimistix solver, through which nothing is differentiated."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox.internal as eqxi
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Int, PyTree

from ...core import differentiation_mode, number_of
from .._types import Truth
from ..fixed_point import LARGEST_ERROR, NEARER, gathered, no_evidence, offset_of
from ._cell import Cell
from ._rows import row_norms

_CODES = {
    name: int(number_of(getattr(optx.RESULTS, name)))
    for name in ("successful", "nonfinite", "nonlinear_max_steps_reached", "nonlinear_divergence")
}


class Found(NamedTuple):
    """Where a solver came to, for each sample.

    `z`: the best iterates, `(samples, size)`; `error`: the estimated distance to the equilibrium, in the units of
    `residual`; `code`: numbers of items of `optimistix.RESULTS`; `trace`: residuals of every step, if the solver
    keeps them; `memory`: what it learned of the Jacobian, for a gradient that uses it again.
    """

    z: Array
    residual: Array
    error: Array
    num_steps: Array
    converged: Array
    code: Array
    trace: Any = None
    memory: Any = None


class NoDerivative(optx.AbstractAdjoint):
    """A solve that is not differentiated: what is differentiated is the equation that its result satisfies."""

    def apply(
        self, primal_fn: Callable[..., Any], rewrite_fn: Callable[..., Any], inputs: PyTree, tags: frozenset[object]
    ) -> Any:
        del rewrite_fn, tags
        return primal_fn((*inputs, functools.partial(eqxi.while_loop, kind="lax")))


def find_equilibrium(
    solver: Any, cell: Cell, z0: Array, inputs: PyTree, max_steps: int, trusted: Truth = False
) -> Found:
    """The fixed point that a solver of optimistix reaches from `z0`, a matrix of samples.

    Solvers of this package know of each sample whether it converged. Of others, which know only of all, the residuals are
    evaluated once more. `trusted`: the samples whose start converged before.
    """
    ours = hasattr(solver, "batched")
    with differentiation_mode(
        "forward"
    ):  # what a solver needs of a Jacobian; what it finds is differentiated elsewhere
        solution = optx.fixed_point(
            cell,
            by_sample(solver),
            z0,
            inputs,
            options={"trusted": trusted} if ours else None,
            max_steps=max_steps,
            adjoint=NoDerivative(),
            throw=False,
        )
    stats, z = solution.stats, solution.value
    samples = z.shape[0]
    if ours:
        residual, error, converged = stats["residual"], stats["error"], stats["converged"]
        within = residual <= solver.atol + solver.rtol * row_norms(z)
    else:
        new = cell(z, inputs)
        residual = row_norms(new - z)
        within = jnp.full((samples,), solution.result == optx.RESULTS.successful) & jnp.isfinite(residual)
        allowed = jnp.maximum(solver.atol + solver.rtol * row_norms(new), residual)
        rests, error = evidence_of_rest(cell, z, new, inputs, allowed, solver.atol)
        converged = within & rests
    num_steps = jnp.broadcast_to(jnp.asarray(stats["num_steps"], jnp.int32), (samples,))
    code = jnp.broadcast_to(number_of(solution.result), (samples,))
    code = codes_of_samples(code, residual, converged, within)
    return Found(z, residual, error, num_steps, converged, code, stats.get("residuals"), solution.state)


def evidence_of_rest(
    cell: Cell, z: Array, new: Array, inputs: PyTree, allowed: Array, atol: float
) -> tuple[Array, Array]:
    """Whether a small residual at `z`, with `new` the image of `z`, is that of a point of rest, by two applications more; and the
    estimated distance to it."""
    nearer = cell(NEARER * z, inputs) - NEARER * z
    residual, after = new - z, cell(new, inputs) - new
    size, here = row_norms(residual), jnp.zeros((), jnp.int32)
    offset = offset_of(z, residual, nearer)
    start = gathered(no_evidence(z), z, residual, offset, residual, residual, jnp.isfinite(size), here)
    moved = gathered(start, new, after, offset, residual, after - residual, jnp.isfinite(row_norms(after)), here + 1)
    error = jnp.where(size > 0, moved.error * size, size)
    rounding = size <= 100 * float(jnp.finfo(size.dtype).eps) * row_norms(new)
    # An error along `z` is no larger than others may be.
    scale, pull = row_norms(new), LARGEST_ERROR * row_norms(offset - residual)
    justified = jnp.where(jnp.isfinite(pull) & (pull < scale), allowed * pull / jnp.where(scale > 0, scale, 1), allowed)
    near = moved.changed & (error <= LARGEST_ERROR * allowed) & (size <= jnp.maximum(justified, atol))
    return start.rounding | rounding | near, error


def judge_at(
    tolerances: tuple[float, float], cell: Cell, z: Array, inputs: PyTree, num_steps: Int[Array, ""] | int
) -> Found:
    """What a solver with the tolerances `(rtol, atol)` would say of `z`, which it did not find."""
    rtol, atol = tolerances
    new = cell(z, inputs)
    residual = row_norms(new - z)
    allowed = atol + rtol * row_norms(new)
    rests, error = evidence_of_rest(cell, z, new, inputs, allowed, atol)
    within = residual <= allowed
    converged = within & rests
    code = codes_of_samples(jnp.zeros(z.shape[:1], jnp.int32), residual, converged, within)
    return Found(z, residual, error, jnp.broadcast_to(jnp.asarray(num_steps, jnp.int32), z.shape[:1]), converged, code)


def codes_of_samples(code: Array, residual: Array, converged: Array, within: Array) -> Array:
    """How each sample ended, given how all of them did and which have a residual `within` the tolerances."""
    # The solver may have ended because of another sample.
    general = (code == _CODES["successful"]) | (code == _CODES["nonfinite"])
    unfinished = jnp.where(general, jnp.int32(_CODES["nonlinear_max_steps_reached"]), code)
    unfinished = jnp.where(within, jnp.int32(_CODES["nonlinear_divergence"]), unfinished)
    unfinished = jnp.where(jnp.isfinite(residual), unfinished, jnp.int32(_CODES["nonfinite"]))
    return jnp.where(converged, jnp.int32(_CODES["successful"]), unfinished)


def by_sample(solver: Any) -> Any:
    """The solver told that the leading axis is the sample, if it can be told."""
    return dataclasses.replace(solver, batched=True) if hasattr(solver, "batched") else solver
