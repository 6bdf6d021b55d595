"""Searches in the lanes of a batch: one compiled program evaluates all and takes their steps."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...core import CachedFunction, State
from ...flatten import Layout
from ...solvers.least_squares import Bounds, Candidate, Descent, Numbers, Progress, advance, begin
from .._bounds import Box
from ..problem import Arrays
from ._search import SOLVER, Search, Summary, Task, evaluate, found_by


class Lanes(NamedTuple):
    """What differs between lanes, with an axis for them: where each search stands, what is summed there, its bounds, and what a large
    change of each coordinate is."""

    progress: Progress
    summary: Summary
    box: Box
    sizes: Float[Numbers, "lanes size"]


class Standing(NamedTuple):
    """How far the search of one lane is."""

    done: bool
    num_steps: int


class Batch:
    """`width` lanes; those that no search was begun in wait at `vector`, at the cost of one there."""

    def __init__(self, task: Task, vector: Float[Array, " size"], arrays: Arrays, width: int) -> None:
        self._task, self._arrays, self._own = task, arrays, list[Arrays | None]([None] * width)
        point = np.array(vector)
        with task.compiled() as cached:
            found = jax.eval_shape(
                lambda: evaluate(cached, task.layout, point, np.asarray(np.inf, point.dtype), task.st, arrays)
            )
        self._num_data = found.residual.size
        summary = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), found.aux)
        self._lanes = _stacked([self._lane(task, point, Box(point, point), summary)] * width)
        self._summary, self._steps = summary, [0] * width
        self._changed: dict[int, Lanes] = {}

    def _lane(self, task: Task, vector: Numbers, box: Box, summary: Any) -> Lanes:
        lower, upper = np.array(box.lower), np.array(box.upper)
        return Lanes(
            begin(np.array(vector), self._num_data, Bounds(lower, upper)), summary, Box(lower, upper), task.sizes
        )

    def begin(self, lane: int, task: Task, vector: Float[Array, " size"], box: Box, arrays: Arrays) -> None:
        """Begins a search, on data of the same shapes."""
        self._changed[lane] = self._lane(task, vector, box, self._summary)
        self._own[lane], self._steps[lane] = arrays, 0

    def step(self) -> None:
        """Takes a step in every lane."""
        if self._changed:
            self._lanes = jax.tree.map(_with_rows(self._changed), self._lanes, *self._changed.values())
            self._changed = {}
        own = [self._arrays if one is None else one for one in self._own]
        shared = all(one is own[0] for one in own)
        arrays = own[0] if shared else _stacked(own)
        with self._task.compiled() as cached:
            self._lanes = _step(cached, self._task.layout, self._lanes, self._task.st, arrays, shared)
        self._done = np.asarray(self._lanes.progress.done)
        self._steps = [steps + 1 for steps in self._steps]

    def standing(self, lane: int) -> Standing:
        return Standing(bool(self._done[lane]), self._steps[lane])

    def found(self, lane: int, reason: str) -> Search:
        """What the search of one lane found; see `found_by`."""
        progress, summary = jax.tree.map(
            lambda leaf: np.asarray(leaf)[lane], (self._lanes.progress, self._lanes.summary)
        )
        descent = Descent(progress.point, SOLVER.rules(None))
        descent.resume(progress, summary, self._steps[lane])
        return found_by(descent, reason)


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _with_rows(changed: dict[int, Lanes]) -> Any:
    """Replaces the rows of these lanes, on the host, where a row costs nothing."""

    def replaced(leaf: Numbers, *rows: Numbers) -> np.ndarray:
        whole = np.array(leaf)
        for lane, row in zip(changed, rows, strict=True):
            whole[lane] = row
        return whole

    return replaced


@eqx.filter_jit
def _step(cached: CachedFunction, layout: Layout, lanes: Lanes, st: State, arrays: Arrays, shared: bool) -> Lanes:
    def of_one(lane: Lanes, own: Arrays) -> Lanes:
        progress, summary, box, sizes = lane
        everything = jnp.full((), jnp.inf, layout.dtype)  # of a batch the Jacobian is computed for all, or for none
        found = evaluate(cached, layout, progress.trial.point, everything, st, own)
        candidate = Candidate(found.residual, found.objective, lambda: found.jacobian, found.differentiated)
        rules = SOLVER.rules(Bounds(box.lower, box.upper), sizes, has_objective=True)
        progress, accepted = advance(progress, candidate, rules)
        summary = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), found.aux, summary)
        return Lanes(progress, summary, box, sizes)

    return jax.vmap(of_one, in_axes=(0, None if shared else 0))(lanes, arrays)
