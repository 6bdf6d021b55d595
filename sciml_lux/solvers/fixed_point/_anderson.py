"""Anderson acceleration: the next iterate is the combination of the last few that should have the smallest residual."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from ..._errors import LayerError
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
    r"""Anderson acceleration, of a whole batch of samples at once, each on its own.

    With `r = f(z) - z`, `g = z + mixing r`, and the last `memory` differences `dr`, `dg` of both as columns, a step is
    `z <- g - dG x`. Type II (`kind=2`) takes the `x` that minimizes `|r - dR x|^2 + regularization |D x|^2`, where `D` holds the lengths of
    the columns of `dR`; type I solves `dZ^H (r - dR x) = 0`, likewise scaled and regularized. On linear problems of `n` unknowns with
    `memory >= n` the iterate after `n + 1` steps is exact.

    **The least squares** go by inner products of the scaled columns, one row of which is new at each step, not by QR updates, which
    would rotate the whole history whenever the oldest difference goes. Scaled, they lose nothing in float32:
    benchmarks/fixed_point_least_squares.py compares both.

    **Arguments:**

    - `rtol`, `atol`: a sample has converged where `norm(f(z) - z) <= atol + rtol norm(f(z))`, with 10 times the norm of what the map
      opposes to `z`, `(I - A) z`, where that is less (docs/deq.md), and the residual is seen to go: of the
      first one a tenth is left, the last step changed what is left, and the error that this lets expect is at most 100 times what is
      allowed of the residual. A start within the tolerances takes another evaluation to show it; one of residual 0 does not.
    - `norm`: of one sample; the root mean square by default, so that tolerances mean the same for any size.
    - `criterion`: `"mixed"` as above; `"relative"` without `atol`; `"absolute"` without `rtol`.
    - `batched`: whether the first axis of every array counts samples. Each then converges, stops and is frozen on its own, and gets the
      same result as alone, up to the rounding of products over other numbers of rows. The map must treat samples separately.
    - `trace`: whether to keep the residuals of all steps, up to 256, or up to as many as given.
    - `memory`: how many differences are kept.
    - `mixing`: the part of the residual that is added; 1 unless the map itself overshoots.
    - `regularization`: relative to the squared lengths of the columns; by default 10 units of rounding.
    - `kind`: 1 or 2.
    - `restart`: forget all differences every so many steps.
    - `safeguard`: a step after which the residual is more than so many times as large, or not finite, is undone: the sample takes
      the plain step from where it was and forgets.

    **Call:** `optimistix.fixed_point(f, solver, y0, args)` with any tree of floating or complex arrays. Returns the iterate of
    each sample that converged, or that with the smallest residual, and in `stats`: `residual` (`norm(f(z) - z)` of what is returned),
    `error` (an estimate of its distance to the fixed point, by the last change of the residual), `num_steps` (evaluations of the
    map from the start on; one beside a start other than 0 is not counted) and `converged`, each `(samples,)` if batched; `residuals`
    `(steps, samples)`, NaN where a sample was done, if traced. `aux` is
    that of the last evaluation. `result` is successful if every sample converged. A sample in which the map is not finite ends there,
    and harms no other; `y0` itself must be finite.

    **Errors:** `LayerError` for settings that cannot be; `ShapeError` if batched arrays have first axes of different lengths;
    `ValueError`, by optimistix, if the map returns other shapes than it gets.

    **Source:** D. G. Anderson, Journal of the ACM 12 (1965), 547-560; H. F. Walker and P. Ni, SIAM Journal on Numerical Analysis 49
    (2011), 1715-1735. Type I: H. Fang and Y. Saad, Numerical Linear Algebra with Applications 16 (2009), 197-221.
    """

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
        if self.regularization is not None and not self.regularization >= 0:
            raise LayerError(f"regularization must be None or at least 0, got {self.regularization!r}.")
        if self.restart is not None and self.restart < 1:
            raise LayerError(f"restart must be None or at least 1 step, got {self.restart!r}.")
        if self.safeguard is not None and not self.safeguard >= 1:
            raise LayerError(f"safeguard must be None or at least 1, got {self.safeguard!r}. Write safeguard=10.0.")

    def _most_retreats(self) -> int:
        return 0 if self.safeguard is None else 1

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

    def since(self, value: Array, residual: Array, memory: Any) -> tuple[Array, Array]:
        """By the plain step and the residual that are kept."""
        return value - (memory.plain - self.mixing * memory.residual), residual - memory.residual

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
        proposal = jnp.where(undo[:, None], old.plain, plain - combine(weights, steps))
        return proposal, _History(plain, point.residual, residuals, steps, products, lengths, used, point.size), 0

    def _used(self, point: Point, old: _History) -> tuple[Array, Array]:
        """How many of the latest slots each sample may use now, and whether its last step is undone."""
        used = jnp.where(point.step == 0, 0, jnp.minimum(old.used + 1, self.memory))
        if self.restart is not None:
            used = jnp.where(point.step % self.restart == 0, 0, used)
        bad = point.within < 1
        if self.safeguard is not None:
            bad |= ~(point.size <= self.safeguard * old.size)
        undo = (old.used > 0) & bad
        # Nothing that led here counts, nor the next difference, which starts here.
        return jnp.where(undo, -1, used), undo

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

    def _damping(self, dtype: np.dtype[Any]) -> float:
        return 10 * float(jnp.finfo(dtype).eps) if self.regularization is None else self.regularization
