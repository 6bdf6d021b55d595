"""Running the stages of a fit: compiled chunks of steps, and what has been reached whenever it ends, and however."""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax import lax

from ..core import State, as_state, failure_mode
from ..flatten import FlatParams
from ._batches import STREAMED, Batches
from ._job import Best
from ._outcome import explain_failures, explain_no_progress, explain_no_step, explain_rise, seems_to_have_risen
from ._progress import Progress
from ._result import BestPoint, Fitted

_LONGEST_CHUNK = 1024  # steps in one dispatch; the length of the buffer of losses
_CHUNK_SECONDS = 0.2  # how often the host looks: for the progress bar, and to hear an interrupt


class Stage(NamedTuple):
    """What one stage came to. `value`: the loss at `ps`, NaN if it is not known; `best`: None for an ensemble."""

    ps: FlatParams
    st: State
    losses: list[np.ndarray]
    stats: list[Any]
    message: str = ""
    value: float = float("nan")
    best: Best | None = None

    @property
    def steps(self) -> int:
        return sum(map(len, self.losses))


def run_stages(
    stages: list[tuple[Any, int | None]],
    ps: FlatParams,
    st: Any,
    batches: Batches,
    max_failures: int,
    progress: bool,
) -> Fitted:
    """Runs the steppers of all stages, one after the other, until one of them stops.

    Whatever is raised on the way, an interrupt by the user among it, gets an attribute `fitted`: what had been reached.
    """
    history: list[Stage] = []
    running = _Running()
    try:
        # Typed like what the compiled loop returns, and ours: its buffers are given up to the loop.
        ps, st = _own(ps), as_state(st)
        start, running.stage = ps, Stage(ps, st, [], [])
        st = _own(_sized(stages, ps, st, batches.first))
        with failure_mode("nan"):
            for i, (stepper, stage_steps) in enumerate(stages):
                title = "fit" if len(stages) == 1 else f"fit {i + 1}/{len(stages)}"
                running.stage = Stage(ps, st, [], [])
                with Progress(progress, title, stage_steps) as bar:
                    done = _run_stage(stepper, running, batches, stage_steps, max_failures, bar)
                history.append(done)
                running.earlier += done.steps
                ps, st = done.ps, done.st
                if done.message:
                    break
            return _fitted(history, _rise(history, stages[-1][0], start, batches))
    except BaseException as error:
        if running.stage is not None and getattr(error, "fitted", None) is None:
            reached = [*history, running.stage][: len(history) + 1]
            result = optimistix.RESULTS.nonlinear_max_steps_reached  # the nearest there is to having been ended early
            error.fitted = _fitted(reached, _interrupted(error, reached), result)  # type: ignore[attr-defined]
        raise


class _Running:
    """What has been reached in the stage that is running: what is left if it raises."""

    stage: Stage | None = None
    earlier: int = 0  # steps of the stages before


def _interrupted(error: BaseException, history: list[Stage]) -> str:
    return f"the fit was ended by {type(error).__name__} after {sum(stage.steps for stage in history)} steps"


def _sized(stages: Any, ps: FlatParams, st: State, batch: Any) -> State:
    """`st` as a loss returns it, where it holds empty arrays: what is known of each sample before there are any."""
    if all(jnp.size(leaf) for leaf in jax.tree.leaves(st)):
        return st
    output = jax.eval_shape(stages[0][0].loss, ps, st, batch)
    new = as_state(output[1]) if isinstance(output, tuple) and len(output) > 1 else st
    if jax.tree.structure(new) != jax.tree.structure(st):
        return st  # which the loss is told of in its own words
    return jax.tree.map(lambda old, new: old if jnp.size(old) else jnp.zeros(new.shape, new.dtype), st, new)


def _own(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True, dtype=jnp.asarray(leaf).dtype), tree)


def _run_stage(
    stepper: Any, running: _Running, batches: Batches, steps: int | None, max_failures: int, bar: Progress
) -> Stage:
    assert running.stage is not None
    compiled = _compiled(stepper, batches.streamed)
    carry = compiled.init(running.stage.ps, running.stage.st, batches.first)
    remaining = _LONGEST_CHUNK**3 if steps is None else steps
    chunk, ended, data, count = 1, False, None, 0
    while remaining > 0 and not ended:
        following, wanted = batches.take(min(chunk, remaining), again=steps is not None)
        if not wanted:
            break
        data, began = following, time.perf_counter()
        carry, report = compiled.run(carry, data, wanted, max_failures)
        count = int(report.count)
        seconds = time.perf_counter() - began
        running.stage = _after(running.stage, report, count, compiled.reached(carry))
        remaining, ended = remaining - count, bool(report.ended)
        # The best of an ensemble; NaN if the step was not taken.
        bar.update(count, float(np.fmin.reduce(running.stage.losses[-1][-1], axis=None)))
        chunk = _next_chunk(chunk, seconds, batches.streamed)
    stage = running.stage
    if not hasattr(stepper, "at") or not stage.losses:  # else what was reached last is the end
        ps, st = compiled.finish(carry, batches.first)
        stage = stage._replace(ps=ps, st=st)
    if int(carry.failures) >= max_failures:
        return stage._replace(message=explain_failures(carry, stage.ps, batches, stage.steps, max_failures))
    if stage.steps and np.isnan(np.concatenate(stage.losses)).all():
        return stage._replace(message=explain_no_step(carry, stage.ps, batches, stage.steps))
    if stage.best is None:
        return stage
    stage = _judged(stage, stepper, compiled, carry, batches, batches.same_again(data, count))
    return stage if not running.earlier else stage._replace(message="")  # which has come somewhere before


def _after(stage: Stage, report: "_Report", count: int, reached: Any) -> Stage:
    """The stage after one more chunk of steps."""
    ps, st, best = reached
    stats = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], report.stats)
    return Stage(ps, st, [*stage.losses, np.asarray(report.losses)[:count]], [*stage.stats, stats], best=best)


def _judged(stage: Stage, stepper: Any, compiled: "_Compiled", carry: Any, batches: Batches, data: Any) -> Stage:
    """The stage with the loss at its end, which no step has evaluated yet, or without its last step if that led nowhere."""
    if not hasattr(stepper, "at"):  # a minimiser's points are its own; most have been evaluated
        best = stage.best
        assert best is not None
        if bool(jnp.array_equal(best.ps.vector, stage.ps.vector)):
            return stage._replace(value=float(best.value))
        value, okay = compiled.judge(stage.ps, carry, batches.first)
        best = best.improved(okay, stage.ps, carry.base_st, value)
        return stage._replace(value=float(value), best=best)
    # By one more step, which compiles nothing, and of which only the evaluation is used.
    after, report = compiled.run(stepper.at(carry, _own(stage.ps)), data, 1, np.iinfo(np.int32).max)
    ps, _, best = compiled.reached(after)
    value = float(np.asarray(report.losses)[0])
    if not np.isnan(value):
        return stage._replace(value=value, best=best)
    known = np.concatenate(stage.losses)
    known = known[~np.isnan(known)]
    message = explain_no_progress(stage.steps) if known.size == 1 else ""
    return stage._replace(ps=ps, value=float(known[-1]), best=best, message=message)


def _rise(history: list[Stage], stepper: Any, start: FlatParams, batches: Batches) -> str:
    """What to say if the loss has risen; empty if it has not."""
    last = history[-1]
    losses = np.concatenate([np.zeros(0), *(chunk for stage in history for chunk in stage.losses if chunk.ndim == 1)])
    if last.message or not np.isfinite(last.value) or not seems_to_have_risen(losses, last.value, batches.streamed):
        return ""
    first = float(losses[np.isfinite(losses)][0])
    if batches.streamed:  # of different data: the start must be better on the last as well
        compiled = _compiled(stepper, True)
        stacked = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], STREAMED, axis=0), batches.latest[-1])
        carry = compiled.init(start, last.st, batches.latest[-1])
        _, report = compiled.run(carry, stacked, 1, np.iinfo(np.int32).max)
        first = float(np.asarray(report.losses)[0])
    if not last.value > first:
        return ""
    best = _best(history)
    assert best is not None
    return explain_rise(first, last.value, best.value, best.step)


def _next_chunk(chunk: int, seconds: float, streamed: bool) -> int:
    """How many steps fill the time between two looks; grown in stages, since the first chunk's time includes compiling."""
    longest = STREAMED if streamed else _LONGEST_CHUNK
    fitting = int(chunk * _CHUNK_SECONDS / max(seconds, 1e-9))
    return max(1, min(longest, 16 * chunk, fitting if chunk > 1 else 16))


class _Report(NamedTuple):
    losses: Any
    stats: Any
    count: Any
    ended: Any


class _Compiled(NamedTuple):
    init: Any
    run: Any
    finish: Any
    reached: Any
    judge: Any


@functools.lru_cache(maxsize=8)
def _compiled(stepper: Any, streamed: bool) -> _Compiled:
    """The compiled programs of a stepper. Kept, so that fitting the same loss with the same optimiser again compiles nothing."""

    def run(carry: Any, data: Any, wanted: Any, max_failures: Any) -> tuple[Any, _Report]:
        @jax.jit  # so that asking for its shapes, below, and running it in the loop share one trace
        def one(carry: Any, i: Any) -> tuple[Any, Any, Any]:
            batch = jax.tree.map(lambda leaf: leaf[i], data) if streamed else data
            carry, evaluation, okay = stepper.step(carry, batch)
            return carry, jnp.where(okay, evaluation.value, jnp.nan), evaluation.stats

        def more(loop: tuple[Any, _Report]) -> Any:
            return (loop[1].count < wanted) & ~loop[1].ended

        def body(loop: tuple[Any, _Report]) -> tuple[Any, _Report]:
            carry, report = loop
            carry, value, stats = one(carry, report.count)
            losses = report.losses.at[report.count].set(value)
            rows = jax.tree.map(lambda buffer, row: buffer.at[report.count].set(row), report.stats, stats)
            ended = (carry.failures >= max_failures) | stepper.is_done(carry)
            return carry, _Report(losses, rows, report.count + 1, ended)

        length = STREAMED if streamed else _LONGEST_CHUNK
        _, value, stats = jax.eval_shape(one, carry, jnp.zeros((), jnp.int32))
        buffer = functools.partial(jax.tree.map, lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype))
        empty = _Report(buffer(value), buffer(stats), jnp.zeros((), jnp.int32), jnp.asarray(False))
        return lax.while_loop(more, body, (carry, empty))

    def reached(carry: Any) -> tuple[FlatParams, State, Best | None]:
        """Copies, which outlive the carry: a step that raises has already taken it."""
        return _own(stepper.reached(carry))

    return _Compiled(
        jax.jit(stepper.init),
        jax.jit(run, donate_argnums=0),
        jax.jit(stepper.finish),
        jax.jit(reached),
        jax.jit(stepper.judge) if hasattr(stepper, "judge") else None,
    )


def _best(history: list[Stage]) -> BestPoint | None:
    """The best of all stages, with its step among those of all."""
    found: BestPoint | None = None
    before = 0
    for stage in history:
        best = stage.best
        if best is not None and (found is None or not float(best.value) >= found.value):
            found = BestPoint(best.ps, best.st, float(best.value), before + int(best.step))
        before += stage.steps
    return found


def _fitted(
    history: list[Stage], message: str, result: optimistix.RESULTS = optimistix.RESULTS.nonlinear_divergence
) -> Fitted:
    last = history[-1]
    losses = [np.asarray(chunk, np.float64) for stage in history for chunk in stage.losses]
    chunks = [chunk for stage in history for chunk in stage.stats]
    stats = (
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *chunks) if chunks and jax.tree.leaves(chunks[0]) else None
    )
    message = last.message or message
    joined = np.concatenate(losses) if losses else np.zeros(0)
    return Fitted(
        last.ps,
        last.st,
        joined,
        stats,
        int(np.isnan(joined).sum()),
        result if message else optimistix.RESULTS.successful,
        message,
        last.value,
        _best(history),
    )
