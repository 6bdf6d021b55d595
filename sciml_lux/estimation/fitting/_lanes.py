"""Many searches side by side: one evaluation of a batch takes a step in each, and one that has ended makes room for the next."""

import collections
import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from ...solvers.least_squares import Evaluated
from .._bounds import Box
from ..problem import Arrays, Problem
from ._search import Budget, Search, Task, evaluate, evaluate_lanes, found_by, spent

# So many lanes of a batch cost the least each on a processor; more wait longer for the slowest.
_WIDTH = 16

# So few searches are done before the program of a batch is compiled.
_FEW = 64

_Result = TypeVar("_Result")


class Job(NamedTuple):
    """One search; see `Task.run`."""

    task: Task
    vector: Float[Array, " size"]
    box: Box
    arrays: Arrays
    budget: Budget


Searches = Generator[Job, Search, _Result]
"""Yields one job after another, is sent what each found, and returns what all of them amount to."""


def width_of(problem: Problem, searches: int) -> int:
    """How many lanes a batch has. Solves of stiff equations differ too much in their steps to wait for one another."""
    return 1 if searches < _FEW or getattr(problem.model, "stiff", False) else _WIDTH


def run_searches(
    searches: Sequence[Searches[_Result]],
    width: int,
    ended: Callable[[int, _Result], None],
    executor: concurrent.futures.Executor | None = None,
) -> None:
    """Runs them all, in batches of `width` on each of the workers of the executor (threads, one for each core); `ended(i, result)` is
    called as each ends. What they are given, but for vectors, boxes and data of equal shapes, is that of the first."""
    waiting = collections.deque(_Lane(i, one) for i, one in enumerate(searches))
    if not waiting:
        return
    _evaluated([waiting[0]], width)  # compiles, which every worker would do for itself
    workers, stop = min(os.cpu_count() or 1, -(-len(searches) // width)), threading.Event()
    own = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        running = [(executor or own).submit(_drain, waiting, width, ended, stop) for _ in range(workers)]
        for one in concurrent.futures.as_completed(running):
            one.result()
    finally:
        stop.set()
        own.shutdown(cancel_futures=True)


class _Lane:
    """A generator of jobs, and the search that it is at."""

    def __init__(self, index: int, searches: Searches[Any]) -> None:
        self.index, self._searches = index, searches
        self._begin(next(searches))

    def _begin(self, job: Job) -> None:
        self.job, self.descent, self._started = job, job.task.descent(job.vector, job.box), time.monotonic()

    def told(self, found: Evaluated) -> bool:
        """Takes a step. Returns whether there is another."""
        self.descent.told(found)
        reason = spent(self.descent, self.job.budget, self._started)
        if reason is None:
            return True
        aux = self.descent.aux
        self.descent.aux = aux() if callable(aux) else aux
        try:
            self._begin(self._searches.send(found_by(self.descent, reason)))
        except StopIteration as end:
            self.result = end.value
            return False
        return True


def _drain(
    waiting: collections.deque[_Lane], width: int, ended: Callable[[int, Any], None], stop: threading.Event
) -> None:
    """Takes searches from the queue until there are none."""
    lanes: list[_Lane] = []
    while not stop.is_set():
        while len(lanes) < width and waiting:
            try:
                lanes.append(waiting.popleft())
            except IndexError:  # another worker was faster
                break
        if not lanes:
            return
        going = [lane.told(found) for lane, found in zip(lanes, _evaluated(lanes, width), strict=True)]
        for lane, goes_on in zip(lanes, going, strict=True):
            if not goes_on:
                ended(lane.index, lane.result)
        lanes = [lane for lane, goes_on in zip(lanes, going, strict=True) if goes_on]


def _evaluated(lanes: Sequence[_Lane], width: int) -> list[Evaluated]:
    """What each lane asks for, by one call."""
    task, arrays = lanes[0].job.task, [lane.job.arrays for lane in lanes]
    asked = [lane.descent.asks() for lane in lanes]
    with task.compiled() as cached:
        if width == 1:
            return [evaluate(cached, task.layout, *asked[0], task.st, arrays[0])]
        idle = [0] * (width - len(lanes))  # lanes without a search do what the first does
        points, limits = (np.stack([*of, *(of[i] for i in idle)]) for of in zip(*asked, strict=True))
        shared = all(one is arrays[0] for one in arrays)
        data = arrays[0] if shared else jax.tree.map(lambda *own: np.stack([*own, *(own[i] for i in idle)]), *arrays)
        found = evaluate_lanes(cached, task.layout, points, limits, task.st, data, shared)
    aux, *rest = found.aux, *(np.asarray(leaf) for leaf in found[:-1])
    return [Evaluated(*(leaf[i] for leaf in rest), aux=_Row(aux, i)) for i in range(len(lanes))]


class _Row:
    """One row of what a batch returned, to be looked up if it is wanted."""

    def __init__(self, tree: PyTree, index: int) -> None:
        self._tree, self._index = tree, index

    def __call__(self) -> PyTree:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[self._index], self._tree)
