"""Fits from many starts."""

import concurrent.futures
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import PyTree

from ..._errors import ParameterError, ShapeError
from ...core import as_state
from ...flatten import FlatParams
from ...training import Progress
from ..problem import Problem
from ._box import box_of
from ._fit import start_of
from ._fitted import Fit
from ._lanes import Job, Searches, run_searches, width_of
from ._plot import figure_of
from ._search import Budget, Task


@dataclass(frozen=True, eq=False, repr=False)
class Multistart:
    """Fits from many starts: `results`, in the order of the starts, failed ones among them; `best`: the one whose objective is lowest,
    whether it converged or stalled; `num_starts`: how many there were, of which Ctrl-C may have left some out. `print` it for a table."""

    results: tuple[Fit, ...]
    num_starts: int

    @property
    def best(self) -> Fit:
        """**Errors:** `ParameterError` if no start had a finite result."""
        ordered = self.ordered
        if not ordered:
            raise ParameterError(f"none of {len(self.results)} starts has a finite result; {self.results[0].reason}")
        return ordered[0]

    @property
    def ordered(self) -> list[Fit]:
        """Those that did not fail, best first."""
        return sorted((one for one in self.results if one.outcome != "failed"), key=lambda one: one.objective)

    def clusters(self, tolerance: float = 0.1) -> list[list[Fit]]:
        """Fits with the same objective, to a tolerance (in units of the log-likelihood), best first: what many starts agree on."""
        found: list[list[Fit]] = []
        for one in self.ordered:
            if found and one.objective - found[-1][0].objective <= tolerance:
                found[-1].append(one)
            else:
                found.append([one])
        return found

    def __repr__(self) -> str:
        counts = {kind: sum(one.outcome == kind for one in self.results) for kind in ("converged", "stalled", "failed")}
        lines = [
            f"{len(self.results)} of {self.num_starts} starts: "
            + ", ".join(f"{number} {kind}" for kind, number in counts.items())
        ]
        lines += [f"  {'objective':>14}  {'above the best':>14}  {'starts':>6}"]
        clusters = self.clusters()
        for cluster in clusters[:10]:
            best = cluster[0].objective
            lines.append(f"  {best:14.6f}  {best - clusters[0][0].objective:14.4g}  {len(cluster):6d}")
        if len(clusters) > 10:
            lines.append(f"  and {len(clusters) - 10} more values")
        return "\n".join(lines)

    def plot(self, kind: str = "waterfall") -> Any:
        """A figure of matplotlib: the objectives of all starts, sorted, above the best."""
        if kind != "waterfall":
            raise ValueError(f'many starts are drawn as "waterfall", got {kind!r}')
        figure, (axis,) = figure_of(1)
        ordered = self.ordered
        above = np.array([one.objective for one in ordered]) - ordered[0].objective
        colors = ["C0" if one.outcome == "converged" else "C1" for one in ordered]
        axis.scatter(np.arange(1, len(above) + 1), 1 + np.maximum(above, 0.0), c=colors, s=16)
        axis.set_yscale("log")
        axis.set(xlabel="start, sorted", ylabel="1 + objective above the best", title="blue converged, orange stalled")
        return figure


def multistart(
    problem: Problem,
    starts: FlatParams,
    st: PyTree = None,
    *,
    executor: concurrent.futures.Executor | None = None,
    budget: Budget | None = None,
    progress: bool = False,
) -> Multistart:
    """A fit from each of many starts; see `fit`. Each is the same, to rounding, as if it were alone: many starts of what is not stiff take
    their steps side by side, by one evaluation of a batch, where one that has ended makes room for the next; stiff ones are apart.

    **Arguments:** `problem`; `starts`: a batch of parameters, from `est.sample_starts(key, problem, n)`; `st`: the state; `executor`: any
    of `concurrent.futures` with threads, whose workers share the starts, each apart (default: as many threads as there are cores, or the
    lanes of a batch); `budget`: of each fit; `progress`: whether a bar shows how many are done (needs tqdm).

    **Returns:** a `Multistart`, of the starts that were done if Ctrl-C ends it. A start where the model has no finite result is marked as
    failed, and the others go on.
    """
    if not isinstance(starts, FlatParams) or starts.vector.ndim != 2:
        raise ShapeError(
            "multistart takes a batch of parameter vectors; write starts = est.sample_starts(key, problem, n)"
        )
    state, budget = problem.state if st is None else as_state(st), budget or Budget()
    coordinates = [start_of(problem, starts.replace(row)) for row in starts.vector]
    tasks = [Task(problem, one, state) for one in coordinates]
    arrays, found = problem.arrays, dict[int, Fit]()

    def search(i: int) -> Searches[Fit]:
        job = Job(tasks[i], coordinates[i].start.vector, box_of(coordinates[i]), arrays, budget)
        return Fit(problem, coordinates[i], tasks[i], (yield job))

    with Progress(progress, "starts", len(tasks), of="objective") as bar:

        def ended(i: int, fit: Fit) -> None:
            found[i] = fit
            bar.update(1, fit.objective)

        try:
            searches = [search(i) for i in range(len(tasks))]
            run_searches(searches, 1 if executor else width_of(problem, len(tasks)), ended, executor)
        except KeyboardInterrupt:
            if not found:
                raise
    return Multistart(tuple(found[i] for i in sorted(found)), len(tasks))
