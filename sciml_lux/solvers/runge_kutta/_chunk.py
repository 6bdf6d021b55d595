"""The adjoints of many recorded steps at once, for states that are small enough for Jacobians.

Given the steps, none waits for another: the stages of many steps are computed as one batch, and so are the Jacobians `J_i = df/dy` at
all of them. What remains to be done in order is linear and as small as the state. With the stages `Y_i = y_n + sum_j a_ij k_j`,
`k_i = h f(t_n + c_i h, Y_i, p)`, the result `y_{n+1} = y_n + sum_i b_i k_i` and saved values that are linear in `y_n`, `y_{n+1}`, `k`,
the adjoint of one step is, from the last stage to the first,

    kbar_i = b_i ybar_{n+1} + (saved) + sum_{j > i} a_ji Ybar_j,    Ybar_i = h J_i^T kbar_i,
    ybar_n = ybar_{n+1} + (saved) + sum_i Ybar_i,

affine in `ybar_{n+1}`, so that it is computed for every unit vector at once, for all steps of a chunk. The gradient of the parameters
is one product with `kbar` for all stages of a chunk; the usual way adds a gradient as long as the parameter vector at each of them.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._problem import RecordedProblem
from ._stages import stage_points, stages, weighted
from ._steps import Part
from ._tableau import Tableau, tableau_of

# In full precision on every device, as the stages are.
_einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


def chunk_adjoint(
    problem: RecordedProblem,
    part: Part,
    floating: PyTree[Array],
    rest: PyTree,
    ts: Float[Array, " times"],
    ys_bar: Float[Array, "times state"],
    y_bar: Float[Array, " state"],
) -> Any:
    """The cotangents of the initial value of the first step, of `args` and of `ts`, from that of the last step's result."""
    tableau = tableau_of(problem.settings["solver"])
    h = (part.t1 - part.t0).astype(part.y0.dtype)

    def field(t: Float[Array, ""], y: Float[Array, " state"], floating: PyTree[Array]) -> Any:
        return problem.derivative(t, y, floating, rest)

    of_each = jax.vmap(field, (0, 0, None))
    k, _ = stages(lambda t, y: of_each(t, y, floating), tableau, part.t0, part.t1, part.y0)
    t, y = stage_points(tableau, part.t0, part.t1, part.y0, k)

    # Every stage of every step, as one batch, linearized once.
    at_stages = jax.vmap(of_each, (0, 0, None))
    _, pull = jax.vjp(lambda y, floating: at_stages(t, y, floating), y, floating)
    unit = jnp.eye(y_bar.size, dtype=h.dtype)
    rows = jax.vmap(lambda row: pull(jnp.broadcast_to(row, y.shape))[0])(unit)
    jacobian = h[None, :, None, None] * jnp.moveaxis(rows, 0, 2)
    y0_saved, y1_saved, k_saved, ts_bar = _saved_adjoint(problem, part, tableau, k, ts, ys_bar)
    y0_bar, k_bar = _step_adjoints(tableau, jacobian, y0_saved, y1_saved, k_saved)
    size = y_bar.size
    identity = jnp.broadcast_to(jnp.eye(size, dtype=h.dtype), (h.size, size, size))
    matrix = jnp.where(part.active[:, None, None], y0_bar[..., :size], identity)
    shift = jnp.where(part.active[:, None], y0_bar[..., size], 0)
    y_bar, y1_bar = lax.scan(
        lambda y_bar, step: (_einsum("de,e->d", step[0], y_bar) + step[1], y_bar), y_bar, (matrix, shift), reverse=True
    )
    k_bar = _einsum("inde,ne->ind", k_bar[..., :size], y1_bar) + k_bar[..., size]
    weights = jnp.where(part.active[None, :, None], h[None, :, None] * k_bar, 0)
    return y_bar, pull(weights)[1], ts_bar


def _saved_adjoint(
    problem: RecordedProblem,
    part: Part,
    tableau: Tableau,
    k: Float[Array, "stages chunk state"],
    ts: Float[Array, " times"],
    ys_bar: Float[Array, "times state"],
) -> tuple[Any, Any, Any, Any]:
    """The cotangents of `y0`, `y1` and `k` of each step, and of `ts`, from those of the values saved within the part."""
    direction = problem.direction(ts.dtype)
    # Steps that are not active come last and have no length: nothing lies within them.
    owner = jnp.minimum(jnp.searchsorted(direction * part.t1, direction * ts, method="compare_all"), part.t1.size - 1)
    inside = (direction * ts > direction * part.t0[owner]) & (direction * ts <= direction * part.t1[owner])

    def evaluate(
        y0: Float[Array, "chunk state"],
        y1: Float[Array, "chunk state"],
        k: Float[Array, "stages chunk state"],
        ts: Float[Array, " times"],
    ) -> Any:
        def one(
            t: Float[Array, ""],
            inside: Bool[Array, ""],
            t0: Float[Array, ""],
            t1: Float[Array, ""],
            y0: Float[Array, " state"],
            y1: Float[Array, " state"],
            k: Float[Array, "stages state"],
        ) -> Any:
            # A step of no length has no inside to interpolate.
            t1 = jnp.where(inside, t1, t0 + 1)
            return problem.settings["solver"].interpolation_cls(t0=t0, t1=t1, y0=y0, y1=y1, k=k).evaluate(t)

        return jax.vmap(one)(ts, inside, part.t0[owner], part.t1[owner], y0[owner], y1[owner], k.swapaxes(0, 1)[owner])

    _, pull = jax.vjp(evaluate, part.y0, part.y0 + weighted(tableau.b, k), k, ts)
    return pull(jnp.where(inside[:, None], ys_bar, 0))


def _step_adjoints(
    tableau: Tableau,
    jacobian: Float[Array, "stages chunk state state"],
    y0_saved: Float[Array, "chunk state"],
    y1_saved: Float[Array, "chunk state"],
    k_saved: Float[Array, "stages chunk state"],
) -> tuple[Any, Any]:
    """`ybar_n` and `kbar` as affine functions of `ybar_{n+1}`: a last axis of the images of the unit vectors, and the shift."""
    a, b = (jnp.asarray(numbers, jacobian.dtype) for numbers in (tableau.a, tableau.b))
    number, size = y0_saved.shape
    unit = jnp.broadcast_to(jnp.eye(size, dtype=y0_saved.dtype), (number, size, size))
    y1_bar = jnp.concatenate([unit, y1_saved[..., None]], axis=-1)
    y0_bar = y1_bar.at[..., size].add(y0_saved)
    k_bar = _einsum("i,nde->inde", b, y1_bar).at[..., size].add(k_saved)

    def stage(
        carry: tuple[Array, Array],
        row: tuple[Int[Array, ""], Float[Array, " stages"], Float[Array, "chunk state state"]],
    ) -> tuple[Any, None]:
        y0_bar, k_bar = carry
        i, a_i, jacobian_i = row
        stage_bar = _einsum("noi,noe->nie", jacobian_i, k_bar[i])
        return (y0_bar + stage_bar, k_bar + _einsum("i,nde->inde", a_i, stage_bar)), None

    (y0_bar, k_bar), _ = lax.scan(stage, (y0_bar, k_bar), (jnp.arange(b.size), a, jacobian), reverse=True)
    return y0_bar, k_bar
