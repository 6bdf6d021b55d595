"""Complex parameters in a vector of real numbers."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._constraints import AbstractConstraint


@dataclass(frozen=True)
class ComplexAsReals(AbstractConstraint):
    """Complex arrays, stored as real and imaginary parts in turn, as in the memory of a complex array.

    `forward(u) = u[..., 0] + 1j * u[..., 1]`: a bijection, bit for bit, of `shape + (2,)` real numbers and `shape`
    complex ones; float32 makes complex64, float64 complex128 (there is no complex bfloat16). The log-determinant, with
    respect to real and imaginary parts, is 0.
    """

    def forward(self, unconstrained: Any) -> Any:
        return jax.lax.complex(unconstrained[..., 0], unconstrained[..., 1])

    def inverse(self, value: Any) -> Any:
        return jnp.stack([jnp.real(value), jnp.imag(value)], axis=-1)

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        return jnp.zeros((), jnp.result_type(unconstrained))

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, 2)

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        return jnp.reshape(self.inverse(value), (-1,))
