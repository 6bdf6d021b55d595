"""The search for a minimum: a compiled loop of some steps at a time, driven from outside, which looks at the clock in between."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float, Int, PyTree

from ...core import CachedFunction, State, cached_function, differentiation_mode, failure_mode, number_of
from ...flatten import FlatParams, Layout
from ...flatten.maps import Real, ScaledMap
from ...solvers import LevenbergMarquardt
from .._bounds import Box
from .._coordinates import Coordinates, part_of
from ..problem import Arrays, Problem
from ._checkpoint import Checkpoint

# So many steps are taken between two looks at the clock.
_CHUNK = 10


@dataclass(frozen=True)
class Budget:
    """How long a fit may take: `seconds` of time, `steps` of the solver; without a number as long as it takes (2000 steps)."""

    seconds: float | None = None
    steps: int = 2000

    def __post_init__(self) -> None:
        if (self.seconds is not None and not self.seconds > 0) or not self.steps > 0:
            raise ValueError(f"a budget is above 0, got {self}")


Given = tuple[State, Arrays, Box, Float[Array, " size"]]
"""What a search is given beside the point: the state, the data, the bounds, and what a large change of each coordinate is."""


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


class Task:
    """A problem in the coordinates of a search, with what is compiled for it: it is run from any start, within any bounds, on any data of
    the same shapes, without compiling again."""

    def __init__(self, problem: Problem, coordinates: Coordinates, st: State) -> None:
        self.problem, self.st = problem, st
        self.layout = coordinates.start.layout
        self.sizes = _sizes(coordinates)
        self.solver = LevenbergMarquardt()

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
        started, reason, num_steps = time.monotonic(), "", 0
        with (
            cached_function((self.problem.function, self.solver)) as cached,
            differentiation_mode("forward"),
            failure_mode("nan"),
        ):
            static = (cached, self.layout)
            args = (self.st, arrays, box, self.sizes)
            point, state = vector, _begin(*static, vector, args)
            if checkpoint is not None and (kept := checkpoint.load((point, state))) is not None:
                (point, state), num_steps = kept
            done, result = state.done, state.result
            try:
                while not bool(done) and num_steps < budget.steps:
                    left = min(_CHUNK, budget.steps - num_steps)
                    point, state, done, result, taken = _advance(*static, point, state, args, jnp.asarray(left))
                    num_steps += int(taken)
                    if checkpoint is not None:
                        checkpoint.save((point, state), num_steps)
                    if watch is not None:
                        watch(int(taken), float(state.aux.objective))
                    if not bool(done) and budget.seconds is not None and time.monotonic() - started > budget.seconds:
                        reason = f"the budget of {budget.seconds:g} seconds is spent"
                        break
            except KeyboardInterrupt:
                reason = "interrupted"
        if not reason and not bool(done):
            reason = f"the budget of {budget.steps} steps is spent"
        return _found(point, state, num_steps, result, reason)

    def look(self, vector: Float[Array, " size"], box: Box, arrays: Arrays) -> tuple[float, Float[np.ndarray, " size"]]:
        """What is minimised, and its gradient, at one point: by the first step of a search, which only looks. NaN where they are not
        finite; the gradient is 0 for what a bound holds there."""
        with (
            cached_function((self.problem.function, self.solver)) as cached,
            differentiation_mode("forward"),
            failure_mode("nan"),
        ):
            args = (self.st, arrays, box, self.sizes)
            state = _begin(cached, self.layout, vector, args)
            _, state, *_ = _advance(cached, self.layout, vector, state, args, jnp.asarray(1))
        model, summary, unit = jax.tree.map(np.asarray, (state.model, state.aux, state.unit))
        if not model.rounding > 0:
            return np.nan, np.full(len(vector), np.nan)
        scaled = model.directions.T @ (model.singular_values * model.projected)
        return float(summary.objective), scaled * model.scale * model.residual_norm * unit**2


def _found(point: Float[Array, " size"], state: PyTree, num_steps: int, result: optx.RESULTS, reason: str) -> Search:
    # In NumPy: a few numbers, for which each operation of a device would cost more than all of them here.
    model, summary, unit = jax.tree.map(np.asarray, (state.model, state.aux, state.unit))
    root = model.singular_values[:, None] * model.directions * model.scale[None, :] * unit
    successful = not reason and bool(result == optx.RESULTS.successful)
    if not model.rounding > 0:  # as in every model of a point that was finite, which there was not
        summary = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), summary)
        reason = "the model, or its derivative, is not finite at the start"
    elif not successful and not reason:
        reason = _REASONS.get(int(number_of(result)), str(optx.RESULTS[result]))
    return Search(np.asarray(point), summary, np.asarray(root, np.float64), num_steps, successful, reason)


_REASONS = {
    int(
        number_of(optx.RESULTS.nonlinear_divergence)
    ): "no step improves any more, at a point that is not known to be an optimum: the "
    "objective is not smooth to rounding (solvers inside the model with looser tolerances), or parameters run away",
}


def _sizes(coordinates: Coordinates) -> Float[Array, " size"]:
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
    return jnp.asarray(sizes, layout.dtype)


def _function(cached: CachedFunction, layout: Layout) -> Callable[[Any, Any], Any]:
    """The rows of a point, and the summary, as solvers want them."""
    function = cached.use()[0]

    def rows(vector: Float[Array, " size"], args: Given) -> Any:
        st, arrays, *_ = args
        terms = function(FlatParams(vector, layout).params, st, arrays)
        location = {name: one.location for name, one in terms.predicted.items()}
        spread = {name: one.spread for name, one in terms.predicted.items()}
        summary = Summary(terms.log_likelihood, terms.log_prior, terms.penalty, terms.chi_square, location, spread)
        return tuple(terms.rows.values()), summary

    return rows


def _options(args: Given) -> dict[str, Any]:
    _, _, box, sizes = args
    objective = lambda summary: summary.objective  # noqa: E731
    return {"autodiff_mode": "fwd", "lower": box.lower, "upper": box.upper, "sizes": sizes, "objective": objective}


@eqx.filter_jit
def _begin(cached: CachedFunction, layout: Layout, vector: Float[Array, " size"], args: Given) -> Any:
    solver, rows = cached.use()[1], _function(cached, layout)
    residual, summary = jax.eval_shape(rows, vector, args)
    return solver.init(rows, vector, args, _options(args), residual, summary, frozenset())


@eqx.filter_jit
def _advance(
    cached: CachedFunction,
    layout: Layout,
    point: Float[Array, " size"],
    state: PyTree,
    args: Given,
    steps: Int[Array, ""],
) -> Any:
    """Some steps more, or fewer if the search ends before."""
    solver, rows, options = cached.use()[1], _function(cached, layout), _options(args)

    def step(carry: tuple[PyTree, ...]) -> Any:
        point, state, _, _, taken = carry
        point, state, _ = solver.step(rows, point, args, options, state, frozenset())
        done, result = solver.terminate(rows, point, args, options, state, frozenset())
        return point, state, done, result, taken + 1

    begin = (point, state, jnp.asarray(False), optx.RESULTS.successful, jnp.zeros_like(steps))
    return jax.lax.while_loop(lambda carry: ~carry[2] & (carry[4] < steps), step, begin)
