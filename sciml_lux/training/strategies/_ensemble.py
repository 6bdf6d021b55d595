"""Many starts at once: one program fits them all, and the best one is picked."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from ..._errors import FitError, LayerError, ShapeError
from ...core import State, as_state, failure_mode
from ...flatten import FlatParams, pick
from .._batches import Batches
from .._fit import stages
from .._loss import Evaluation, Loss, all_solved, evaluate
from .._result import Fitted
from .._run import run_stages


@dataclass(frozen=True)
class FittedEnsemble:
    """The outcome of a fit of many starts.

    **Attributes:** `ps`, `st`: of all members, with a leading axis; `losses`: `(steps, members)`, NaN where a step was not
    taken; `final`: `(members,)`, the loss at the end, NaN for a member that cannot be evaluated there; `best`: the member with
    the least of them, as `Fitted`.
    """

    ps: FlatParams
    st: State
    losses: np.ndarray
    final: np.ndarray
    best: Fitted

    def __repr__(self) -> str:
        finite = np.sort(self.final[np.isfinite(self.final)])
        shown = ", ".join(f"{value:.4g}" for value in finite[:5]) + (", ..." if finite.size > 5 else "")
        failed = self.final.size - finite.size
        return f"FittedEnsemble: {self.final.size} members, {failed} failed; losses {shown}; best: {self.best!r}"


def fit_ensemble(
    loss: Loss,
    ps: FlatParams,
    st: Any,
    optimizer: Any,
    *,
    steps: int | None = None,
    data: Any = None,
    judge: Any = None,
    progress: bool = False,
    max_failures: int = 10,
    throw: bool = True,
) -> FittedEnsemble:
    """Fits many parameter vectors as one program and picks the best.

        ps, st = lux.setup_batch(key, node, 16)
        ensemble = fit_ensemble(loss, ps, st, optax.adam(1e-2), steps=500, data=whole)
        ensemble.best.ps

    Each member goes as if it were alone, with an optimiser's state of its own: one that fails is held back by itself.

    **Arguments:** as for `lux.fit`, but for `ps` and `st`, which have a leading axis of members, as `lux.setup_batch` and
    `lux.flatten.stack` make it; all members are given the same data. `judge`: the data by which the best is picked (default:
    `data`; needed if that is an iterator).

    **Returns:** `FittedEnsemble`.

    **Errors:** those of `lux.fit`; `FitError` if every member stopped; `ShapeError` for parameters or a state without that axis.
    """
    if not isinstance(ps, FlatParams):
        raise LayerError(f"fit_ensemble takes the FlatParams that lux.setup_batch returned, got {type(ps).__name__}")
    if max_failures < 1:
        raise LayerError(f"max_failures is 1 or more, got {max_failures}")
    st = as_state(st)
    _check_members(ps, st)
    batches = Batches(data)
    if batches.streamed and judge is None:
        raise LayerError("data is an iterator, which does not say who is best; pass judge=, the data of one batch")
    planned = stages(loss, optimizer, steps, batches, ps)
    fitted = run_stages(
        [(_EnsembleStepper(stepper), number) for stepper, number in planned], ps, st, batches, max_failures, progress
    )
    final = _final(loss, fitted, batches.first if judge is None else judge)
    best = int(np.argmin(np.where(np.isfinite(final), final, np.inf)))
    member = jax.tree.map(lambda leaf: leaf[best], fitted.st)
    losses = fitted.losses.reshape(-1, final.size)
    rows = None if fitted.stats is None else jax.tree.map(lambda leaf: leaf[:, best], fitted.stats)
    rejected = int(np.isnan(losses[:, best]).sum())
    alone_best = Fitted(
        pick(fitted.ps, best),
        member,
        losses[:, best],
        rows,
        rejected,
        fitted.result,
        fitted.message,
        float(final[best]),
    )
    if fitted.message and throw:
        raise FitError(f"every member of the ensemble stopped; of the first: {fitted.message}", alone_best)
    return FittedEnsemble(fitted.ps, fitted.st, losses, final, alone_best)


def _check_members(ps: FlatParams, st: State) -> None:
    if ps.vector.ndim != 2 or not ps.vector.shape[0]:
        raise ShapeError(
            f"an ensemble has parameters of shape (members, size), got {ps.vector.shape}; write lux.setup_batch(key, layer, members)"
        )
    members = ps.vector.shape[:1]
    shapes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(st)}
    if not shapes <= {members}:
        raise ShapeError(
            f"the state of {members[0]} members has that leading axis in every array, got leading axes {sorted(shapes)}; "
            "lux.setup_batch makes it"
        )


def _final(loss: Loss, fitted: Fitted, data: Any) -> np.ndarray:
    @jax.jit
    def values(ps: FlatParams, st: State, data: Any) -> Array:
        def one(ps: FlatParams, st: State) -> Array:
            evaluation = evaluate(loss, ps, st, data)
            return jnp.where(all_solved(evaluation.st), evaluation.value, jnp.nan)

        return jax.vmap(one)(ps, st)

    with failure_mode("nan"):
        return np.asarray(values(fitted.ps, fitted.st, data), np.float64)


class _EnsembleCarry(NamedTuple):
    """The carries of all members, and what the loop asks of one."""

    members: Any

    @property
    def failures(self) -> Array:
        """In a row, of the member that is doing best: an ensemble stops when all have."""
        return jnp.min(self.members.failures)

    @property
    def failed_st(self) -> Any:
        """Of the first member, to say why."""
        return jax.tree.map(lambda leaf: leaf[0], self.members.failed_st)


@dataclass(frozen=True)
class _EnsembleStepper:
    """The steps of `member`, a stepper of one parameter vector, for many side by side."""

    member: Any

    def init(self, ps: FlatParams, st: State, batch: Any) -> _EnsembleCarry:
        return _EnsembleCarry(jax.vmap(self.member.init, (0, 0, None))(ps, st, batch))

    def step(self, carry: _EnsembleCarry, batch: Any) -> tuple[_EnsembleCarry, Evaluation, Bool[Array, " members"]]:
        members, evaluations, okay = jax.vmap(self.member.step, (0, None))(carry.members, batch)
        return _EnsembleCarry(members), evaluations, okay

    def is_done(self, carry: _EnsembleCarry) -> Bool[Array, ""]:
        return jnp.all(jax.vmap(self.member.is_done)(carry.members))

    def reached(self, carry: _EnsembleCarry) -> tuple[FlatParams, State, None]:
        ps, st, _ = jax.vmap(self.member.reached)(carry.members)
        return ps, st, None

    def finish(self, carry: _EnsembleCarry, batch: Any) -> tuple[FlatParams, State]:
        return jax.vmap(self.member.finish, (0, None))(carry.members, batch)
