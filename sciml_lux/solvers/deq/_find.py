"""From a start to a fixed point: one run of an optimistix solver, through which nothing is differentiated."""

import dataclasses
import functools
from typing import Any, NamedTuple

import equinox.internal as eqxi
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array

from ...core import differentiation_mode
from ._cell import Cell
from ._rows import row_norms

_CODES = {
    name: int(getattr(optx.RESULTS, name)._value) for name in ("successful", "nonfinite", "nonlinear_max_steps_reached")
}


class Found(NamedTuple):
    """Where a solver came to, for each sample.

    `z`: the best iterates, `(samples, size)`; `code`: numbers of items of `optimistix.RESULTS`; `trace`: residuals of every step, if the
    solver keeps them; `memory`: what it learned of the Jacobian, for a gradient that uses it again.
    """

    z: Array
    residual: Array
    num_steps: Array
    converged: Array
    code: Array
    trace: Any = None
    memory: Any = None


class Detached(optx.AbstractAdjoint):
    """A solve that is not differentiated: what is differentiated is the equation that its result satisfies."""

    def apply(self, primal_fn: Any, rewrite_fn: Any, inputs: Any, tags: Any) -> Any:
        del rewrite_fn, tags
        return primal_fn((*inputs, functools.partial(eqxi.while_loop, kind="lax")))


def find(solver: Any, cell: Cell, z0: Array, inputs: Any, max_steps: int) -> Found:
    """The fixed point that a solver of optimistix reaches from `z0`, a matrix of samples.

    Solvers of this package know of each sample whether it converged. Of others, which know only of all, the residuals are
    evaluated once more.
    """
    with differentiation_mode(
        "forward"
    ):  # what a solver needs of a Jacobian; what it finds is differentiated elsewhere
        solution = optx.fixed_point(
            cell, by_sample(solver), z0, inputs, max_steps=max_steps, adjoint=Detached(), throw=False
        )
    stats, z = solution.stats, solution.value
    samples = z.shape[0]
    if "converged" in stats:
        residual, converged = stats["residual"], stats["converged"]
    else:
        residual = row_norms(cell(z, inputs) - z)
        converged = jnp.full((samples,), solution.result == optx.RESULTS.successful) & jnp.isfinite(residual)
    num_steps = jnp.broadcast_to(jnp.asarray(stats["num_steps"], jnp.int32), (samples,))
    code = jnp.broadcast_to(jnp.asarray(solution.result._value, jnp.int32), (samples,))  # type: ignore[attr-defined]
    return Found(
        z, residual, num_steps, converged, codes(code, residual, converged), stats.get("residuals"), solution.state
    )


def measured(tolerances: tuple[float, float], cell: Cell, z: Array, inputs: Any, num_steps: Any) -> Found:
    """What a solver with the tolerances `(rtol, atol)` would say of `z`, which it did not find."""
    rtol, atol = tolerances
    new = cell(z, inputs)
    residual = row_norms(new - z)
    converged = residual <= atol + rtol * row_norms(new)
    code = codes(jnp.zeros(z.shape[:1], jnp.int32), residual, converged)
    return Found(z, residual, jnp.broadcast_to(jnp.asarray(num_steps, jnp.int32), z.shape[:1]), converged, code)


def codes(code: Array, residual: Array, converged: Array) -> Array:
    """How each sample ended, given how all of them did."""
    # The solver may have ended because of another sample.
    general = (code == _CODES["successful"]) | (code == _CODES["nonfinite"])
    unfinished = jnp.where(general, jnp.int32(_CODES["nonlinear_max_steps_reached"]), code)
    unfinished = jnp.where(jnp.isfinite(residual), unfinished, jnp.int32(_CODES["nonfinite"]))
    return jnp.where(converged, jnp.int32(_CODES["successful"]), unfinished)


def by_sample(solver: Any) -> Any:
    """The solver told that the leading axis is the sample, if it can be told."""
    return dataclasses.replace(solver, batched=True) if hasattr(solver, "batched") else solver
