"""Broyden's methods: a quasi-Newton matrix for each sample, kept as a few rank-one updates."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int

from ..._errors import LayerError
from ._fixed_point import Point, RootFinder
from ._least_squares import combine, inner_products
from ._line_search import MOST_TRIALS, Search, advance, begin, judge
from ._rows import row_products


class _Updates(eqx.Module):
    """The inverse Jacobian `-scale + sum_i left_i right_i^H` of each sample, and the search along the last step from it."""

    left: Inexact[Array, "samples memory size"]
    right: Inexact[Array, "samples memory size"]
    number: Int[Array, " samples"]
    search: Search


class Broyden(RootFinder):
    """Broyden's good or bad method with limited memory and a line search, for roots and fixed points.

    Steps `d = -H r`, where `H` approximates the inverse of the Jacobian of the residual `r`. It starts as `-scale`, with which the
    first step of a fixed-point problem is the plain one. After a step `s` that changed the residual by `y`, it gets the rank-one
    update that makes `H y = s` and changes the Jacobian (good: `H += (s - H y) s^H H / (s^H H y)`) or its inverse (bad:
    `H += (s - H y) y^H / |y|^2`) least. The updates are kept, not the matrix: `2 memory` vectors a sample. When they are full, the
    method starts afresh from the plain step.

    A step that makes the residual grow more than `growth`-fold is shortened, one evaluation a time. In `optimistix.root_find`, where
    the residual is the value of the function, the tolerances are those of the fixed-point problem `y = y + fn(y)`:
    `norm(fn(y)) <= atol + rtol norm(y + fn(y))`; use `criterion="absolute"` where the two have different units.

    **Arguments:**

    - `rtol`, `atol`, `norm`, `criterion`, `batched`, `trace`: as of `Anderson`.
    - `kind`: `"good"` or `"bad"`.
    - `memory`: the number of updates that are kept.
    - `scale`: of the first inverse Jacobian, `-scale`; for roots of functions with positive derivatives it is negative.
    - `line_search`: whether steps are shortened.
    - `growth`: by how much the residual may grow in a step.

    **Errors:** as of `Anderson`; `ShapeError` if the function returns other shapes than it gets.

    **Source:** C. G. Broyden, Mathematics of Computation 19 (1965), 577-593. C. T. Kelley, "Iterative methods for linear and nonlinear
    equations" (1995), chapter 7. The nonmonotone search: D.-H. Li and M. Fukushima, Optimization Methods and Software 13 (2000), 181-201.
    """

    kind: Literal["good", "bad"] = eqx.field(default="good", kw_only=True)
    memory: int = eqx.field(default=20, kw_only=True)
    scale: float = eqx.field(default=1.0, kw_only=True)
    line_search: bool = eqx.field(default=True, kw_only=True)
    growth: float = eqx.field(default=4.0, kw_only=True)

    def __check_init__(self) -> None:
        if isinstance(self.memory, bool) or not isinstance(self.memory, int) or self.memory < 1:
            raise LayerError(f"memory must be a whole number of at least 1, got {self.memory!r}. Write memory=20.")
        if self.kind not in ("good", "bad"):
            raise LayerError(f'kind must be "good" or "bad", got {self.kind!r}.')
        if isinstance(self.scale, int | float) and self.scale == 0:
            raise LayerError("scale must not be 0: the first step would go nowhere. Write scale=1.0.")
        if not self.growth >= 1:
            raise LayerError(f"growth must be at least 1, got {self.growth!r}. Write growth=4.0.")

    def _most_retreats(self) -> int:
        return MOST_TRIALS if self.line_search else 0

    def start(self, value: Inexact[Array, "samples size"]) -> Any:
        """No updates."""
        samples, size = value.shape
        nothing = jnp.zeros((samples, self.memory, size), value.dtype)
        return _Updates(nothing, nothing, jnp.zeros((samples,), jnp.int32), begin(value))

    def since(self, value: Array, residual: Array, memory: Any) -> tuple[Array, Array]:
        """From the point that was accepted last."""
        return value - memory.search.value, residual - memory.search.residual

    def propose(self, point: Point, memory: Any) -> tuple[Inexact[Array, "samples size"], Any, Any]:
        """Updates the matrix by the last step, and takes the next."""
        old: _Updates = memory
        trial = judge(point, old.search, self.growth, self.line_search)
        learns = trial.accepted & (point.step > 0)
        step, change = point.value - old.search.value, point.residual - old.search.residual
        left, right, usable = self._update(old, step, change)
        usable = usable & learns
        # A full memory is emptied, and then gets the new update, in the first slot, if it still means anything without the others.
        full = usable & (old.number >= self.memory)
        number = jnp.where(full, 0, old.number)
        keep = ~full[:, None, None]
        lefts, rights = (jnp.where(keep, slots, 0) for slots in (old.left, old.right))
        place = jnp.where(usable & ~full, number, self.memory)  # beyond the last slot: dropped
        samples = jnp.arange(point.size.size)
        lefts = lefts.at[samples, place].set(left, mode="drop")
        rights = rights.at[samples, place].set(right, mode="drop")
        number = number + jnp.where(usable & ~full, 1, 0)
        direction = self.scale * trial.residual - combine(inner_products(rights, trial.residual), lefts)
        proposal, search = advance(point, old.search, trial, direction)
        return proposal, _Updates(lefts, rights, number, search), 0

    def _update(self, old: _Updates, step: Array, change: Array) -> tuple[Array, Array, Array]:
        """The rank-one update for a step and the change of the residual, and where there is one."""
        error = step + self.scale * change - combine(inner_products(old.right, change), old.left)
        if self.kind == "bad":
            right, weight = change, row_products(change, change)
        else:
            right = -self.scale * step + combine(inner_products(old.left, step), old.right)
            weight = row_products(right, change)
        size = jnp.sqrt(row_products(right, right).real * row_products(change, change).real)
        usable = jnp.abs(weight) > 10 * jnp.finfo(size.dtype).eps * size
        return error / jnp.where(usable, weight, 1)[:, None], right, usable
