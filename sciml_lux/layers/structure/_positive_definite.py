"""`PositiveDefinite`: a learned Lyapunov function."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import LayerError, ShapeError
from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters
from .._checks import check_is_layer, check_last_axis


class PositiveDefinite(AbstractContainer):
    """A function with one zero and positive elsewhere: `V(x) = |f(x) - f(x0)|² + alpha |x - x0|²`, with `f` the layer.

    What a Lyapunov function of the equilibrium `x0` has to be, whatever the parameters; it grows at least as `alpha |x - x0|²`. The
    layer is called twice in the same state, for `x` and for `x0`, and the state after the former comes back; `f` must treat samples
    alone and draw no random numbers for `V(x0) = 0` to hold (test mode sees to both for dropout and batch statistics).

    (A matrix parameter that stays positive definite is `lux.flatten.positive_definite`.)

    **Arguments:** `layer`: from `(..., features)` to any number of features; `equilibrium`: `x0`, a tuple of numbers, None: the
    origin; `alpha`: a positive number.

    **Call:** `x` of shape `(..., features)` gives `(..., 1)`.

    **Parameters** and **states:** `layer`: those of the layer.

    **Errors:** `LayerError` for something that is no layer, an `alpha` that is not positive, an `equilibrium` that is not a tuple
    of numbers; `ShapeError` for another number of features than the equilibrium has.

    **Source:** Gaby, Zhang and Ye 2021, Lyapunov-Net.
    """

    layer: AbstractLayer
    equilibrium: tuple[float, ...] | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_is_layer(self, layer=self.layer)
        point: Any = self.equilibrium
        if point is not None and not (isinstance(point, tuple) and all(map(_is_number, point))):
            raise LayerError(
                f"PositiveDefinite: equilibrium is a tuple of numbers such as (0.0, 1.0), or None, got {point!r}"
            )
        if not _is_number(self.alpha) or not self.alpha > 0:
            raise LayerError(f"PositiveDefinite: alpha is a positive number, got {self.alpha!r}")

    def __call__(
        self, x: Float[Array, "... features"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... 1"], State]:
        if self.equilibrium is not None:
            check_last_axis(self, x, len(self.equilibrium))
        if not jnp.ndim(x):
            raise ShapeError(f"PositiveDefinite takes (..., features), got an input of shape {jnp.shape(x)}")
        start = jnp.zeros(x.shape[-1:], x.dtype) if self.equilibrium is None else jnp.asarray(self.equilibrium, x.dtype)
        there, state = self.layer(x, ps.layer, st.layer)
        here, _ = self.layer(start, ps.layer, st.layer)
        learned = _square(there - jnp.broadcast_to(here, there.shape))
        return learned + self.alpha * _square(x - jnp.broadcast_to(start, x.shape)), State(layer=state)


def _square(x: Float[Array, "... features"]) -> Float[Array, "... 1"]:
    return jnp.sum(x * x, axis=-1, keepdims=True)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
