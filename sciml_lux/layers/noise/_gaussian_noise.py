"""`GaussianNoise`."""

import math
from typing import Any

import jax
from jaxtyping import Array, Float, Key

from ..._errors import LayerError
from ...core import AbstractLayer, State, Training


class GaussianNoise(AbstractLayer):
    """In train mode, `y = x + std * n` with independent standard normal `n`; in test mode, `y = x`.

    **Arguments:** `std`: the standard deviation, 0 or more.

    **Call:** `x` of any shape gives the same shape. Mapped over with one state, all inputs get the same noise; map over the keys too.

    **Parameters:** none. **States:** `key`, advanced by each call in train mode; `training`.

    **Errors:** `LayerError` for a standard deviation that is negative or no finite number.
    """

    std: float

    def __post_init__(self) -> None:
        if isinstance(self.std, bool) or not isinstance(self.std, int | float) or not 0.0 <= self.std < math.inf:
            raise LayerError(f"GaussianNoise: std is a finite number, 0 or more, got {self.std!r}")

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"key": key, "training": Training()}

    def __call__(self, x: Float[Array, "..."], ps: Any, st: State) -> tuple[Float[Array, "..."], State]:
        if not st.training:
            return x, st
        now, later = jax.random.split(st.key)
        return x + self.std * jax.random.normal(now, x.shape, x.dtype), st.set("key", later)
