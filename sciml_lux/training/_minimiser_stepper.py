"""One step of an optimistix minimiser, as a pure function of a carry."""

import functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix
from jaxtyping import Array, Bool, Int

from ..core import CachedFunction, State
from ..flatten import FlatParams
from ._job import Best, no_best
from ._loss import Evaluation, Loss, all_solved, evaluate


class MinimiserCarry(NamedTuple):
    """`ps`: the last accepted point; `st`: the state there; `base_st`: the state that every evaluation starts from."""

    ps: FlatParams
    st: State
    base_st: State
    solver_state: Any
    failed_st: State
    failures: Int[Array, ""]
    done: Bool[Array, ""]
    best: Best


@functools.lru_cache(maxsize=8)
def _objective(cached: CachedFunction) -> Any:
    """The function that is minimised. Compiled by itself, so that the solver's several uses of it share one trace.

    Beside each evaluation it returns the point, since solvers return that of another point than the one they have moved to, and that
    it was made at all, since some return what they have filled in before they have made one.
    """

    @jax.jit
    def function(ps: FlatParams, args: tuple[State, Any]) -> tuple[Array, tuple[Evaluation, FlatParams, Any]]:
        base_st, batch = args
        evaluation = evaluate(cached.use().loss, ps, base_st, batch)
        okay = jnp.isfinite(evaluation.value) & all_solved(evaluation.st)
        return jnp.where(okay, evaluation.value, jnp.inf), (evaluation, ps, jnp.asarray(True))

    return function


@dataclass(frozen=True)
class MinimiserStepper:
    """Steps of an optimistix minimiser on the vector.

    The function that it minimises must not change from step to step: random keys and statistics in the state are held as they
    were at the start, and a failed solve counts as an infinite loss, which the solver's own search steps back from.
    """

    cached: CachedFunction
    # The part of the solver's state that is not arrays; it is known once `init` has been traced.
    _static: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def loss(self) -> Loss:
        return self.cached.use().loss

    def _call(self, verb: str, ps: FlatParams, base_st: State, batch: Any, **more: Any) -> Any:
        function, args = _objective(self.cached), (base_st, batch)
        common = {"fn": function, "y": ps, "args": args, "options": {}, "tags": frozenset(), **more}
        if verb == "init":
            common["f_struct"], common["aux_struct"] = jax.eval_shape(function, ps, args)
        return getattr(self.cached.use().optimizer, verb)(**common)

    def init(self, ps: FlatParams, st: State, batch: Any) -> MinimiserCarry:
        """The carry before the first step."""
        dynamic, self._static["state"] = eqx.partition(self._call("init", ps, st, batch), eqx.is_array)
        return MinimiserCarry(ps, st, st, dynamic, st, jnp.zeros((), jnp.int32), jnp.asarray(False), no_best(ps, st))

    def step(self, carry: MinimiserCarry, batch: Any) -> tuple[MinimiserCarry, Evaluation, Bool[Array, ""]]:
        """The next carry, the evaluation that the solver holds, and whether that is a good one."""
        state = eqx.combine(carry.solver_state, self._static["state"])
        ps, state, (evaluation, point, made) = self._call("step", carry.ps, carry.base_st, batch, state=state)
        okay = made & jnp.isfinite(evaluation.value) & all_solved(evaluation.st)
        done, _ = self._call("terminate", ps, carry.base_st, batch, state=state)
        moved = MinimiserCarry(
            ps=jax.tree.map(lambda new, old: jnp.where(jnp.isfinite(new), new, old), ps, carry.ps),
            st=jax.tree.map(lambda new, old: jnp.where(okay, new, old), evaluation.st, carry.st),
            base_st=carry.base_st,
            solver_state=eqx.filter(state, eqx.is_array),
            failed_st=jax.tree.map(lambda new, old: jnp.where(okay, old, new), evaluation.st, carry.failed_st),
            failures=jnp.where(okay, 0, jnp.where(made, carry.failures + 1, carry.failures)),
            done=done & okay,
            best=carry.best.improved(okay, point, carry.base_st, evaluation.value),
        )
        return moved, evaluation, okay

    def is_done(self, carry: MinimiserCarry) -> Bool[Array, ""]:
        """Whether the solver's own test of convergence is met."""
        return carry.done

    def finish(self, carry: MinimiserCarry, batch: Any) -> tuple[FlatParams, State]:
        """The parameters and state reached."""
        state = eqx.combine(carry.solver_state, self._static["state"])
        more = {"aux": None, "state": state, "result": optimistix.RESULTS.successful}
        ps, _, _ = self._call("postprocess", carry.ps, carry.base_st, batch, **more)
        return ps, carry.st

    def reached(self, carry: MinimiserCarry) -> tuple[FlatParams, State, Best]:
        """What there is to keep so far."""
        return carry.ps, carry.st, carry.best

    def judge(self, ps: FlatParams, carry: MinimiserCarry, batch: Any) -> tuple[Array, Bool[Array, ""]]:
        """The loss at `ps`, and whether it is a good one."""
        value, (evaluation, _, _) = _objective(self.cached)(ps, (carry.base_st, batch))
        return evaluation.value, jnp.isfinite(value)
