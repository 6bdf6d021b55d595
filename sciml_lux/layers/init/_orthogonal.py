"""Orthonormal starts."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ._fans import as_matrix
from ._initializer import AbstractInitializer, check_real


@dataclass(frozen=True, repr=False)
class orthogonal(AbstractInitializer):  # noqa: N801  an initializer reads as a function: init.orthogonal()
    """`gain` times a matrix with orthonormal columns, or rows if there are fewer of them, uniform among these (Saxe et al. 2014).

    A weight `(..., in, out)` is taken as one matrix of all its inputs by its outputs, a convolution's window included. The sign of
    each column of the QR factor is fixed by the diagonal of R, without which the matrices would not be uniform (Mezzadri
    2007). Variance `gain**2 / max(inputs, outputs)`.

    **Errors:** `ShapeError` for fewer than two axes.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        check_real(self, gain=self.gain)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        inputs, outputs = as_matrix(self, shape)
        tall = (max(inputs, outputs), min(inputs, outputs))
        q, r = jnp.linalg.qr(jax.random.normal(key, tall))
        diagonal = jnp.diagonal(r)
        q = q * jnp.where(diagonal < 0, -1.0, 1.0)[None, :].astype(q.dtype)
        return (self.gain * (q if inputs >= outputs else q.T)).reshape(shape)
