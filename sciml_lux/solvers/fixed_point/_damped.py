"""Damped iteration, whose damping adapts to how the last step changed the residual."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from ..._errors import LayerError
from ._fixed_point import FixedPointSolver, Point
from ._rows import row_products


class _Last(eqx.Module):
    residual: Inexact[Array, "samples size"]
    mixing: Float[Array, " samples"]


class Damped(FixedPointSolver):
    """Damped iteration: each step goes part of the way from `z` to `f(z)`.

    `z <- z + w r` with `r = f(z) - z`. With `adaptive`, `w` is the step that would have made the last residual smallest along itself,
    were `f` linear: `w <- -w <r_old, r - r_old> / |r - r_old|^2`, for each sample, between the `bounds`. It tames maps whose
    Jacobian has eigenvalues below -1, for which plain iteration diverges, and lengthens the steps of those that contract slowly.
    The cheapest solver: it remembers one residual.

    **Arguments:**

    - `rtol`, `atol`, `norm`, `criterion`, `batched`, `trace`: as of `Anderson`.
    - `mixing`: `w` of the first step, and of every step if not `adaptive`.
    - `adaptive`: whether `w` follows the residual.
    - `bounds`: the least and the largest `w` that adapting may choose.

    **Errors:** as of `Anderson`.

    **Source:** B. M. Irons and R. C. Tuck, "A version of the Aitken accelerator for computer iteration", International Journal for
    Numerical Methods in Engineering 1 (1969), 275-277.
    """

    mixing: float = eqx.field(default=1.0, kw_only=True)
    adaptive: bool = eqx.field(default=True, kw_only=True)
    bounds: tuple[float, float] = eqx.field(default=(0.05, 10.0), kw_only=True)

    def __check_init__(self) -> None:
        if isinstance(self.mixing, int | float) and not self.mixing > 0:
            raise LayerError(
                f"mixing must be above 0, got {self.mixing!r}. Write mixing=1.0 to start with a whole step."
            )
        low, high = self.bounds
        if not 0 < low <= high:
            raise LayerError(f"bounds must be two numbers with 0 < least <= largest, got {self.bounds!r}.")

    def start(self, value: Inexact[Array, "samples size"]) -> Any:
        """No residual yet."""
        mixing = jnp.full(value.shape[:1], self.mixing, value.real.dtype)
        return _Last(jnp.zeros_like(value), mixing)

    def since(self, value: Array, residual: Array, memory: Any) -> tuple[Array, Array]:
        """By the residual along which the step went."""
        return memory.mixing.astype(value.dtype)[:, None] * memory.residual, residual - memory.residual

    def propose(self, point: Point, memory: Any) -> tuple[Inexact[Array, "samples size"], Any, Any]:
        """One damped step."""
        last: _Last = memory
        mixing = last.mixing
        if self.adaptive:
            change = point.residual - last.residual
            square = row_products(change, change).real
            best = -mixing * row_products(last.residual, change).real / jnp.where(square > 0, square, 1)
            usable = (point.step > 0) & (square > 0) & jnp.isfinite(best)
            mixing = jnp.where(usable, jnp.clip(best, *self.bounds), mixing)
        proposal = point.value + mixing.astype(point.value.dtype)[:, None] * point.residual
        return proposal, _Last(point.residual, mixing), 0
