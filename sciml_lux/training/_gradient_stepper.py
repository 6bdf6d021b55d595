"""One step of an optax transformation, as a pure function of a carry."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from ..core import CachedFunction, State
from ..flatten import FlatParams
from ._job import Best, no_best
from ._loss import Evaluation, Loss, all_solved, evaluate
from ._optimizers import extra_arguments, meant_by, on_vector


class GradientCarry(NamedTuple):
    """`ps`: where the loss is evaluated next; `safe`: the last point at which it was finite; `failures`: in a row."""

    ps: FlatParams
    safe: FlatParams
    st: State
    optimizer_state: Any
    failed_st: State
    failures: Int[Array, ""]
    best: Best


@dataclass(frozen=True)
class GradientStepper:
    """Steps of an optimiser on the vector. A step from a bad point is not taken; the point moves halfway back to the last good one."""

    cached: CachedFunction

    @property
    def loss(self) -> Loss:
        return self.cached.use().loss

    def init(self, ps: FlatParams, st: State, batch: Any) -> GradientCarry:
        """The carry before the first step."""
        with jax.numpy_dtype_promotion("standard"):
            state = on_vector(self.cached, ps.layout).init(ps)  # type: ignore[arg-type]
        return GradientCarry(ps, ps, st, state, st, jnp.zeros((), jnp.int32), no_best(ps, st))

    def step(self, carry: GradientCarry, batch: Any) -> tuple[GradientCarry, Evaluation, Bool[Array, ""]]:
        """The next carry, the evaluation, and whether the step was taken."""
        ps, st, loss = carry.ps, carry.st, self.loss

        def value_and_evaluation(ps: FlatParams) -> tuple[Array, Evaluation]:
            evaluation = evaluate(loss, ps, st, batch)
            return evaluation.value, evaluation

        (value, evaluation), gradient = jax.value_and_grad(value_and_evaluation, has_aux=True)(ps)
        okay = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient.vector)) & all_solved(evaluation.st)
        promotion = jax.config.jax_numpy_dtype_promotion  # type: ignore[attr-defined]

        def value_again(ps: FlatParams) -> Array:
            with jax.numpy_dtype_promotion(promotion):
                return value_and_evaluation(ps)[0]

        # optax mixes integers and floats, which strict promotion forbids; the loss is still held to what the user chose.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer_state = on_vector(self.cached, ps.layout).update(
                gradient,
                carry.optimizer_state,
                ps,  # type: ignore[arg-type]
                **extra_arguments(carry.optimizer_state, value, gradient, value_again),
            )
            moved: Any = optax.apply_updates(ps, updates)  # type: ignore[arg-type]
        retreat = jax.tree.map(lambda safe, here: safe + (here - safe) / 2, carry.safe, ps)
        best = carry.best.improved(okay, ps, st, value)
        taken = GradientCarry(
            moved, ps, evaluation.st, optimizer_state, carry.failed_st, jnp.zeros_like(carry.failures), best
        )  # type: ignore[arg-type]
        refused = GradientCarry(retreat, carry.safe, st, carry.optimizer_state, evaluation.st, carry.failures + 1, best)
        return jax.tree.map(lambda new, old: jnp.where(okay, new, old), taken, refused), evaluation, okay

    def is_done(self, carry: GradientCarry) -> Bool[Array, ""]:
        """Never: a transformation has no test of convergence."""
        return jnp.asarray(False)

    def finish(self, carry: GradientCarry, batch: Any) -> tuple[FlatParams, State]:
        """The parameters and state reached: those of the last good point if the last step was refused."""
        refused = carry.failures > 0
        meant = meant_by(carry.optimizer_state, carry.ps)
        return jax.tree.map(lambda safe, here: jnp.where(refused, safe, here), carry.safe, meant), carry.st

    def reached(self, carry: GradientCarry) -> tuple[FlatParams, State, Best]:
        """What there is to keep so far."""
        return *self.finish(carry, None), carry.best

    def at(self, carry: GradientCarry, ps: FlatParams) -> GradientCarry:
        """The carry whose next step evaluates the loss at `ps`."""
        return carry._replace(ps=ps)
