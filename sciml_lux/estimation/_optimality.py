"""What the parameters say of the point where a least-squares solve ended: bounds that hold it, and parameters that change nothing."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Float

from ..core import CachedFunction, is_known
from ..flatten import FlatParams, Layout
from ._evaluate import Evaluation, estimated_values, residual_vector, value_jacobian

# A constrained parameter is at a bound once nothing but this share of its distance from there at the start is left.
_AT_BOUND = 1e-6


class Optimality(NamedTuple):
    """Of each number in the vector: `held`: the sign of the direction in which it leans on a bound, or 0; `flat`: whether the residual does
    not depend on it there; `saddle`: whether, moreover, the sum of squares falls to both sides of it."""

    held: np.ndarray
    flat: np.ndarray
    saddle: np.ndarray


def optimality(
    cached: CachedFunction,
    start: FlatParams,
    ps: FlatParams,
    end: Evaluation,
    args: tuple[Any, Any],
    result: optx.RESULTS,
    weights: Float[np.ndarray, " residuals"],
) -> tuple[Optimality, optx.RESULTS]:
    """What is to be said of the point `ps` with the evaluation `end`, where a solve from `start` ended; and `result` corrected by it.
    `weights`: by how much a change of the square of each residual changes what is minimised: 1 but for robust losses."""
    jacobian = np.asarray(end.jacobian, np.float64)
    flat = ~np.any(jacobian, axis=0)
    held, saddle = np.zeros(flat.shape, int), np.zeros_like(flat)
    if not (np.all(np.isfinite(end.residual)) and np.all(np.isfinite(jacobian))):
        return Optimality(held, flat, saddle), optx.RESULTS.nonfinite
    if np.any(flat):
        columns = jnp.asarray(np.flatnonzero(flat))
        saddle[flat] = np.asarray(
            _saddles(cached, ps.layout, ps.vector, args, columns, jnp.asarray(weights, ps.layout.dtype))
        )
    if np.any(saddle):
        return Optimality(held, flat, saddle), optx.RESULTS.nonlinear_divergence
    if is_known(result, optx.RESULTS.nonlinear_divergence):
        gradient = np.asarray(end.residual, np.float64) @ jacobian
        below, above = np.asarray(_limits(ps.layout, start.vector, ps.vector))
        held = np.where(below & (gradient > 0), -1, np.where(above & (gradient < 0), 1, 0))
        if np.any(held) and _minimal_beside_bounds(end, held):
            result = optx.RESULTS.successful
    return Optimality(held, flat, saddle), result


@eqx.filter_jit
def _limits(layout: Layout, start: jax.Array, vector: jax.Array) -> jax.Array:
    """Whether the values have reached the limit to which each number, going down and going up, takes them: the ends of any map.

    They have if going on as far as one likes changes them by no more than `_AT_BOUND` of the distance from there at the start, or of the
    whole range; and far less than in proportion, which tells a limit from a small slope.
    """
    values_of = lambda vector: estimated_values(layout, vector)  # noqa: E731
    values, began = values_of(vector), values_of(start)
    far = 40 * (1 + jnp.abs(vector))
    moved = jax.vmap(jax.vmap(values_of))(vector[None, None, :] + jnp.stack([-jnp.diag(far), jnp.diag(far)]))
    change = jnp.max(jnp.abs(moved - values[None, None, :]), axis=-1)
    scale = jnp.max(jnp.abs(moved - began[None, None, :]), axis=-1)
    width = jnp.max(jnp.abs(moved[0] - moved[1]), axis=-1)
    scale = jnp.maximum(scale, jnp.where(jnp.isfinite(width), width, 0.0)[None, :])
    proportional = jnp.max(jnp.abs(value_jacobian(layout, vector)), axis=0) * far
    return (change <= _AT_BOUND * scale) & (change <= 0.1 * proportional[None, :])


def _minimal_beside_bounds(end: Evaluation, held: np.ndarray) -> bool:
    """Whether a Gauss-Newton step of the numbers that no bound holds promises to take nothing from the sum of squares that matters.

    First-order optimality with bounds: the gradient points out of the bounds that hold, and the residual is orthogonal to the other
    columns, to half of the digits or to a thousandth of the confidence region's radius (see `lux.solvers.LevenbergMarquardt`).
    """
    free = np.asarray(end.jacobian, np.float64)[:, held == 0]
    residual = np.asarray(end.residual, np.float64)
    norm, epsilon = np.linalg.norm(residual), float(jnp.finfo(end.residual.dtype).eps)
    norms = np.linalg.norm(free, axis=0)
    free = free[:, norms > 0] / norms[norms > 0]
    if not free.shape[1] or norm == 0:
        return True
    left, s, _ = np.linalg.svd(free, full_matrices=False)
    gain = np.linalg.norm(left[:, s > epsilon * max(free.shape) * s[0]].T @ residual) / norm
    cosine = np.max(np.abs(free.T @ residual)) / norm
    freedom = len(residual) - free.shape[1]
    offset = freedom > 0 and gain**2 * freedom <= 1e-6 * free.shape[1] * (1 - gain**2)
    return bool(cosine <= 2 * np.sqrt(epsilon) or offset)


@eqx.filter_jit
def _saddles(
    cached: CachedFunction,
    layout: Layout,
    vector: jax.Array,
    args: tuple[Any, Any],
    columns: jax.Array,
    weights: jax.Array,
) -> jax.Array:
    """Whether what is minimised falls to both sides of numbers on which the residual does not depend: `w r . r'' < 0`."""

    residual = cached.use()[0]

    def falls(column: jax.Array) -> jax.Array:
        direction = jnp.zeros_like(vector).at[column].set(1)
        along = lambda vector: jax.jvp(lambda v: residual_vector(residual, layout, v, args), (vector,), (direction,))  # noqa: E731
        (r, _), (_, second) = jax.jvp(along, (vector,), (direction,))
        r = weights * r
        rounding = jnp.sqrt(jnp.finfo(r.dtype).eps) * jnp.linalg.norm(r) * jnp.linalg.norm(second)
        return jnp.vdot(r, second) < -rounding

    return jax.lax.map(falls, columns)
