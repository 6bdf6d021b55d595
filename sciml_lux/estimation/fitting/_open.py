"""Coordinates without ends: what a sampler moves in, where a search has closed bounds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._bounds import Box
from .._types import Numbers


class Open(NamedTuple):
    r"""Numbers `z` without bounds for those of a vector `x` that no equal bounds hold.

    `x = lower + (upper - lower) / (1 + exp(-z))` between two bounds, `x = lower + exp(z)` and `x = upper - exp(z)` beside one, `x = z`
    where there is none. `free`: the positions of these numbers in `vector`, whose others stay as they are.
    """

    vector: Float[Array, " size"]
    free: Int[Array, " free"]
    lower: Float[Array, " free"]
    upper: Float[Array, " free"]

    def closed(self, z: Float[Array, " free"]) -> Float[Array, " size"]:
        """The vector."""
        below, above, two = self._ends()
        low, high = jnp.where(below, self.lower, 0.0), jnp.where(above, self.upper, 0.0)
        far = jnp.exp(jnp.where(two | ~(below | above), 0.0, z))  # what is not used must not overflow
        between = low + (high - low) * jax.nn.sigmoid(z)
        one = jnp.where(two, between, jnp.where(below, low + far, jnp.where(above, high - far, z)))
        return self.vector.at[self.free].set(one)

    def log_rates(self, z: Float[Array, " free"]) -> Float[Array, " free"]:
        """The logarithms of `dx / dz`."""
        below, above, two = self._ends()
        width = jnp.where(two, self.upper - self.lower, 1.0)
        between = jnp.log(width) + jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z)
        return jnp.where(two, between, jnp.where(below | above, z, 0.0))

    def opened(self, farthest: float) -> Float[np.ndarray, " free"]:
        """`z` of the vector itself; what is on a bound is `farthest` beside it, in units of `z`."""
        x = np.asarray(self.vector, np.float64)[np.asarray(self.free)]
        lower, upper = np.asarray(self.lower, np.float64), np.asarray(self.upper, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            to_lower, to_upper = np.log(x - lower), np.log(upper - x)
            z = np.where(np.isfinite(lower), to_lower, np.where(np.isfinite(upper), to_upper, x))
            z = np.where(np.isfinite(lower) & np.isfinite(upper), to_lower - to_upper, z)
        return np.where(np.isfinite(z), z, np.where(z > 0, farthest, -farthest))

    def _ends(self) -> tuple[Numbers | Any, Numbers | Any, Numbers | Any]:
        below, above = jnp.isfinite(self.lower), jnp.isfinite(self.upper)
        return below, above, below & above


def open_coordinates(vector: Float[Array, " size"], box: Box) -> Open:
    free = np.flatnonzero(np.asarray(box.lower) != np.asarray(box.upper))
    return Open(vector, jnp.asarray(free), jnp.asarray(box.lower)[free], jnp.asarray(box.upper)[free])
