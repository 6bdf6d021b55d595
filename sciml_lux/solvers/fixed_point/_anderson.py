"""Anderson acceleration: the next iterate is the combination of the last few that should have the smallest residual."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from ...flatten import LayerError
from ._fixed_point import FixedPointSolver, Point
from ._least_squares import combine, inner_products, solve_scaled
from ._rows import row_lengths


class _History(eqx.Module):
    """The last differences of residuals and of plain steps; one slot a step, reused in turn.

    `products[i, j]` is the inner product of the test direction `i` with the difference of residuals `j`, `lengths` are those of the
    test directions and of the differences; `used` counts, from the latest, the slots that each sample uses.
    """

    plain: Inexact[Array, "samples size"]
    residual: Inexact[Array, "samples size"]
    residuals: Inexact[Array, "samples memory size"]
    steps: Inexact[Array, "samples memory size"]
    products: Inexact[Array, "samples memory memory"]
    lengths: Float[Array, "samples memory 2"]
    used: Int[Array, " samples"]
    size: Float[Array, " samples"]


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
        """An empty history."""
        samples, size = value.shape
        nothing = jnp.zeros((samples, self.memory, size), value.dtype)
        real = value.real.dtype
        return _History(
            plain=value,
            residual=jnp.zeros_like(value),
            residuals=nothing,
            steps=nothing,
            products=jnp.zeros((samples, self.memory, self.memory), value.dtype),
            lengths=jnp.zeros((samples, self.memory, 2), real),
            used=jnp.zeros((samples,), jnp.int32),
            size=jnp.full((samples,), jnp.inf, real),
        )

    def propose(self, point: Point, memory: Any) -> tuple[Inexact[Array, "samples size"], Any, Any]:
        """The plain step, less the combination of earlier steps that takes most from the residual."""
        old: _History = memory
        plain = point.value + self.mixing * point.residual
        slot = (point.step - 1) % self.memory
        residual, step = point.residual - old.residual, plain - old.plain
        residuals = lax.dynamic_update_index_in_dim(old.residuals, residual, slot, 1)
        steps = lax.dynamic_update_index_in_dim(old.steps, step, slot, 1)
        used, undo = self._used(point, old)
        products, lengths, target = self._products(old, residuals, steps, residual, step, slot, point.residual)
        age = (slot - jnp.arange(self.memory, dtype=jnp.int32)) % self.memory
        weights = solve_scaled(
            products,
            target,
            age[None, :] < used[:, None],
            lengths[:, :, 0],
            lengths[:, :, 1],
            self._damping(plain.dtype),
            pivot=self.kind == 1,
        )
        proposal = plain - combine(weights, steps)
        if undo is not None:
            proposal = jnp.where(undo[:, None], old.plain, proposal)
        return proposal, _History(plain, point.residual, residuals, steps, products, lengths, used, point.size), 0

    def _used(self, point: Point, old: _History) -> tuple[Array, Array | None]:
        """How many of the latest slots each sample may use now, and whether its last step is undone."""
        used = jnp.where(point.step == 0, 0, jnp.minimum(old.used + 1, self.memory))
        if self.restart is not None:
            used = jnp.where(point.step % self.restart == 0, 0, used)
        if self.safeguard is None:
            return used, None
        undo = (old.used > 0) & ~(point.size <= self.safeguard * old.size)
        return jnp.where(undo, 0, used), undo

    def _products(
        self, old: _History, residuals: Array, steps: Array, residual: Array, step: Array, slot: Array, target: Array
    ) -> tuple[Array, Array, Array]:
        """The inner products and lengths with what is new of them, and the products of the residual with every test direction."""

        def tests(right: Array) -> Array:
            products = inner_products(residuals, right)
            # Type I tests with the steps themselves, `mixing * residual - step` up to the sign, which makes the diagonal positive
            # where `f` contracts.
            return products if self.kind == 2 else self.mixing * products - inner_products(steps, right)

        column = tests(residual)
        if self.kind == 2:
            row, test = column.conj(), residual
        else:
            test = self.mixing * residual - step
            row = inner_products(residuals, test).conj()
        products = lax.dynamic_update_index_in_dim(old.products, row, slot, 1)
        products = lax.dynamic_update_index_in_dim(products, column, slot, 2)
        length = jnp.stack([row_lengths(test), row_lengths(residual)], axis=1)
        return products, lax.dynamic_update_index_in_dim(old.lengths, length, slot, 1), tests(target)

    def _damping(self, dtype: Any) -> float:
        return 10 * float(jnp.finfo(dtype).eps) if self.regularization is None else self.regularization
