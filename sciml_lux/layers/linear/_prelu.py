"""`PReLU`: an activation with parameters."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from .. import init
from .._checks import check_last_axis, check_positive


class PReLU(AbstractLayer):
    """A relu whose slope below 0 is a parameter, `y = max(x, 0) + weight * min(x, 0)`.

    **Arguments:** `features`: 1 for one slope, or the size of the last axis for a slope of each feature or channel; `init_weight`: all
    0.25, as in PyTorch.

    **Call:** `x` of shape `(..., features)`, or any shape if `features` is 1, gives the same shape.

    **Parameters:** `weight` `(features,)`. **States:** none.

    **Errors:** `LayerError` for a size that is not a whole number, 1 or more; `ShapeError` for another last axis.

    **Source:** He et al. 2015, Delving Deep into Rectifiers.
    """

    features: int = 1
    init_weight: Callable[..., Any] = init.constant(0.25)

    def __post_init__(self) -> None:
        check_positive(self, features=self.features)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"weight": self.init_weight(key, (self.features,))}

    def __call__(self, x: Float[Array, "..."], ps: Parameters, st: State) -> tuple[Float[Array, "..."], State]:
        weight = widened(ps.weight)  # its gradient is a long sum
        if self.features > 1:
            check_last_axis(self, x, self.features)
        else:
            weight = weight.reshape(())
        return jnp.where(x > 0, x, x * jnp.broadcast_to(weight, x.shape).astype(x.dtype)), st
