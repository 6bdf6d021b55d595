"""Many searches: apart, on as many workers as there are; or side by side in the lanes of a batch."""

import collections
import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
from jaxtyping import Array, Float

from .._bounds import Box
from ..problem import Arrays, Problem
from ._batch import Batch
from ._search import Budget, Search, Task, spent

# So many lanes of a batch cost the least each on a processor; more wait longer for the slowest.
_WIDTH = 32

# On a processor, what so few searches would gain by a batch is less than what its program takes to compile.
_FEW = 400

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
    """How many lanes a batch has, or 1 for none. Solves of stiff equations differ too much in their steps to wait for one another."""
    few = searches < _FEW and jax.default_backend() == "cpu"
    return 1 if few or getattr(problem.model, "stiff", False) else _WIDTH


def run_searches(
    searches: Sequence[Searches[_Result]],
    width: int,
    ended: Callable[[int, _Result], None],
    executor: concurrent.futures.Executor | None = None,
) -> None:
    """Runs them all, each on a worker of the executor (threads, one for each core), or, with a `width`, in so many lanes of one batch;
    `ended(i, result)` is called as each ends. State and problem, and the shapes of data, are those of the first."""
    waiting = collections.deque(_Run(i, one) for i, one in enumerate(searches))
    if not waiting:
        return
    if width > 1:
        # On one thread: two programs at a time that decompose matrices of batches wait for one another forever (XLA's pool on processors).
        _side_by_side(waiting, width, ended)
        return
    job, stop, workers = waiting[0].job, threading.Event(), min(os.cpu_count() or 1, len(searches))
    job.task.look(job.vector, job.box, job.arrays)  # compiles, which every worker would do for itself
    own = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        running = [(executor or own).submit(_apart, waiting, ended, stop) for _ in range(workers)]
        for one in concurrent.futures.as_completed(running):
            one.result()
    finally:
        stop.set()
        own.shutdown(cancel_futures=True)


class _Run:
    """A generator of jobs, at one of them."""

    def __init__(self, index: int, searches: Searches[Any]) -> None:
        self.index, self._searches = index, searches
        self.begin(next(searches))

    def begin(self, job: Job) -> None:
        self.job, self.started = job, time.monotonic()

    def goes_on(self, found: Search, ended: Callable[[int, Any], None]) -> bool:
        """After a job: whether there is another; if not, the result is handed on."""
        try:
            self.begin(self._searches.send(found))
        except StopIteration as end:
            ended(self.index, end.value)
            return False
        return True


_Waiting = collections.deque[_Run]
_Ended = Callable[[int, Any], None]


def _next(waiting: _Waiting) -> _Run | None:
    try:
        return waiting.popleft()
    except IndexError:  # none, or another worker was faster
        return None


def _apart(waiting: _Waiting, ended: _Ended, stop: threading.Event) -> None:
    """One search after another, until there are none."""

    def watch(steps: int, objective: float) -> None:
        if stop.is_set():
            raise KeyboardInterrupt

    while (run := _next(waiting)) is not None:
        while True:
            job = run.job
            found = job.task.run(job.vector, job.box, job.arrays, job.budget, watch)
            if stop.is_set():
                return
            if not run.goes_on(found, ended):
                break


def _side_by_side(waiting: _Waiting, width: int, ended: _Ended) -> None:
    """A step in every lane at a time; one that has ended makes room for the next."""
    runs: list[_Run | None] = [None] * width
    batch: Batch | None = None
    while True:
        for i in range(width):
            if runs[i] is None and (run := _next(waiting)) is not None:
                if batch is None:
                    batch = Batch(run.job.task, run.job.vector, run.job.arrays, width)
                    batch.step()  # compiles, which is no time of a search
                runs[i] = run
                run.begin(run.job)  # whose time begins now, not when it was put in the queue
                batch.begin(i, run.job.task, run.job.vector, run.job.box, run.job.arrays)
        if batch is None or not any(runs):
            return
        batch.step()
        for i, run in enumerate(runs):
            if run is None or (reason := spent(batch.standing(i), run.job.budget, run.started)) is None:
                continue
            if run.goes_on(batch.found(i, reason), ended):
                job = run.job
                batch.begin(i, job.task, job.vector, job.box, job.arrays)
            else:
                runs[i] = None
