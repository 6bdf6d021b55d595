"""Newton's method whose linear systems are solved by Krylov methods, as exactly as the step deserves."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Inexact

from ..._errors import LayerError
from ._fixed_point import Point, RootFinder
from ._gmres import gmres
from ._line_search import MOST_TRIALS, Search, advance, begin, judge

# Eisenstat and Walker (1996), choice 2: the constant and the exponent, and the tolerance above which the last one holds the next up.
_FACTOR, _EXPONENT, _HELD = 0.9, 2.0, 0.1

# How exactly to solve from a start that is within the tolerance of the solve already.
_PROOF = 0.3

# A step is accepted once the residual has fallen at all.
_GROWTH = 1.0


class _Forcing(eqx.Module):
    tolerance: Float[Array, " samples"]
    search: Search


class NewtonKrylov(RootFinder):
    """Inexact Newton steps by GMRES, with a line search, for roots and fixed points.

    Steps `d` with `|J d + r| <= eta |r|`, where `J` is the Jacobian of the residual `r`, only ever multiplied with vectors (one
    Jacobian-vector product each). How exactly each system is solved follows Eisenstat and Walker: `eta = 0.9 (|r| / |r_old|)^2`, at
    most `forcing`, and never less than the tolerance of the solve needs. Steps that do not lower the residual are shortened. Converges
    quadratically in steps; `stats["num_steps"]` counts evaluations and products alike.

    Each sample has its own Krylov space and stops at its own `eta`, checked at every product; that is `linear_solver=None`. Any
    other one, as `lineax.GMRES(rtol=1e-3, atol=1e-6)`, solves the systems of all samples as one, by its own tolerances;
    its products are not counted.

    The function must be differentiable in forward mode, and analytic if it is complex.

    **Arguments:**

    - `rtol`, `atol`, `norm`, `criterion`, `batched`, `trace`: as of `Broyden`.
    - `krylov`: the most products in one step.
    - `forcing`: the largest `eta`, and the first.
    - `line_search`: whether steps are shortened.
    - `linear_solver`: `None`, or a solver of lineax.

    **Errors:** as of `Broyden`; the derivative is the implicit one (`adjoint=optimistix.ImplicitAdjoint()`, the default): the steps
    themselves have none in reverse mode.

    **Source:** S. C. Eisenstat and H. F. Walker, "Choosing the forcing terms in an inexact Newton method", SIAM Journal on Scientific
    Computing 17 (1996), 16-32. D. A. Knoll and D. E. Keyes, Journal of Computational Physics 193 (2004), 357-397.
    """

    krylov: int = eqx.field(default=30, kw_only=True)
    forcing: float = eqx.field(default=0.5, kw_only=True)
    line_search: bool = eqx.field(default=True, kw_only=True)
    linear_solver: lx.AbstractLinearSolver[Any] | None = eqx.field(default=None, kw_only=True)

    def __check_init__(self) -> None:
        if isinstance(self.krylov, bool) or not isinstance(self.krylov, int) or self.krylov < 1:
            raise LayerError(f"krylov must be a whole number of at least 1, got {self.krylov!r}. Write krylov=30.")
        if not 0 < self.forcing < 1:
            raise LayerError(f"forcing must be between 0 and 1, got {self.forcing!r}. Write forcing=0.5.")

    def _most_retreats(self) -> int:
        return MOST_TRIALS if self.line_search else 0

    def start(self, value: Inexact[Array, "samples size"]) -> Any:
        """The first tolerance."""
        return _Forcing(jnp.full(value.shape[:1], self.forcing, value.real.dtype), begin(value))

    def since(self, value: Array, residual: Array, memory: Any) -> tuple[Array, Array]:
        """From the point that was accepted last."""
        return value - memory.search.value, residual - memory.search.residual

    def propose(self, point: Point, memory: Any) -> tuple[Inexact[Array, "samples size"], Any, Any]:
        """An inexact Newton step."""
        old: _Forcing = memory
        trial = judge(point, old.search, _GROWTH, self.line_search)
        tolerance = jnp.where(trial.accepted, self._tolerance(point, old), old.tolerance)
        needed = trial.accepted & ~point.done
        # What was not accepted goes back along its old direction, and needs no system solved. GMRES leaves of a residual what it has
        # not changed, so that only another step shows whether that goes: a plain one.
        plain = needed & point.unsure
        target = jnp.where((needed & ~plain)[:, None], -point.residual, 0)
        _, product = jax.linearize(point.evaluate, point.value)
        if self.linear_solver is None:
            direction, products = gmres(product, target, tolerance, self.krylov)
        else:
            operator = lx.FunctionLinearOperator(product, jax.eval_shape(lambda: target))
            direction = lx.linear_solve(operator, target, self.linear_solver, throw=False).value
            products = jnp.zeros(point.size.shape, jnp.int32)
        direction = jnp.where(plain[:, None], point.residual, direction)
        proposal, search = advance(point, old.search, trial, direction)
        return proposal, _Forcing(tolerance, search), products

    def _tolerance(self, point: Point, old: _Forcing) -> Array:
        ratio = point.size / old.search.size
        tolerance = _FACTOR * ratio**_EXPONENT
        held = _FACTOR * old.tolerance**_EXPONENT
        tolerance = jnp.where(held > _HELD, jnp.maximum(tolerance, held), tolerance)
        tolerance = jnp.where(point.step == 0, self.forcing, tolerance)
        # Half of what is left to reach the tolerance of the solve is enough; within it, what shows that the residual goes.
        left = jnp.where(point.error > 1, 0.5 / point.error, _PROOF)
        return jnp.clip(jnp.maximum(tolerance, left), 0.0, self.forcing)
