"""Anderson acceleration: the next iterate is the combination of the last few that should have the smallest residual."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact, Int

from ...flatten import LayerError
from ._fixed_point import FixedPointSolver, Point
from ._least_squares import solve_normalized


class _History(eqx.Module):
    """The last differences of residuals and of what a plain step would reach; one slot a step, reused in turn.

    `products[i, j]` is the inner product of the test direction `i` with the difference of residuals `j`; `length` how many of the
    slots each sample uses, counted from the latest.
    """

    point: Inexact[Array, "samples size"]
    residual: Inexact[Array, "samples size"]
    residuals: Inexact[Array, "memory samples size"]
    steps: Inexact[Array, "memory samples size"]
    products: Inexact[Array, "memory memory samples"]
    length: Int[Array, " samples"]
    size: Inexact[Array, " samples"]


class Anderson(FixedPointSolver):
    """Anderson acceleration."""

    memory: int = eqx.field(default=5, kw_only=True)
    mixing: float = eqx.field(default=1.0, kw_only=True)
    regularization: float | None = eqx.field(default=None, kw_only=True)
    kind: Literal[1, 2] = eqx.field(default=2, kw_only=True)
    restart: int | None = eqx.field(default=None, kw_only=True)
    safeguard: float | None = eqx.field(default=None, kw_only=True)

    def __check_init__(self) -> None:
        if isinstance(self.memory, bool) or not isinstance(self.memory, int) or self.memory < 1:
            raise LayerError(
                f"memory must be a whole number of at least 1, got {self.memory!r}. "
                "Write memory=5, or use Damped() to iterate without memory."
            )
        if self.kind not in (1, 2):
            raise LayerError(f"kind must be 1 or 2, got {self.kind!r}.")
        if not self.mixing:
            raise LayerError("mixing must not be 0: no step would leave the span of the first ones. Write mixing=1.0.")
        if self.restart is not None and self.restart < 1:
            raise LayerError(f"restart must be None or at least 1 step, got {self.restart!r}.")
        if self.safeguard is not None and not self.safeguard >= 1:
            raise LayerError(f"safeguard must be None or at least 1, got {self.safeguard!r}. Write safeguard=10.0.")

    def start(self, value: Inexact[Array, "samples size"]) -> Any:
        samples, size = value.shape
        nothing = jnp.zeros((self.memory, samples, size), value.dtype)
        return _History(
            point=value,
            residual=jnp.zeros_like(value),
            residuals=nothing,
            steps=nothing,
            products=jnp.zeros((self.memory, self.memory, samples), value.dtype),
            length=jnp.zeros((samples,), jnp.int32),
            size=jnp.full((samples,), jnp.inf, value.real.dtype),
        )

    def propose(self, point: Point, memory: Any) -> tuple[Inexact[Array, "samples size"], Any, Any]:
        old: _History = memory
        plain = point.value + self.mixing * point.residual
        slot = (point.step - 1) % self.memory
        residual = point.residual - old.residual
        step = point.value - old.point + self.mixing * residual
        residuals = lax.dynamic_update_index_in_dim(old.residuals, residual, slot, 0)
        steps = lax.dynamic_update_index_in_dim(old.steps, step, slot, 0)
        length = jnp.where(point.step == 0, 0, jnp.minimum(old.length + 1, self.memory))
        if self.restart is not None:
            length = jnp.where(point.step % self.restart == 0, 0, length)
        undo = None
        if self.safeguard is not None:
            undo = (point.size > self.safeguard * old.size) & (old.length > 0)
            length = jnp.where(undo, 0, length)
        age = (slot - jnp.arange(self.memory, dtype=jnp.int32)) % self.memory
        used = age[:, None] < length[None, :]
        products, target = self._products(old.products, residuals, steps, slot, point.residual)
        weights = solve_normalized(products, target, used, self._damping(point.value.dtype), hermitian=self.kind == 2)
        proposal = plain - jnp.sum(weights[:, :, None] * steps, axis=0)
        if undo is not None:
            proposal = jnp.where(undo[:, None], old.point + self.mixing * old.residual, proposal)
        later = _History(point.value, point.residual, residuals, steps, products, length, point.size)
        return proposal, later, 0

    def _products(
        self, products: Array, residuals: Array, steps: Array, slot: Array, residual: Array
    ) -> tuple[Array, Array]:
        """The products with the one new difference replaced, and those of the residual with every test direction."""
        tests = residuals if self.kind == 2 else self.mixing * residuals - steps
        newest = lax.dynamic_index_in_dim(residuals, slot, 0, keepdims=False)
        column = _inner(tests, newest)
        target = _inner(tests, residual)
        if self.kind == 2:
            row = column.conj()
        else:
            row = _inner(residuals, lax.dynamic_index_in_dim(tests, slot, 0, keepdims=False)).conj()
        products = lax.dynamic_update_index_in_dim(products, row, slot, 0)
        return lax.dynamic_update_index_in_dim(products, column, slot, 1), target

    def _damping(self, dtype: Any) -> float:
        return 10 * float(jnp.finfo(dtype).eps) if self.regularization is None else self.regularization


def _inner(left: Array, right: Array) -> Array:
    """The inner products of each sample of `right` with those of every slot of `left`."""
    return jnp.sum(left.conj() * right[None], axis=-1)
