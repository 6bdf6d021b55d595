"""The search for a minimum: a compiled evaluation, and steps on the host, which looks at the clock in between."""

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...core import CachedFunction, State, cached_function, differentiation_mode, failure_mode
from ...flatten import FlatParams, Layout
from ...flatten.maps import Real, ScaledMap
from ...solvers import LevenbergMarquardt
from ...solvers.least_squares import Descent, Evaluated, Numbers, bounds_of, evaluated
from .._bounds import Box
from .._coordinates import Coordinates, part_of
from ..problem import Arrays, Problem
from ._checkpoint import Checkpoint


@dataclass(frozen=True)
class Budget:
    """How long a fit may take: `seconds` of time, `steps` of the solver; without a number as long as it takes (2000 steps)."""

    seconds: float | None = None
    steps: int = 2000

    def __post_init__(self) -> None:
        if (self.seconds is not None and not self.seconds > 0) or not self.steps > 0:
            raise ValueError(f"a budget is above 0, got {self}")


class Summary(NamedTuple):
    """What is summed, at one point, but for the rows; `location`: what is predicted, by observable."""

    log_likelihood: Float[Array, ""]
    log_prior: Float[Array, ""]
    penalty: Float[Array, ""]
    chi_square: Float[Array, ""]
    location: dict[str, Float[Array, "experiments times"]]
    spread: dict[str, Any]

    @property
    def objective(self) -> Any:
        """What is minimised."""
        return self.penalty - self.log_likelihood - self.log_prior


class Search(NamedTuple):
    """Where a search stands: the best point; what is summed there, NaN if the start was not finite; `root`, of which `root.T @ root` is the
    information (Fisher's, and the curvature of priors and penalties), with columns of 0 for what a bound holds; steps taken; whether the
    solver converged; and, if not, why the search ended."""

    point: Float[np.ndarray, " size"]
    summary: Summary
    root: Float[np.ndarray, "rank size"]
    num_steps: int
    successful: bool
    reason: str


# What is left when a step is a hundred millionth of a number or of its standard error is nothing to an estimate. The first steps are
# short: from a start that is far off, the longest step that lowers the objective leads elsewhere more often (of 100 starts of STAT5, 18
# instead of 11 end at the best optimum; of Lotka-Volterra 97 instead of 93).
SOLVER = LevenbergMarquardt(rtol=1e-8, initial_radius=0.1)


class Task:
    """A problem in the coordinates of a search, with what is compiled for it: it is run from any start, within any bounds, on any data of
    the same shapes, without compiling again."""

    def __init__(self, problem: Problem, coordinates: Coordinates, st: State) -> None:
        self.problem, self.st = problem, st
        self.layout = coordinates.start.layout
        self.sizes = _sizes(coordinates)

    def descent(self, vector: Float[Numbers, " size"], box: Box) -> Descent:
        """The search from `vector`, before its first step."""
        bounds = bounds_of(box.lower, box.upper)
        has_bounds = bool(np.any(np.isfinite(bounds.lower) | np.isfinite(bounds.upper)))
        rules = SOLVER.rules(bounds if has_bounds else None, self.sizes, has_objective=True)
        return Descent(np.asarray(vector), rules)

    def run(
        self,
        vector: Float[Array, " size"],
        box: Box,
        arrays: Arrays,
        budget: Budget,
        watch: Callable[[int, float], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Search:
        """Searches from `vector`, or goes on from a checkpoint; `watch` is called with the steps taken since and the objective, and may
        raise `KeyboardInterrupt`."""
        started, descent = time.monotonic(), self.descent(vector, box)
        with self.compiled() as cached:
            try:
                while (reason := spent(descent, budget, started)) is None:
                    descent.told(evaluate(cached, self.layout, *descent.asks(), self.st, arrays))
                    if checkpoint is not None:
                        checkpoint.follow(descent)
                    if watch is not None:
                        watch(1, descent.objective)
            except KeyboardInterrupt:
                if descent.progress is None:  # of which there is nothing to return
                    raise
                reason = "interrupted"
        return found_by(descent, reason)

    def look(self, vector: Float[Array, " size"], box: Box, arrays: Arrays) -> tuple[float, Float[np.ndarray, " size"]]:
        """What is minimised, and its gradient, at one point. NaN where they are not finite; the gradient is 0 for what a bound holds
        there."""
        with self.compiled() as cached:
            found = evaluate(cached, self.layout, np.asarray(vector), np.asarray(np.inf, vector.dtype), self.st, arrays)
        gradient = np.asarray(found.residual) @ np.asarray(found.jacobian)
        value = float(found.aux.objective)
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            return np.nan, np.full(len(vector), np.nan)
        held = bounds_of(box.lower, box.upper).hold(np.asarray(vector), gradient)
        return value, np.where(held, 0.0, gradient)

    @contextlib.contextmanager
    def compiled(self) -> Generator[CachedFunction]:
        """What stands for the problem in the keys of compiled programs; to be used within."""
        with cached_function(self.problem.function) as cached, differentiation_mode("forward"), failure_mode("nan"):
            yield cached


def spent(descent: Any, budget: Budget, started: float) -> str | None:
    """Why the search ends now: `""` if it is done, the budget if that is spent, or `None` if it goes on."""
    if descent.done:
        return ""
    if descent.num_steps >= budget.steps:
        return f"the budget of {budget.steps} steps is spent"
    if budget.seconds is not None and descent.num_steps and time.monotonic() - started > budget.seconds:
        return f"the budget of {budget.seconds:g} seconds is spent"
    return None


def found_by(descent: Descent, reason: str) -> Search:
    """Where the search stands; `reason`: why it ended before it was done."""
    # In NumPy: a few numbers, for which each operation of a device would cost more than all of them here.
    progress, summary = descent.progress, jax.tree.map(np.asarray, descent.aux)
    assert progress is not None
    model = progress.model
    root = model.singular_values[:, None] * model.directions * model.scale[None, :] * progress.unit
    successful = not reason and bool(progress.minimal)
    if not model.rounding > 0:  # as in every model of a point that was finite, which there was not
        summary = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), summary)
        reason = "the model, or its derivative, is not finite at the start"
    elif not successful and not reason:
        reason = _REASON
    root = np.asarray(root, np.float64)
    return Search(np.asarray(progress.point), summary, root, descent.num_steps, successful, reason)


_REASON = (
    "no step improves any more, at a point that is not known to be an optimum: the objective is not smooth to rounding (solvers inside "
    "the model with looser tolerances), or parameters run away"
)


def _sizes(coordinates: Coordinates) -> Float[np.ndarray, " size"]:
    """Of each coordinate, what a large change is: its magnitude where 0 means something, the distance of two bounds, and 1 for a
    logarithm."""
    layout, start = coordinates.start.layout, np.asarray(coordinates.start.vector, np.float64)
    sizes = np.ones(layout.size)
    for entry in layout.entries:
        ravel_map = entry.ravel_map.inner if isinstance(entry.ravel_map, ScaledMap) else entry.ravel_map
        if isinstance(ravel_map, Real):
            sizes[part_of(entry)] = np.abs(start[part_of(entry)])
    if coordinates.box is not None:
        widths = np.asarray(coordinates.box.upper, np.float64) - np.asarray(coordinates.box.lower, np.float64)
        linear = [part_of(entry) for entry in layout.entries if isinstance(entry.ravel_map, Real)]
        for part in linear:
            width = widths[part]
            sizes[part] = np.where(np.isfinite(width) & (width > 0), np.maximum(sizes[part], 0.1 * width), sizes[part])
    return sizes.astype(layout.dtype)


@eqx.filter_jit
def evaluate(
    cached: CachedFunction,
    layout: Layout,
    point: Float[Numbers, " size"],
    limit: Float[Numbers, ""],
    st: State,
    arrays: Arrays,
) -> Evaluated:
    """The rows at a point, what is minimised, the summary; and, where it is not above the limit, the Jacobian of the rows."""
    function = cached.use()

    def rows(vector: Float[Array, " size"]) -> Any:
        terms = function(FlatParams(vector, layout).params, st, arrays)
        location = {name: one.location for name, one in terms.predicted.items()}
        spread = {name: one.spread for name, one in terms.predicted.items()}
        summary = Summary(terms.log_likelihood, terms.log_prior, terms.penalty, terms.chi_square, location, spread)
        return jnp.concatenate(list(terms.rows.values())), summary

    return evaluated(rows, point, limit, lambda _, summary: summary.objective)
