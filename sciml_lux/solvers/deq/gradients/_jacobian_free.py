"""`JacobianFreeGradient`: the gradient of one application of the model."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int

from ._gradient import AbstractEquilibriumGradient, Rows, System


@dataclass(frozen=True)
class JacobianFreeGradient(AbstractEquilibriumGradient):
    """The gradient of one application of the model at the equilibrium, as if `J` were 0: `u = g`.

    The cheapest there is. It leads downhill where the model contracts strongly enough, and is not the gradient of anything.

    **Source:** Fung et al. 2022, JFB: Jacobian-Free Backpropagation for Implicit Networks.
    """

    def propagate(self, system: System) -> tuple[Rows, Int[Array, " samples"]]:
        return system.g, jnp.zeros(system.g.shape[:1], jnp.int32)
