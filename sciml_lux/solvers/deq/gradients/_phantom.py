"""`PhantomGradient`: the gradient of a few damped steps from the equilibrium."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from ...._errors import LayerError
from ._gradient import AbstractEquilibriumGradient, Rows, System


@dataclass(frozen=True)
class PhantomGradient(AbstractEquilibriumGradient):
    """The gradient of `steps` damped steps `z <- (1 - damping) z + damping f(z)` that start from the equilibrium.

    At the equilibrium these steps stay where they are, so that each has the same derivative. Their gradient is
    `u = damping sum_i ((1 - damping) I + damping J^T)^i g` over `i < steps`, the start of the series that sums to the implicit one. It
    is computed so: the memory of one application, and one application's gradient in the parameters.

    **Arguments:** `steps`: 1 or more; `damping`: above 0, at most 1; 1 takes full steps.

    **Errors:** `LayerError` for others.

    **Source:** Geng et al. 2021, On Training Implicit Models.
    """

    steps: int = 5
    damping: float = 0.5

    def __post_init__(self) -> None:
        check_steps("PhantomGradient", self.steps, self.damping)

    def propagate(self, system: System) -> tuple[Rows, Int[Array, " samples"]]:
        g = system.g

        def step(i: Array, u: Array) -> Array:
            del i
            return self.damping * (g + system.operator(u)) + (1 - self.damping) * u

        u = lax.fori_loop(0, self.steps - 1, step, self.damping * g)
        return u, jnp.full(g.shape[:1], self.steps - 1, jnp.int32)


def check_steps(name: str, steps: int, damping: float) -> None:
    """Raises `LayerError` for a number of damped steps, or a damping, that cannot be."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise LayerError(f"{name}: steps is a whole number, 1 or more, got {steps!r}")
    if not 0 < damping <= 1:
        raise LayerError(f"{name}: damping is above 0 and at most 1, which takes full steps; got {damping!r}")
