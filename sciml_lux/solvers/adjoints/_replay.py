"""The gradient of an explicit Runge-Kutta solve, many steps at a time.

diffrax solves without derivatives, and the steps that it accepted, `(t_n, y_n)`, are recorded (`_recorded.py`). Given those, no step
waits for another: the stages of many steps are computed as one batch, and so are the Jacobians `J_i = df/dy` at all of them. What
remains to be done in order is linear and as small as the state. With the stages `Y_i = y_n + sum_j a_ij k_j`,
`k_i = h f(t_n + c_i h, Y_i, p)`, the result `y_{n+1} = y_n + sum_i b_i k_i` and saved values that are linear in `y_n`, `y_{n+1}`, `k`,
the adjoint of one step is, from the last stage to the first,

    kbar_i = b_i ybar_{n+1} + (saved) + sum_{j > i} a_ji Ybar_j,    Ybar_i = h J_i^T kbar_i,
    ybar_n = ybar_{n+1} + (saved) + sum_i Ybar_i,

affine in `ybar_{n+1}`, so that it is computed for every unit vector at once, for all steps of a chunk. The gradient of the parameters
is one product with `kbar` for all stages of a chunk; the usual way adds a gradient as long as the parameter vector at each of them.

The result is the exact gradient of the discrete solve, as diffrax's `RecursiveCheckpointAdjoint` gives it: the sizes of the steps
are not differentiated. It compiles in about 0.6 of the time, since the field is differentiated once, for all stages.
Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, sections II.4 to II.6, for the methods.
"""

import functools
import math
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.custom_batching
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._recorded import Part, Steps, is_recordable, solve_and_record

# Field evaluations for the Jacobians grow with the size of the state: beyond this many numbers, checkpointing is the better way.
LARGEST_STATE = 16
# Steps in a batch. A single solve is bound by the number of operations, many solves side by side by their size: a batch that is
# larger than what is left to do is computed in vain. Large batches also pay for the buffer of recorded steps.
_CHUNK_ALONE, _CHUNK_MAPPED = 16, 2


def is_replayable(y0: Any, settings: dict[str, Any]) -> bool:
    """Whether a solve can be differentiated this way: an explicit Runge-Kutta method, a small state, steps that can be recorded."""
    leaves = jax.tree.leaves(y0)
    one_dtype = len({leaf.dtype for leaf in leaves}) == 1 and not jnp.iscomplexobj(leaves[0])
    small = 0 < sum(leaf.size for leaf in leaves) <= LARGEST_STATE
    return isinstance(settings["solver"], diffrax.AbstractERK) and one_dtype and small and is_recordable(settings)


@eqx.filter_jit  # for calls that nothing compiles: the loop of the gradient would be compiled anew each time
def solve_and_replay(field: Any, y0: Any, args: Any, ts: Any, settings: dict[str, Any]) -> diffrax.Solution:
    """The solution of `dy/dt = field(t, y, args)` at the times `ts`, with the gradient of this module.

    **Arguments:** `field`: a pytree that can be called; `y0`: a tree of real arrays of one dtype; `args`; `ts`: sorted, within the
    span; `settings`: the other arguments of `diffrax.diffeqsolve`. Gradients with respect to `y0`, `args` and `ts`.
    """
    shape = _Shape(jax.tree.structure(y0), tuple(leaf.shape for leaf in jax.tree.leaves(y0)))
    # The end of the span is one of the times, and its gradient is that of the value saved there.
    problem = _Problem(field, shape, _constant(settings))
    differentiable = (shape.vector(y0), args, ts)
    y0, args, ts = _constant(differentiable)
    solution, steps = solve_and_record(problem.on_vectors, y0, args, ts, problem.settings)
    reached, y = steps.end
    stats = {**solution.stats, "t_reached": reached, "y_largest": jnp.max(jnp.abs(y))}
    solution = eqx.tree_at(lambda s: s.stats, solution, stats)
    ys = _with_gradient(differentiable, solution.ys, steps, problem)
    return eqx.tree_at(lambda s: s.ys, solution, jax.vmap(shape.tree)(ys))


def _constant(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree)


class _Shape(NamedTuple):
    """How a tree is laid out in a vector."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    def vector(self, tree: Any) -> Float[Array, " state"]:
        leaves = jax.tree.leaves(tree)
        return leaves[0].reshape(-1) if len(leaves) == 1 else jnp.concatenate([leaf.reshape(-1) for leaf in leaves])

    def tree(self, vector: Float[Array, " state"]) -> Any:
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        pieces = jnp.split(vector, ends[:-1]) if len(ends) > 1 else [vector]
        leaves = [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


class _Problem(eqx.Module):
    """The equation and the settings of its solve."""

    field: Any
    shape: _Shape = eqx.field(static=True)
    settings: dict[str, Any]

    def on_vectors(self, t: Any, y: Any, args: Any) -> Any:
        return self.shape.vector(self.field(t, self.shape.tree(y), args))


@eqx.filter_custom_vjp
def _with_gradient(differentiable: Any, ys: Any, steps: Steps, problem: _Problem) -> Any:
    """`ys`, which was computed without derivatives, as a function of `differentiable = (y0, args, ts)`."""
    del differentiable, steps, problem
    return ys


@_with_gradient.def_fwd
def _forward(perturbed: Any, differentiable: Any, ys: Any, steps: Steps, problem: _Problem) -> tuple[Any, None]:
    del perturbed, differentiable, steps, problem
    return ys, None


@_with_gradient.def_bwd
def _backward(
    residuals: None, ys_bar: Any, perturbed: Any, differentiable: Any, ys: Any, steps: Steps, problem: _Problem
) -> Any:
    del residuals, perturbed, ys
    dynamic, static = eqx.partition((ys_bar, differentiable, steps, problem), eqx.is_array)
    leaves, structure = jax.tree.flatten(dynamic)

    def adjoint(size: int, *leaves: Any) -> Any:
        given: Any = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return _adjoint(*given, size=size)

    alone = jax.custom_batching.custom_vmap(functools.partial(adjoint, _CHUNK_ALONE))

    @alone.def_vmap
    def _(axis_size: int, is_mapped: Any, *leaves: Any) -> tuple[Any, Any]:
        axes = [0 if mapped else None for mapped in is_mapped]
        result = jax.vmap(functools.partial(adjoint, _CHUNK_MAPPED), axes, axis_size=axis_size)(*leaves)
        return result, jax.tree.map(lambda _: True, result)

    return alone(*leaves)


def _adjoint(ys_bar: Any, differentiable: Any, steps: Steps, problem: _Problem, *, size: int) -> Any:
    """The cotangents of `differentiable`, from those of `ys`, by chunks of `size` steps."""
    _, args, ts = differentiable
    floating, rest = eqx.partition(args, eqx.is_inexact_array)
    size = min(size, steps.most)

    def chunk(carry: Any) -> Any:
        end, y_bar, args_bar, ts_bar = carry
        first = jnp.maximum(end - size, 0)
        part = steps.part(first, end, size, y_bar.dtype)
        y_bar, more_args, more_ts = _chunk_adjoint(problem, part, floating, rest, ts, ys_bar, y_bar)
        return first, y_bar, jax.tree.map(jnp.add, args_bar, more_args), ts_bar + more_ts

    # Values that a failed solve never reached: their cotangents, which are NaN unless nobody looks at them, make all gradients so.
    t0, direction = problem.settings["t0"], _direction(problem, ts)
    reached = direction * ts <= direction * steps.end[0]
    missed = jnp.sum(jnp.where(reached[:, None], 0, ys_bar), axis=0)
    zeros = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0 * jnp.sum(missed).astype(leaf.dtype)), floating)
    start = (steps.number, missed, zeros, jnp.zeros_like(ts))
    _, y_bar, args_bar, ts_bar = lax.while_loop(lambda carry: carry[0] > 0, chunk, start)
    # What is saved at the very start is the initial value itself.
    y_bar = y_bar + jnp.sum(jnp.where((ts == t0)[:, None], ys_bar, 0), axis=0)
    return y_bar, args_bar, ts_bar


def _direction(problem: _Problem, ts: Any) -> Any:
    """1 forward in time, -1 backward."""
    return jnp.sign(jnp.asarray(problem.settings["t1"], ts.dtype) - jnp.asarray(problem.settings["t0"], ts.dtype))


def _chunk_adjoint(problem: _Problem, part: Part, floating: Any, rest: Any, ts: Any, ys_bar: Any, y_bar: Any) -> Any:
    """The cotangents of the initial value of the first step, of `args` and of `ts`, from that of the last step's result."""
    a, b, c = _tableau(problem.settings["solver"], part.y0.dtype)
    h = (part.t1 - part.t0).astype(part.y0.dtype)

    def field(t: Any, y: Any, floating: Any) -> Any:
        return problem.on_vectors(t, y, eqx.combine(floating, rest))

    def stage(k: Any, row: Any) -> tuple[Any, Any]:
        i, a_i, c_i = row
        y = part.y0 + jnp.einsum("i,ind->nd", a_i, k)
        t = part.t0 + c_i.astype(part.t0.dtype) * (part.t1 - part.t0)
        return k.at[i].set(h[:, None] * jax.vmap(field, (0, 0, None))(t, y, floating)), (t, y)

    k, (t, y) = lax.scan(stage, jnp.zeros((b.size, *part.y0.shape), h.dtype), (jnp.arange(b.size), a, c))

    # Every stage of every step, as one batch, linearized once.
    at_stages = jax.vmap(jax.vmap(field, (0, 0, None)), (0, 0, None))
    _, pull = jax.vjp(lambda y, floating: at_stages(t, y, floating), y, floating)
    unit = jnp.eye(y_bar.size, dtype=h.dtype)
    rows = jax.vmap(lambda row: pull(jnp.broadcast_to(row, y.shape))[0])(unit)
    jacobian = h[None, :, None, None] * jnp.moveaxis(rows, 0, 2)
    y0_saved, y1_saved, k_saved, ts_bar = _saved_adjoint(problem, part, b, k, ts, ys_bar)
    y0_bar, k_bar = _step_adjoints(a, b, jacobian, y0_saved, y1_saved, k_saved)
    size = y_bar.size
    identity = jnp.broadcast_to(jnp.eye(size, dtype=h.dtype), (h.size, size, size))
    matrix = jnp.where(part.active[:, None, None], y0_bar[..., :size], identity)
    shift = jnp.where(part.active[:, None], y0_bar[..., size], 0)
    y_bar, y1_bar = lax.scan(
        lambda y_bar, step: (step[0] @ y_bar + step[1], y_bar), y_bar, (matrix, shift), reverse=True
    )
    k_bar = jnp.einsum("inde,ne->ind", k_bar[..., :size], y1_bar) + k_bar[..., size]
    weights = jnp.where(part.active[None, :, None], h[None, :, None] * k_bar, 0)
    return y_bar, pull(weights)[1], ts_bar


def _tableau(solver: Any, dtype: Any) -> tuple[Array, Array, Array]:
    """`a` (lower triangular), `b`, `c` of the method."""
    tableau: Any = solver.tableau
    a = np.zeros((tableau.num_stages, tableau.num_stages))
    for i, row in enumerate(tableau.a_lower):
        a[i + 1, : len(row)] = row
    return jnp.asarray(a, dtype), jnp.asarray(tableau.b_sol, dtype), jnp.asarray([0.0, *tableau.c], dtype)


def _saved_adjoint(problem: _Problem, part: Part, b: Any, k: Any, ts: Any, ys_bar: Any) -> tuple[Any, Any, Any, Any]:
    """The cotangents of `y0`, `y1` and `k` of each step, and of `ts`, from those of the values saved within the part."""
    direction = _direction(problem, ts)
    # Steps that are not active come last and have no length: nothing lies within them.
    owner = jnp.minimum(jnp.searchsorted(direction * part.t1, direction * ts, method="compare_all"), part.t1.size - 1)
    inside = (direction * ts > direction * part.t0[owner]) & (direction * ts <= direction * part.t1[owner])

    def evaluate(y0: Any, y1: Any, k: Any, ts: Any) -> Any:
        def one(t: Any, inside: Any, t0: Any, t1: Any, y0: Any, y1: Any, k: Any) -> Any:
            # A step of no length has no inside to interpolate.
            t1 = jnp.where(inside, t1, t0 + 1)
            return problem.settings["solver"].interpolation_cls(t0=t0, t1=t1, y0=y0, y1=y1, k=k).evaluate(t)

        return jax.vmap(one)(ts, inside, part.t0[owner], part.t1[owner], y0[owner], y1[owner], k.swapaxes(0, 1)[owner])

    _, pull = jax.vjp(evaluate, part.y0, part.y0 + jnp.einsum("i,ind->nd", b, k), k, ts)
    return pull(jnp.where(inside[:, None], ys_bar, 0))


def _step_adjoints(a: Any, b: Any, jacobian: Any, y0_saved: Any, y1_saved: Any, k_saved: Any) -> tuple[Any, Any]:
    """`ybar_n` and `kbar` as affine functions of `ybar_{n+1}`: a last axis of the images of the unit vectors, and the shift."""
    number, size = y0_saved.shape
    unit = jnp.broadcast_to(jnp.eye(size, dtype=y0_saved.dtype), (number, size, size))
    y1_bar = jnp.concatenate([unit, y1_saved[..., None]], axis=-1)
    y0_bar = y1_bar.at[..., size].add(y0_saved)
    k_bar = jnp.einsum("i,nde->inde", b, y1_bar).at[..., size].add(k_saved)

    def stage(carry: Any, row: Any) -> tuple[Any, None]:
        y0_bar, k_bar = carry
        i, a_i, jacobian_i = row
        stage_bar = jnp.einsum("noi,noe->nie", jacobian_i, k_bar[i])
        return (y0_bar + stage_bar, k_bar + jnp.einsum("i,nde->inde", a_i, stage_bar)), None

    (y0_bar, k_bar), _ = lax.scan(stage, (y0_bar, k_bar), (jnp.arange(b.size), a, jacobian), reverse=True)
    return y0_bar, k_bar
