"""The gradient of an explicit Runge-Kutta solve, from the steps that it took.

The steps that the solve itself (`_solve.py`) accepted, `(t_n, y_n)`, are recorded. The backward pass goes
through them from the last to the first: many at once where the state is small (`_chunk.py`), one by one where it is not
(`_step.py`). The stages of each step are computed once more, and the loops that compile are plain ones.

The result is the exact gradient of the discrete solve, as diffrax's `RecursiveCheckpointAdjoint` gives it: the sizes of the steps
are not differentiated. The field is differentiated once, for all stages; what that saves to compile is in benchmarks/neural_ode.py.
Both loops can be differentiated forward, in the initial value and in `args`: that is a second derivative.
Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, sections II.4 to II.6, for the methods.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float, Int, PyTree

from ...kernels import with_batching_rule
from .._both_modes import forward_only
from .._constant import constant
from .._types import StateTree
from ._plain import why_not_by_tableau, why_not_followed
from ._problem import InitialValueProblem, Lanes, RecordedProblem
from ._pull_back import SMALL_STATE, Solved, pull_back
from ._shape import Shape
from ._solve import solve
from ._steps import Steps

# Bytes of recorded steps, up to the bound on their number, beyond which checkpointing takes over.
LARGEST_RECORD = 2**26
# Steps in a batch. A single solve is bound by the number of operations, many solves side by side by their size: a batch that is
# larger than what is left to do is computed in vain.
_CHUNK_ALONE, _CHUNK_MAPPED = 16, 2
_FIXED_TIMES = (
    "the default gradient of a solve has no derivatives of its own in the times ts and t0; for second derivatives in these write "
    "adjoint=diffrax.DirectAdjoint()"
)
_ONCE_BACK = (
    "the default gradient of a solve cannot be differentiated backwards once more; use jax.hessian, which goes forward through it, "
    "or write adjoint=diffrax.DirectAdjoint()"
)


def why_not_recorded(y0: StateTree, settings: dict[str, Any]) -> str | None:
    """Why a solve cannot be differentiated this way, if it cannot."""
    leaves = jax.tree.leaves(y0)
    reason = why_not_by_tableau(settings["solver"])
    if reason:
        return reason
    if len({leaf.dtype for leaf in leaves}) != 1 or jnp.iscomplexobj(leaves[0]):
        return "the state is not real and of one dtype"
    size = sum(leaf.size for leaf in leaves)
    if export.is_symbolic_dim(size):
        return "the size of the state is a symbol of jax.export's"
    if size == 0:
        return "the state is empty"
    if settings["max_steps"] is None:
        return "the number of steps has no bound, max_steps=None"
    reason = why_not_followed(settings["stepsize_controller"], y0)
    if reason:
        return reason
    if size > SMALL_STATE and record_bytes(y0, settings) > LARGEST_RECORD:
        return f"the record of {settings['max_steps']} steps would take {record_bytes(y0, settings) / 1e6:.3g} MB"
    return None


def record_bytes(y0: StateTree, settings: dict[str, Any]) -> int:
    """The memory of the steps of one solve, up to the bound on their number."""
    leaves = jax.tree.leaves(y0)
    return settings["max_steps"] * (1 + sum(leaf.size for leaf in leaves)) * leaves[0].dtype.itemsize


def solve_and_replay(
    field: Callable[..., Any], y0: StateTree, args: PyTree, ts: Float[Array, " times"] | None, settings: dict[str, Any]
) -> diffrax.Solution:
    """The solution of `dy/dt = field(t, y, args)` at the times `ts`, with the gradient of this module.

    **Arguments:** `field`: a pytree that can be called; `y0`: a tree of real arrays of one dtype; `args`; `ts`: sorted, within the
    span, or `None` for the end of the span alone; `settings`: the other arguments of `diffrax.diffeqsolve`. Gradients with respect to
    `y0`, `args`, `t0`, and `ts`, or `t1` without `ts`.
    """
    shape = Shape.of(y0)
    problem = RecordedProblem(field, shape, constant(settings), ts is None)
    # The gradient of the end of the span is that of the value there.
    times = settings["t1"][None] if ts is None else ts
    solution = _solution((shape.vector(y0), args, times, settings["t0"]), problem)
    # The times that were reached are those that were given, also to a derivative.
    reached = jnp.where(jnp.isfinite(solution.ts), times, solution.ts)
    given = (settings["t0"], settings["t1"], reached, jax.vmap(shape.tree)(solution.ys))
    return eqx.tree_at(lambda s: (s.t0, s.t1, s.ts, s.ys), solution, given, is_leaf=lambda node: node is None)


# Compiled by itself for calls that nothing compiles: its loops would be compiled anew each time.
@eqx.filter_jit
def _solved(differentiable: tuple[Any, ...], problem: RecordedProblem, records: bool) -> Any:
    y0, args, *times = differentiable
    ts, _ = eqx.internal.nondifferentiable(tuple(times), msg=_FIXED_TIMES)
    ts = None if problem.ends else ts
    solution, steps = solve(InitialValueProblem(problem.on_vectors, y0, args, ts, problem.settings), records=records)
    # Under vmap the span is mapped in some solutions and not in others; a rule's results must agree.
    solution = eqx.tree_at(lambda s: (s.t0, s.t1), solution, (None, None))
    return solution, steps


@eqx.filter_custom_vjp
def _solution(differentiable: tuple[Any, ...], problem: RecordedProblem) -> Any:
    """The solution as a function of `differentiable = (y0, args, ts, t0)`."""
    return _solved(differentiable, problem, False)[0]


@_solution.def_fwd
def _forward(
    perturbed: tuple[Any, ...], differentiable: tuple[Any, ...], problem: RecordedProblem
) -> tuple[Any, Steps]:
    del perturbed
    # A derivative of this is a second derivative.
    return forward_only(lambda given: _solved(given[0], given[1], True), (differentiable, problem), _ONCE_BACK)


@_solution.def_bwd
def _backward(
    steps: Steps,
    solution_bar: Any,
    perturbed: tuple[Any, ...],
    differentiable: tuple[Any, ...],
    problem: RecordedProblem,
) -> Any:
    *_, in_ts, in_t0 = perturbed
    return _pulled_back(steps, solution_bar.ys, differentiable, problem, bool(in_ts), bool(in_t0))


@eqx.filter_jit
def _pulled_back(
    steps: Steps,
    ys_bar: Float[Array, "times state"],
    differentiable: tuple[Any, ...],
    problem: RecordedProblem,
    in_ts: bool,
    in_t0: bool,
) -> Any:
    y0, args, *times = differentiable
    # The steps do not know what they owe to the times.
    differentiable = (y0, args, *eqx.internal.nondifferentiable(tuple(times), msg=_FIXED_TIMES))
    dynamic, static = eqx.partition((ys_bar, differentiable, problem), eqx.is_array)
    leaves, structure = jax.tree.flatten(dynamic)

    def build(leaves: list[Array]) -> Solved:
        return Solved(*eqx.combine(jax.tree.unflatten(structure, leaves), static))

    def single(rows: Float[Array, "rows row"], number: Int[Array, ""], *leaves: Array) -> Any:
        return pull_back(Lanes(build, list(leaves), None, 1), Steps(rows, number), _CHUNK_ALONE, in_ts, in_t0)

    def batched(
        axis_size: int, is_mapped: list[bool], rows: Float[Array, "..."], number: Int[Array, "..."], *leaves: Array
    ) -> tuple[Any, Any]:
        # The steps of all lanes lie side by side, as they were written, and there are as many of each.
        rows = (
            jnp.moveaxis(rows, 0, 1)
            if is_mapped[0]
            else jnp.broadcast_to(rows[:, None], (len(rows), axis_size, rows.shape[1]))
        )
        number = jnp.max(number)
        axes = [0 if mapped else None for mapped in is_mapped[2:]]
        cotangents = pull_back(
            Lanes(build, list(leaves), axes, axis_size), Steps(rows, number), _CHUNK_MAPPED, in_ts, in_t0
        )
        return cotangents, jax.tree.map(lambda _: True, cotangents)

    return with_batching_rule(single, batched)(*steps, *leaves)
