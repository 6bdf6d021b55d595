"""How strongly a model contracts where its equilibrium is: a penalty to train on, and the number that decides."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from ..._errors import LayerError
from ..fixed_point import row_lengths
from ._cell import Cell


@dataclass(frozen=True)
class JacobianPenalty:
    """An estimate of `|J|^2 / size`, the squared Frobenius norm of the model's Jacobian in `z` at the equilibrium, for each sample.

    Added to a loss, `loss + 0.1 * jnp.mean(st.solution.jacobian_penalty)`, it makes the model contract more on the average of samples, so
    that solves take fewer steps. It bounds no single one: a fit that stops because some sample has no equilibrium is helped by
    `lux.SpectralNorm` around the layers that act on `z`, or goes on under `unconverged="best"`. Hutchinson's estimate: the mean of
    `|J^T e|^2` over random normal `e`. It is differentiated in full, through the equilibrium as well.

    **Arguments:** `probes`: how many `e`; `mode`: `"vjp"`, products with `J^T`, or `"jvp"`, products with `J`.

    **Errors:** `LayerError` for others.

    **Source:** Bai, Koltun and Kolter 2021, Stabilizing Equilibrium Models by Jacobian Regularization.
    """

    probes: int = 1
    mode: Literal["vjp", "jvp"] = "vjp"

    def __post_init__(self) -> None:
        if isinstance(self.probes, bool) or not isinstance(self.probes, int) or self.probes < 1:
            raise LayerError(f"JacobianPenalty: probes is a whole number, 1 or more, got {self.probes!r}")
        if self.mode not in ("vjp", "jvp"):
            raise LayerError(f'JacobianPenalty: mode is "vjp" or "jvp", got {self.mode!r}')

    def estimate(self, cell: Cell, z: Array, inputs: PyTree, key: Array) -> Array:
        """The estimate for each row of `z`."""
        noise = jax.random.normal(key, (self.probes, *z.shape), z.dtype)
        if self.mode == "vjp":
            _, pull = jax.vjp(lambda z: cell(z, inputs), z)
            products = jax.vmap(lambda e: pull(e)[0])(noise)
        else:
            products = jax.vmap(lambda e: jax.jvp(lambda z: cell(z, inputs), (z,), (e,))[1])(noise)
        return jnp.mean(jnp.square(jnp.abs(products)), axis=(0, 2))


def largest_growth(cell: Cell, z: Array, inputs: PyTree, key: Array, steps: int) -> Array:
    """The growth rate of a random vector under products with the Jacobian of each row, over the last half of `steps` of them."""
    _, push = jax.linearize(lambda z: cell(z, inputs), z)

    def step(carry: tuple[Array, Array], i: Array) -> tuple[Any, None]:
        vector, logarithm = carry
        length = row_lengths(jnp.abs(vector))
        vector = vector * jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)[:, None].astype(vector.dtype)
        # The first half lets what decays decay; a pair of complex eigenvalues makes single lengths go up and down.
        counted = (i > steps // 2) & (i > 0)
        return (push(vector), logarithm + jnp.where(counted, jnp.log(length), 0)), None

    start = jax.random.normal(key, z.shape, z.dtype)
    zero = jnp.zeros(z.shape[:1], jnp.finfo(z.dtype).dtype)
    (vector, logarithm), _ = lax.scan(step, (start, zero), jnp.arange(steps, dtype=jnp.int32))
    count = steps - steps // 2
    return jnp.exp((logarithm + jnp.log(row_lengths(jnp.abs(vector)))) / count)
