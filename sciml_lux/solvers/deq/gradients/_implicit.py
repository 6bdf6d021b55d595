"""`ImplicitGradient`: the gradient by the implicit function theorem."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, Int

from ...._errors import LayerError
from ...fixed_point import row_lengths
from .._find import NoDerivative, by_sample
from ._dense import solve_dense
from ._gradient import AbstractEquilibriumGradient, Rows, System
from ._krylov import bicgstab, divided, gmres

LARGEST_DENSE = 8
"""The size of a sample up to which its system is solved by LU factors, unless another solver is asked for."""

_NAMES = ("lu", "gmres", "bicgstab")


@dataclass(frozen=True)
class ImplicitGradient(AbstractEquilibriumGradient):
    """The derivative of the equilibrium itself: `u = (I - J^T)^-1 g`, a linear system for each sample.

    The steps of the forward solve play no part, nor do they take memory. The residual of each system is checked at the end by
    a product with the true Jacobian.

    **Arguments:**

    - `solver`: `"lu"`, factors of each sample's matrix; `"bicgstab"` or `"gmres"`, which need products with it alone; or a
      fixed-point solver of optimistix, such as `lux.solvers.Anderson(...)`, for `u = g + J^T u`. By default `"lu"` up to 8 numbers in a
      sample and `"bicgstab"` above, which needs less memory and arithmetic than GMRES, and where many products are needed fewer.
    - `rtol`, `atol`: the residual may have the norm `atol + rtol |g|`; by default `rtol` is that of the forward solver.
      Below rounding, `|u|` counted, nothing is asked for.
    - `max_steps`: the most products with the Jacobian; `restart`: those after which GMRES starts anew.
    - `coupled`: solve one system for the whole batch, for a model in which samples depend on each other, as by batch normalization
      in training.

    **Errors:** at run time, `lux.SolveError` if the system is not solved, as where it is singular; with `throw=False`, or within a
    fit, the gradients are NaN.

    **Source:** Bai, Kolter and Koltun 2019, Deep Equilibrium Models, theorem 1.
    """

    solver: Any = None
    rtol: float | None = None
    atol: float = 0.0
    max_steps: int = 200
    restart: int = 20
    coupled: bool = False
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = self.solver is None or isinstance(self.solver, optx.AbstractFixedPointSolver | optx.AbstractRootFinder)
        if not known and self.solver not in _NAMES:
            raise LayerError(
                f"ImplicitGradient: solver is one of {', '.join(_NAMES)}, or a fixed-point solver of optimistix such as "
                f"lux.solvers.Anderson(), got {self.solver!r}"
            )
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise LayerError(f"ImplicitGradient: {name} is 0 or more, got {value!r}")
        for name in ("max_steps", "restart"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise LayerError(f"ImplicitGradient: {name} is a whole number, 1 or more, got {getattr(self, name)!r}")

    def solver_for(self, size: int) -> Any:
        """The solver for samples of `size` numbers."""
        return self.solver or ("lu" if size <= LARGEST_DENSE else "bicgstab")

    def propagate(self, system: System) -> tuple[Rows, Int[Array, " samples"]]:
        g, operator = system.g, system.operator
        if self.coupled:
            shape = g.shape
            g, operator = g.reshape(1, -1), lambda row: system.operator(row.reshape(shape)).reshape(1, -1)
        wanted = self._wanted(system._replace(g=g))
        solver = self.solver_for(g.shape[1])
        if solver == "lu":
            u, num_steps = solve_dense(operator, g, wanted, self.max_steps)
        elif solver == "gmres":
            u, num_steps = gmres(operator, g, wanted, self.max_steps, self.restart)
        elif solver == "bicgstab":
            u, num_steps = bicgstab(operator, g, wanted, self.max_steps)
        else:
            u, num_steps = self._iterated(operator, g)
        samples = len(system.g)
        return u.reshape(system.g.shape), jnp.broadcast_to(num_steps, (samples,))

    def _iterated(self, operator: Callable[..., Any], g: Float[Array, "samples size"]) -> Any:
        # Of norm 1 (rms), so that an absolute tolerance is a relative one.
        scale = row_lengths(g) / jnp.sqrt(jnp.asarray(g.shape[1], g.dtype))
        unit = divided(g, scale)
        solution = optx.fixed_point(
            lambda u, args: unit + operator(u),
            by_sample(self.solver),
            unit,
            max_steps=self.max_steps,
            adjoint=NoDerivative(),
            throw=False,
        )
        return scale[:, None] * solution.value, jnp.asarray(solution.stats["num_steps"], jnp.int32)

    def _wanted(self, system: System) -> Any:
        rtol = max(system.rtol if self.rtol is None else self.rtol, 4 * float(jnp.finfo(system.g.dtype).eps))
        return self.atol + rtol * row_lengths(system.g)

    def tolerated(self, system: System, u: Rows) -> Float[Array, " samples"]:
        eps = float(jnp.finfo(u.dtype).eps)
        start = row_lengths(system.g)
        # A solution much larger than g has a residual of its own rounding; half of the digits must be right all the same.
        rounding = jnp.minimum(16 * eps * row_lengths(u), eps**0.5 * start)
        slack = 2.0 if isinstance(self.solver, str | None) else 10.0  # estimates of the residual, and other norms
        wanted = self._wanted(system)
        if self.coupled:
            wanted = jnp.full_like(start, jnp.linalg.norm(wanted))
        return jnp.maximum(slack * wanted, rounding)
