"""`fit`: minimise a loss over one parameter vector, many steps to a dispatch."""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
from jax import lax

from ..core import State, as_state, failure_mode
from ..flatten import FlatParams, LayerError, is_compiling, is_traced
from ._batches import STREAMED, Batches
from ._gradient_stepper import GradientStepper
from ._loss import Loss, solves
from ._minimiser_stepper import MinimiserStepper
from ._progress import Progress
from ._result import FitError, Fitted

_LONGEST_CHUNK = 1024  # steps in one dispatch; the length of the buffer of losses
_CHUNK_SECONDS = 0.2  # how often the host looks: for the progress bar, and to hear an interrupt


def fit(
    loss: Loss,
    ps: FlatParams,
    st: Any,
    optimizer: Any,
    *,
    steps: int | None = None,
    data: Any = None,
    progress: bool = False,
    max_failures: int = 10,
    throw: bool = True,
) -> Fitted:
    """Minimises `loss` over the parameter vector.

    Steps run in compiled chunks, several hundred to a dispatch. A step whose loss or gradient is not finite, or in which a solve failed,
    is not taken: the parameters move halfway back to the last good ones and the optimiser's state stays as it was.

    **Arguments:**

    - `loss`: `loss(ps, st, batch)` returns `(value, st)` or `(value, st, stats)`, with a scalar `value`. Within a fit, adapters whose solve
      fails return NaN and say why in their state, rather than raise.
    - `ps`, `st`: from `lux.setup`.
    - `optimizer`: an optax transformation (`optax.adam(1e-2)`, `optax.lbfgs()`), an optimistix minimiser
      (`optimistix.BFGS(rtol, atol)`), or a list of stages, `[(optax.adam(1e-2), 500), (optimistix.BFGS(...), 200)]`.
      A minimiser sees a function that does not change: random keys in the state are held while it runs.
    - `steps`: how many steps; each stage of a list names its own. An iterator of data may end a fit earlier, and so may
      a minimiser that has converged.
    - `data`: `None`, a tree of arrays given whole to every step, or an iterator of batches, one a step.
    - `progress`: whether to draw a bar with loss and rate (needs the extra `progress`).
    - `max_failures`: how many steps in a row may fail before the fit stops.
    - `throw`: whether a fit that stops so raises.

    **Returns:** `Fitted`, with `ps`, `st`, `losses`.

    **Errors:** `FitError` if the fit stopped; it says at which step and why, and `error.fitted` holds what was reached. `LayerError` for a
    loss that returns something else, an optimiser that is neither, or a missing number of steps.
    """
    if not isinstance(ps, FlatParams):
        raise LayerError(f"fit takes the FlatParams that lux.setup returned, got {type(ps).__name__}")
    if is_compiling() or is_traced(ps.vector):
        raise LayerError(
            "fit runs programs of its own and looks at their results; call it outside jax.jit, jax.grad and jax.vmap"
        )
    if max_failures < 1:
        raise LayerError(f"max_failures is 1 or more, got {max_failures}")
    batches = Batches(data)
    fitted = run_stages(stages(loss, optimizer, steps, batches), ps, st, batches, max_failures, progress)
    if fitted.message and throw:
        raise FitError(fitted.message, fitted)
    return fitted


def stages(loss: Loss, optimizer: Any, steps: int | None, batches: Batches) -> list[tuple[Any, int | None]]:
    """A stepper and a number of steps for each stage, all of them checked before the first one runs."""
    return [_stage(loss, one, number, batches) for one, number in _stages(optimizer, steps)]


def run_stages(
    stages: list[tuple[Any, int | None]],
    ps: FlatParams,
    st: Any,
    batches: Batches,
    max_failures: int,
    progress: bool,
) -> Fitted:
    """Runs the steppers of all stages, one after the other, until one of them stops."""
    # Typed like what the compiled loop returns, and ours: its buffers are given up to the loop.
    ps, st = _own(ps), _own(_sized(stages, ps, as_state(st), batches.first))
    history: list[_StageRun] = []
    with failure_mode("nan"):
        for i, (stepper, stage_steps) in enumerate(stages):
            title = "fit" if len(stages) == 1 else f"fit {i + 1}/{len(stages)}"
            with Progress(progress, title, stage_steps) as bar:
                history.append(_run_stage(stepper, ps, st, batches, stage_steps, max_failures, bar))
            ps, st = history[-1].ps, history[-1].st
            if history[-1].message:
                break
    return _fitted(history)


class _StageRun(NamedTuple):
    ps: FlatParams
    st: State
    losses: list[np.ndarray]
    stats: list[Any]
    num_rejected: int
    message: str


def _stages(optimizer: Any, steps: int | None) -> list[tuple[Any, int | None]]:
    if isinstance(optimizer, list):
        bad = [stage for stage in optimizer if type(stage) is not tuple or len(stage) != 2]  # optax's are tuples, too
        if bad or not optimizer or steps is not None:
            raise LayerError(
                "stages are pairs with their own steps: fit(..., [(optax.adam(1e-2), 500), (optax.lbfgs(), 100)]), without steps="
            )
        return list(optimizer)
    return [(optimizer, steps)]


def _stage(loss: Loss, optimizer: Any, steps: Any, batches: Batches) -> tuple[Any, int | None]:
    """The stepper of a stage, and its number of steps, after the checks that need nothing to have run."""
    if not isinstance(optimizer, optimistix.AbstractMinimiser | optax.GradientTransformation):
        raise LayerError(
            f"fit takes an optax transformation such as optax.adam(1e-2), an optimistix minimiser, or a list of stages; got {optimizer!r}"
        )
    if steps is None and not batches.streamed:
        raise LayerError("fit needs to know when to stop: pass steps=, or data= as an iterator that ends")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 0):
        raise LayerError(f"steps is a whole number, 0 or more, got {steps!r}")
    steps = None if steps is None else int(steps)
    if isinstance(optimizer, optax.GradientTransformation):
        return GradientStepper(loss, optimizer), steps
    if batches.streamed:
        raise LayerError(
            "a minimiser needs the same data at every step, and got an iterator; pass all of it as one tree of arrays"
        )
    return MinimiserStepper(loss, optimizer), steps


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
    stepper: Any, ps: FlatParams, st: State, batches: Batches, steps: int | None, max_failures: int, bar: Progress
) -> _StageRun:
    compiled = _compiled(stepper, batches.streamed)
    carry = compiled.init(ps, st, batches.first)
    remaining = _LONGEST_CHUNK**3 if steps is None else steps
    losses: list[np.ndarray] = []
    stats: list[Any] = []
    chunk, num_rejected, ended = 1, 0, False
    while remaining > 0 and not ended:
        data, wanted = batches.take(min(chunk, remaining))
        if not wanted:
            break
        start = time.perf_counter()
        carry, report = compiled.run(carry, data, wanted, max_failures)
        count = int(report.count)
        seconds = time.perf_counter() - start
        losses.append(np.asarray(report.losses)[:count])
        stats.append(jax.tree.map(lambda leaf, count=count: np.asarray(leaf)[:count], report.stats))
        num_rejected += int(np.isnan(losses[-1]).sum())
        remaining, ended = remaining - count, bool(report.ended)
        # The best of an ensemble; NaN if the step was not taken.
        bar.update(count, float(np.fmin.reduce(losses[-1][-1], axis=None)))
        chunk = _next_chunk(chunk, seconds, batches.streamed)
    ps, st = compiled.finish(carry, batches.first) if not batches.streamed else stepper.finish(carry, None)
    failed = int(carry.failures) >= max_failures
    message = _explain(carry, ps, batches, sum(map(len, losses)), max_failures) if failed else ""
    return _StageRun(ps, st, losses, stats, num_rejected, message)


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


def _compiled(stepper: Any, streamed: bool) -> _Compiled:
    """The compiled programs of a stepper. Kept, so that fitting the same loss with the same optimiser again compiles nothing."""
    try:
        hash(stepper)
    except TypeError:  # an optimistix solver that holds an array, such as a learning rate
        return _programs(stepper, streamed)
    return _kept_programs(stepper, streamed)


def _programs(stepper: Any, streamed: bool) -> _Compiled:

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

    return _Compiled(jax.jit(stepper.init), jax.jit(run, donate_argnums=0), jax.jit(stepper.finish))


_kept_programs = functools.lru_cache(maxsize=8)(_programs)


def _explain(carry: Any, ps: FlatParams, batches: Batches, step: int, max_failures: int) -> str:
    """Why the last steps were not taken, as far as can be told from outside the loss."""
    failures = {path: result for path, result in solves(carry.failed_st).items() if result._enumeration[result]}
    reasons = [
        f"the solve at {path} failed: {_of_samples(carry.failed_st, path) or result._enumeration[result].rstrip('.')}"
        for path, result in failures.items()
    ]
    with_nan = {
        f"data{jax.tree_util.keystr(path)}": None
        for batch in batches.latest
        for path, leaf in jax.tree_util.tree_leaves_with_path(batch)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) and bool(jnp.isnan(leaf).any())
    }
    reasons += [f"{path} holds NaN; leave such points out, or mask them in the loss" for path in with_nan]
    bad = [
        entry.path
        for entry in ps.layout.entries
        if not bool(jnp.isfinite(ps.vector[..., entry.offset : entry.offset + entry.size]).all())
    ]
    if bad:
        reasons.append(f"the parameters {', '.join(bad)} are not finite")
    when = "from the very first step" if step == max_failures else f"after {step} steps"
    advice = (
        "start elsewhere"
        if step == max_failures
        else "lower the learning rate, or clip the gradient with optax.clip_by_global_norm"
    )
    if any(_of_samples(carry.failed_st, path) for path in failures):
        advice = (
            "make the model inside the equilibrium contract: wrap the layers that act on z, as in lux.SpectralNorm(lux.Dense(16, 16)), or "
            "write jacobian_penalty=lux.solvers.JacobianPenalty() and add 0.1 * jnp.mean(st.solution.jacobian_penalty) to the loss; "
            'unconverged="best" goes on with what was reached'
        )
    return (
        f"the fit stopped {when}: {max_failures} steps in a row had a loss or gradient that is not finite, or a failed solve"
        f"{': ' + '; '.join(reasons) if reasons else ''}. Try to {advice}; the last good parameters are in error.fitted.ps"
    )


def _of_samples(st: State, path: str) -> str:
    """What the state says of the samples whose equilibrium was looked for, if that is what failed."""
    place = path.rpartition(".")[0]
    solution = st[place] if place else st
    if not {"converged", "residual"} <= set(solution):
        return ""
    converged, residual = np.atleast_1d(solution["converged"]), np.atleast_1d(solution["residual"])
    if converged.all():
        return ""
    largest = np.max(residual[~converged])
    return f"{(~converged).sum()} of {converged.size} samples found no equilibrium, and ended with residuals of up to {largest:.3g}"


def _fitted(history: list[_StageRun]) -> Fitted:
    losses = [np.asarray(chunk, np.float64) for run in history for chunk in run.losses]
    chunks = [chunk for run in history for chunk in run.stats]
    stats = (
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *chunks) if chunks and jax.tree.leaves(chunks[0]) else None
    )
    message = history[-1].message
    result = optimistix.RESULTS.nonlinear_divergence if message else optimistix.RESULTS.successful
    return Fitted(
        history[-1].ps,
        history[-1].st,
        np.concatenate(losses) if losses else np.zeros(0),
        stats,
        sum(run.num_rejected for run in history),
        result,
        message,
    )
