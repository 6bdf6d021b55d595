"""Layers that multiply and add along the last axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import affine, widened
from .. import init
from .._checks import check_activation, check_last_axis, check_sizes
from .._starts import DEFAULT_WEIGHT, initial_affine


class Dense(AbstractLayer):
    """A fully connected layer, `y = activation(x @ weight + bias)`, on the last axis of `x`.

    **Arguments:** `in_features`, `out_features`: sizes of the last axis; `activation`: an elementwise function, or None;
    `use_bias`; `init_weight`, `init_bias`: initializers; by default, with None for the bias, both are uniform within
    `1 / sqrt(in_features)`, which fits best among the defaults of four libraries (`benchmarks/RESULTS.md`).

    **Call:** `x` of shape `(..., in_features)` gives `(..., out_features)`.

    **Parameters:** `weight` `(in_features, out_features)`; `bias` `(out_features,)` if `use_bias`. **States:** none.

    **Errors:** `LayerError` for sizes that are not whole numbers; `ShapeError` for another last axis.
    """

    in_features: int
    out_features: int
    activation: Callable[[Any], Any] | None = None
    use_bias: bool = True
    init_weight: Callable[..., Any] = DEFAULT_WEIGHT
    init_bias: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        check_sizes(self, in_features=self.in_features, out_features=self.out_features)
        check_activation(self, self.activation)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional, named = super().constructor_arguments()
        activation = named.pop("activation", None)
        return (positional if activation is None else (*positional, activation)), named

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        shape = (self.in_features, self.out_features)
        return initial_affine(key, shape, self.out_features, self.init_weight, self.init_bias, self.use_bias)

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        check_last_axis(self, x, self.in_features)
        y = affine(x, ps.weight, ps.bias if self.use_bias else None)
        return (y if self.activation is None else self.activation(y)), st


class Scale(AbstractLayer):
    """An elementwise scale and shift, `y = activation(x * weight + bias)`, over the last axis.

    **Arguments:** `features`: size of the last axis; `activation`; `use_bias`; `init_weight`, `init_bias`: ones and zeros.

    **Call:** `x` of shape `(..., features)` gives the same shape.

    **Parameters:** `weight` `(features,)`; `bias` `(features,)` if `use_bias`. **States:** none.

    **Errors:** `LayerError` for a size that is not a whole number; `ShapeError` for another last axis.
    """

    features: int
    activation: Callable[[Any], Any] | None = None
    use_bias: bool = True
    init_weight: Callable[..., Any] = init.ones()
    init_bias: Callable[..., Any] = init.zeros()

    def __post_init__(self) -> None:
        check_sizes(self, features=self.features)
        check_activation(self, self.activation)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        weight_key, bias_key = jax.random.split(key)
        weight = self.init_weight(weight_key, (self.features,))
        if not self.use_bias:
            return {"weight": weight}
        return {"weight": weight, "bias": self.init_bias(bias_key, (self.features,))}

    def __call__(
        self, x: Float[Array, "... features"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... features"], State]:
        check_last_axis(self, x, self.features)
        y = x * jnp.broadcast_to(widened(ps.weight), x.shape).astype(x.dtype)
        if self.use_bias:
            y = y + jnp.broadcast_to(widened(ps.bias), y.shape).astype(y.dtype)  # its gradient is a long sum
        return (y if self.activation is None else self.activation(y)), st
