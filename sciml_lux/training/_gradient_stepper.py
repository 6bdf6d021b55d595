"""One step of an optax transformation, as a pure function of a carry."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from ..core import State
from ..flatten import FlatParams
from ._loss import Evaluation, Loss, all_solved, evaluate


class GradientCarry(NamedTuple):
    """`ps`: where the loss is evaluated next; `safe`: the last point at which it was finite; `failures`: in a row."""

    ps: FlatParams
    safe: FlatParams
    st: State
    optimizer_state: Any
    failed_st: State
    failures: Int[Array, ""]


@dataclass(frozen=True)
class GradientStepper:
    """Steps of `optimizer` on the vector. A step from a bad point is not taken; the point moves halfway back to the last good one."""

    loss: Loss
    optimizer: optax.GradientTransformation

    def init(self, ps: FlatParams, st: State, batch: Any) -> GradientCarry:
        """The carry before the first step."""
        return GradientCarry(ps, ps, st, self.optimizer.init(ps), st, jnp.zeros((), jnp.int32))  # type: ignore[arg-type]

    def step(self, carry: GradientCarry, batch: Any) -> tuple[GradientCarry, Evaluation, Bool[Array, ""]]:
        """The next carry, the evaluation, and whether the step was taken."""
        ps, st = carry.ps, carry.st

        def value_and_evaluation(ps: FlatParams) -> tuple[Array, Evaluation]:
            evaluation = evaluate(self.loss, ps, st, batch)
            return evaluation.value, evaluation

        (value, evaluation), gradient = jax.value_and_grad(value_and_evaluation, has_aux=True)(ps)
        okay = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient.vector)) & all_solved(evaluation.st)
        promotion = jax.config.jax_numpy_dtype_promotion  # type: ignore[attr-defined]

        def value_again(ps: FlatParams) -> Array:
            with jax.numpy_dtype_promotion(promotion):
                return value_and_evaluation(ps)[0]

        # optax mixes integers and floats, which strict promotion forbids; the loss is still held to what the user chose.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer_state = optax.with_extra_args_support(self.optimizer).update(
                gradient,
                carry.optimizer_state,
                ps,  # type: ignore[arg-type]
                value=value,
                grad=gradient,
                value_fn=value_again,
            )
            moved: Any = optax.apply_updates(ps, updates)  # type: ignore[arg-type]
        retreat = jax.tree.map(lambda safe, here: safe + (here - safe) / 2, carry.safe, ps)
        taken = GradientCarry(
            moved, ps, evaluation.st, optimizer_state, carry.failed_st, jnp.zeros_like(carry.failures)
        )  # type: ignore[arg-type]
        refused = GradientCarry(retreat, carry.safe, st, carry.optimizer_state, evaluation.st, carry.failures + 1)
        return jax.tree.map(lambda new, old: jnp.where(okay, new, old), taken, refused), evaluation, okay

    def is_done(self, carry: GradientCarry) -> Bool[Array, ""]:
        """Never: a transformation has no test of convergence."""
        return jnp.asarray(False)

    def finish(self, carry: GradientCarry, batch: Any) -> tuple[FlatParams, State]:
        """The parameters and state reached: those of the last good point if the last step was refused."""
        refused = carry.failures > 0
        return jax.tree.map(lambda safe, here: jnp.where(refused, safe, here), carry.safe, carry.ps), carry.st
