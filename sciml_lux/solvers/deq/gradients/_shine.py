"""`ShineGradient`: the gradient by what the forward solve learned of the Jacobian."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int

from ...._errors import LayerError
from ...fixed_point import row_lengths
from ._gradient import AbstractEquilibriumGradient, Rows, System


@dataclass(frozen=True)
class ShineGradient(AbstractEquilibriumGradient):
    """The gradient by the inverse Jacobian that Broyden's method has when it arrives: `u = -H^T g`, with `H` near `(J - I)^-1`.

    It solves no system, and takes two products with the Jacobian, which tell whether it is used: where `u` is farther from solving
    the system than `g` itself, as `H` need not be right in the direction of `g`, the gradient is the Jacobian-free one. Each
    direction chooses by itself: forward mode need not be the transpose of a gradient.

    Needs `solver=lux.solvers.Broyden(...)`.

    **Source:** Ramzi et al. 2022, SHINE: SHaring the INverse Estimate from the forward pass for bi-level optimization and implicit
    models. There the norm of `u` decides when to fall back.
    """

    def remembered(self, solver: Any, memory: Any) -> Any:
        left, right = memory.memory.left, memory.memory.right
        if jnp.iscomplexobj(left):
            raise LayerError("ShineGradient takes real z; use ImplicitGradient() for complex ones")
        return left, right, jnp.asarray(solver.scale, left.dtype)

    def propagate(self, system: System) -> tuple[Rows, Int[Array, " samples"]]:
        g, (left, right, scale) = system.g, system.memory
        first, second = (left, right) if system.transposed else (right, left)
        u = scale * g - jnp.einsum("smn,sm->sn", second, jnp.einsum("smn,sn->sm", first, g))
        nearer = row_lengths(g - (u - system.operator(u))) < row_lengths(system.operator(g))
        return jnp.where(nearer[:, None], u, g), jnp.full(g.shape[:1], 2, jnp.int32)
