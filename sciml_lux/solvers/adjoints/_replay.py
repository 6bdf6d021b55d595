"""The gradient of an explicit Runge-Kutta solve, from the steps that it took.

diffrax solves without derivatives, and the steps that it accepted, `(t_n, y_n)`, are recorded (`_recorded.py`). The backward pass goes
through them from the last to the first: many at once where the state is small (`_chunk.py`), one by one where it is not
(`_step.py`). Nothing is computed twice to save memory, and the loop that compiles is a plain one.

The result is the exact gradient of the discrete solve, as diffrax's `RecursiveCheckpointAdjoint` gives it: the sizes of the steps
are not differentiated. It compiles in about 0.6 of the time, since the field is differentiated once, for all stages.
Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, sections II.4 to II.6, for the methods.
"""

import functools
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.custom_batching
import jax.numpy as jnp
from jax import lax

from ._chunk import chunk_adjoint
from ._recorded import Steps, is_recordable, solve_and_record, solve_plainly
from ._runge_kutta import Shape
from ._step import step_adjoint

# Field evaluations for the Jacobians grow with the size of the state: beyond this many numbers, steps go one by one.
SMALL_STATE = 16
# Bytes of recorded steps, up to the bound on their number, beyond which checkpointing takes over.
LARGEST_RECORD = 2**26
# Steps in a batch. A single solve is bound by the number of operations, many solves side by side by their size: a batch that is
# larger than what is left to do is computed in vain. Large batches also pay for the buffer of recorded steps.
_CHUNK_ALONE, _CHUNK_MAPPED = 16, 2
_FIRST_ORDER = (
    "the default gradient of a solve has no derivatives of its own; for second derivatives (jax.hessian) pass "
    "adjoint=diffrax.DirectAdjoint() to the adapter"
)


def why_not_recorded(y0: Any, settings: dict[str, Any]) -> str | None:
    """Why a solve cannot be differentiated this way, if it cannot."""
    leaves = jax.tree.leaves(y0)
    if not isinstance(settings["solver"], diffrax.AbstractERK):
        return f"{type(settings['solver']).__name__} is not an explicit Runge-Kutta method"
    if len({leaf.dtype for leaf in leaves}) != 1 or jnp.iscomplexobj(leaves[0]):
        return "the state is not real and of one dtype"
    size = sum(leaf.size for leaf in leaves)
    if size == 0:
        return "the state is empty"
    if not is_recordable(settings):
        return "the number of steps has no bound, max_steps=None, or a step may not begin where the last one ended"
    if size > SMALL_STATE and record_bytes(y0, settings) > LARGEST_RECORD:
        return f"the record of {settings['max_steps']} steps would take {record_bytes(y0, settings) / 1e6:.3g} MB"
    return None


def record_bytes(y0: Any, settings: dict[str, Any]) -> int:
    """The memory of the steps of one solve, up to the bound on their number."""
    leaves = jax.tree.leaves(y0)
    return settings["max_steps"] * (1 + sum(leaf.size for leaf in leaves)) * leaves[0].dtype.itemsize


def solve_and_replay(field: Any, y0: Any, args: Any, ts: Any, settings: dict[str, Any]) -> diffrax.Solution:
    """The solution of `dy/dt = field(t, y, args)` at the times `ts`, with the gradient of this module.

    **Arguments:** `field`: a pytree that can be called; `y0`: a tree of real arrays of one dtype; `args`; `ts`: sorted, within the
    span; `settings`: the other arguments of `diffrax.diffeqsolve`. Gradients with respect to `y0`, `args` and `ts`.
    """
    shape = Shape.of(y0)
    # The end of the span is one of the times, and its gradient is that of the value saved there.
    problem = _Problem(field, shape, _constant(settings))
    solution = _solution((shape.vector(y0), args, ts), problem)
    given = (settings["t0"], settings["t1"], jax.vmap(shape.tree)(solution.ys))
    return eqx.tree_at(lambda s: (s.t0, s.t1, s.ys), solution, given, is_leaf=lambda node: node is None)


def _constant(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree)


class _Problem(eqx.Module):
    """The equation and the settings of its solve."""

    field: Any
    shape: Shape = eqx.field(static=True)
    settings: dict[str, Any]

    def on_vectors(self, t: Any, y: Any, args: Any) -> Any:
        return self.shape.vector(self.field(t, self.shape.tree(y), args))

    def derivative(self, t: Any, y: Any, floating: Any, rest: Any) -> Any:
        """The same, of the two parts of `args`."""
        return self.on_vectors(t, y, eqx.combine(floating, rest))

    def direction(self, dtype: Any) -> Any:
        """1 forward in time, -1 backward."""
        return jnp.sign(jnp.asarray(self.settings["t1"], dtype) - jnp.asarray(self.settings["t0"], dtype))


# Compiled by themselves for calls that nothing compiles: their loops would be compiled anew each time.


@eqx.filter_jit
def _plain(differentiable: Any, problem: _Problem) -> Any:
    y0, args, ts = _constant(differentiable)
    return _without_span(solve_plainly(problem.on_vectors, y0, args, ts, problem.settings))


@eqx.filter_jit
def _recorded(differentiable: Any, problem: _Problem) -> tuple[Any, Steps]:
    y0, args, ts = _constant(differentiable)
    solution, steps = solve_and_record(problem.on_vectors, y0, args, ts, problem.settings)
    return _without_span(solution), steps


def _without_span(solution: Any) -> Any:
    # Under vmap the span is mapped in what was recorded and not in what was not; a rule's results must agree.
    return eqx.tree_at(lambda s: (s.t0, s.t1), solution, (None, None))


@eqx.filter_custom_vjp
def _solution(differentiable: Any, problem: _Problem) -> Any:
    """The solution as a function of `differentiable = (y0, args, ts)`."""
    return _plain(differentiable, problem)


@_solution.def_fwd
def _forward(perturbed: Any, differentiable: Any, problem: _Problem) -> tuple[Any, Steps]:
    del perturbed
    return _recorded(differentiable, problem)


@_solution.def_bwd
def _backward(steps: Steps, solution_bar: Any, perturbed: Any, differentiable: Any, problem: _Problem) -> Any:
    del perturbed
    return _pulled_back(steps, solution_bar.ys, differentiable, problem)


@eqx.filter_jit
def _pulled_back(steps: Steps, ys_bar: Any, differentiable: Any, problem: _Problem) -> Any:
    # The steps were recorded without derivatives: those of this gradient would be wrong.
    differentiable = eqx.internal.nondifferentiable(differentiable, msg=_FIRST_ORDER)
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
    """The cotangents of `differentiable`, from those of `ys`; by chunks of `size` steps, if the state is small."""
    y0, args, ts = differentiable
    floating, rest = eqx.partition(args, eqx.is_inexact_array)
    size = min(size, steps.most) if y0.size <= SMALL_STATE else 1

    def back(carry: Any) -> Any:
        end, saved, y_bar, args_bar, ts_bar = carry
        first = jnp.maximum(end - size, 0)
        part = steps.part(first, end, size, y_bar.dtype)
        given = (problem, part, floating, rest, ts, ys_bar, y_bar)
        if y0.size <= SMALL_STATE:
            y_bar, more_args, more_ts = chunk_adjoint(*given)
        else:
            y_bar, more_args, more_ts, saved = step_adjoint(*given, saved)
        return first, saved, y_bar, jax.tree.map(jnp.add, args_bar, more_args), ts_bar + more_ts

    # Values that a failed solve never reached: their cotangents, which are NaN unless nobody looks at them, make all gradients so.
    t0, direction = problem.settings["t0"], problem.direction(ts.dtype)
    reached = direction * ts <= direction * steps.end[0]
    missed = jnp.sum(jnp.where(reached[:, None], 0, ys_bar), axis=0)
    zeros = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0 * jnp.sum(missed).astype(leaf.dtype)), floating)
    start = (steps.number, jnp.sum(reached, dtype=jnp.int32) - 1, missed, zeros, jnp.zeros_like(ts))
    _, _, y_bar, args_bar, ts_bar = lax.while_loop(lambda carry: carry[0] > 0, back, start)
    # What is saved at the very start is the initial value itself.
    y_bar = y_bar + jnp.sum(jnp.where((ts == t0)[:, None], ys_bar, 0), axis=0)
    return y_bar, args_bar, ts_bar
