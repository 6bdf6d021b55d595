"""`AlphaDropout`: dropout for networks that normalize themselves."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...core import AbstractLayer, State, Training
from .._checks import check_number
from ._dropout import kept

# What SELU tends to for very negative input: minus its scale times its alpha.
_SATURATED = -1.0507009873554805 * 1.6732632423543772


class AlphaDropout(AbstractLayer):
    """Dropout that keeps mean 0 and variance 1, for networks with `jax.nn.selu`.

    In train mode, each number is set with probability `p` to SELU's lower limit, `s = -1.758...`, and all are then scaled and shifted,
    `y = a * x + b` with `a = ((1 - p) * (1 + p * s**2)) ** -0.5` and `b = -a * p * s`. In test mode, `y = x`.

    **Arguments:** `p`: 0 (nothing is dropped) to 1 (the result is 0, as in PyTorch).

    **Call:** `x` of any shape gives the same shape. Mapped over with one state, all inputs share a mask; map over the keys too.

    **Parameters:** none. **States:** `key`, advanced by each call in train mode; `training`.

    **Errors:** `LayerError` for a `p` that is no probability.

    **Source:** Klambauer et al. 2017, Self-Normalizing Neural Networks.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_number(self, 0.0, 1.0, p=self.p)

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"key": key, "training": Training()}

    def __call__(self, x: Float[Array, "..."], ps: Any, st: State) -> tuple[Float[Array, "..."], State]:
        if not st.training:
            return x, st
        now, later = jax.random.split(st.key)
        if self.p == 1:
            return jnp.zeros_like(x), st.set("key", later)
        scale = 1.0 / math.sqrt((1.0 - self.p) * (1.0 + self.p * _SATURATED**2))
        shift = -scale * self.p * _SATURATED
        y = jnp.where(kept(now, self.p, x.shape), scale * x + shift, scale * _SATURATED + shift)
        return y, st.set("key", later)
