"""`Task`: the solves of one estimate, from any start and within any bounds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from ..core import CachedFunction, State, cached_function, differentiation_mode, failure_mode, ravel_maps
from ..flatten import FlatParams, Layout
from ..solvers import LevenbergMarquardt
from ..solvers.least_squares import Descent, Evaluated, Numbers, bounds_of
from ._bounds import Box
from ._evaluate import Evaluation, check_start, evaluate, evaluation_of, residual_vector
from ._loss import Loss
from ._optimality import Optimality, optimality


class Solved(NamedTuple):
    """The evaluation at the `start` of a solve; where it ended, `ps`, the evaluation there, and what is to be said of it (`where`)."""

    start: Evaluation
    ps: FlatParams
    end: Evaluation
    where: Optimality
    num_steps: int
    result: optx.RESULTS


class Task(NamedTuple):
    """What the solves of one estimate have in common; see `least_squares`. Another start and other bounds compile nothing."""

    residual: Callable[..., Any]
    solver: Any
    loss: Loss
    st: State
    data: PyTree

    def run(self, ps: FlatParams, box: Box | None, max_steps: int) -> Solved:
        """**Errors:** those of `check_start`."""
        cached = cached_function((self.residual, self.solver, ravel_maps(ps.layout)))
        with cached, differentiation_mode("forward"), failure_mode("nan"):
            look = lambda point, limit: evaluate(cached, ps.layout, point, limit, self.st, self.data)  # noqa: E731
            first = look(ps.vector, _no_limit(ps))
            start = evaluation_of(first)
            check_start(start, ps, self.data, box)
            fitted, end, num_steps, result = ps, first, 0, optx.RESULTS.successful
            if ps.layout.size and type(self.solver) is LevenbergMarquardt:
                begun = self._begun(look, first, ps, max_steps, box)
                fitted, end, num_steps, result = _on_host(look, self.loss, begun, self.solver, max_steps, box)
            elif ps.layout.size:
                vector, steps, result = _solve(cached, ps.layout, ps.vector, (self.st, self.data), max_steps, box)
                fitted, num_steps = ps.replace(vector), int(steps)
                end = look(vector, _no_limit(ps))
            weights = self.loss.weights(np.asarray(end.residual))
            rows, args = evaluation_of(self.loss.applied(end)), (self.st, self.data)
            where, result = optimality(cached, ps, fitted, rows, args, result, weights)
        return Solved(start, fitted, evaluation_of(end), where, num_steps, result)

    def _begun(
        self, look: Callable[..., Evaluated], first: Evaluated, ps: FlatParams, max_steps: int, box: Box | None
    ) -> tuple[FlatParams, Evaluated, int]:
        """Where the search begins: at the start `ps`, or, if that is the lower, at the minimum of a convex loss.

        To a loss that is flat far out, a start of which most points are there has next to no slope.
        """
        if not self.loss.is_flat_far_out:
            return ps, first, 0
        convex = Loss("soft_l1", self.loss.f_scale)
        there, found, num_steps, _ = _on_host(look, convex, (ps, first, 0), self.solver, max_steps, box)
        lower = self.loss.cost(np.asarray(found.residual)) < self.loss.cost(np.asarray(first.residual))
        return (there, found, num_steps) if lower else (ps, first, num_steps)


def _no_limit(ps: FlatParams) -> Numbers:
    return np.asarray(np.inf, ps.layout.dtype)


def _on_host(
    look: Callable[..., Evaluated],
    loss: Loss,
    begun: tuple[FlatParams, Evaluated, int],
    solver: LevenbergMarquardt,
    max_steps: int,
    box: Box | None,
) -> tuple[FlatParams, Evaluated, int, optx.RESULTS]:
    """The solve by steps of NumPy, which compiles nothing beside the evaluation; `begun`: where, the evaluation there, and the number of
    steps before."""
    ps, first, before = begun
    descent = Descent(np.asarray(ps.vector), solver.rules(None if box is None else bounds_of(box.lower, box.upper)))

    def told(found: Evaluated) -> None:
        with np.errstate(all="ignore"):  # where the residual is not finite
            descent.told(loss.applied(found)._replace(aux=found))

    told(first)
    while not descent.done and before + descent.num_steps < max_steps:
        point, limit = descent.asks()
        # The limit of a cost is none of the sum of squares.
        told(look(point, limit if loss.is_linear else _no_limit(ps)))
    progress = descent.progress
    assert progress is not None
    result = (
        optx.RESULTS.nonlinear_max_steps_reached
        if not progress.done
        else optx.RESULTS.successful
        if progress.minimal
        else optx.RESULTS.nonlinear_divergence
        if progress.finite
        else optx.RESULTS.nonfinite
    )
    return ps.replace(jnp.asarray(progress.point)), descent.aux, before + descent.num_steps, result


@eqx.filter_jit
def _solve(
    cached: CachedFunction,
    layout: Layout,
    vector: Float[Array, " size"],
    args: tuple[Any, Any],
    max_steps: int,
    box: Box | None,
) -> tuple[Any, Any, Any]:
    residual, solver, _ = cached.use()
    # Both spellings of forward mode: that of the solvers here and in optimistix. Solvers that know neither ignore it.
    solution = optx.least_squares(
        lambda vector, args: residual_vector(residual, layout, vector, args),
        solver,
        vector,
        args,
        options={"autodiff_mode": "fwd"}
        if box is None
        else {"autodiff_mode": "fwd", "lower": box.lower, "upper": box.upper},
        max_steps=max_steps,
        throw=False,
    )
    return solution.value, solution.stats["num_steps"], solution.result
