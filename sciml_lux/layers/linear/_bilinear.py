"""Layers of two inputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..._errors import ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from .._checks import check_activation, check_flag, check_sizes
from .._starts import DEFAULT_WEIGHT, initial_affine


class Bilinear(AbstractLayer):
    """What is linear in each of two inputs: `y_o = activation(sum_ij a_i weight_ijo b_j + bias_o)`.

    **Arguments:** `in_features_1`, `in_features_2`, `out_features`; `activation`: an elementwise function, or None; `use_bias`;
    `init_weight`: called with the shape `(in_features_1 * in_features_2, out_features)`; `init_bias`. By default, with None for the bias,
    both are uniform within `1 / sqrt(in_features_1 * in_features_2)`, as a `Dense` of all products would start.

    **Call:** `(a, b)` of shapes `(..., in_features_1)` and `(..., in_features_2)`, with the same leading axes, gives `(..., out_features)`.
    One array `x` stands for `(x, x)`.

    **Parameters:** `weight` `(in_features_1, in_features_2, out_features)` (PyTorch: `(out, in1, in2)`); `bias`
    `(out_features,)` if `use_bias`. **States:** none.

    **Errors:** `LayerError` for sizes that are not whole numbers; `ShapeError` for inputs of other shapes.
    """

    in_features_1: int
    in_features_2: int
    out_features: int
    activation: Callable[[Any], Any] | None = None
    use_bias: bool = True
    init_weight: Callable[..., Any] = DEFAULT_WEIGHT
    init_bias: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        check_sizes(
            self,
            in_features_1=self.in_features_1,
            in_features_2=self.in_features_2,
            out_features=self.out_features,
        )
        check_activation(self, self.activation)
        check_flag(self, use_bias=self.use_bias)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        sizes = (self.in_features_1, self.in_features_2, self.out_features)
        shape = (sizes[0] * sizes[1], sizes[2])
        start = initial_affine(key, shape, self.out_features, self.init_weight, self.init_bias, self.use_bias)
        return {**start, "weight": start["weight"].reshape(sizes)}

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        pair: Any = x if isinstance(x, tuple | list) and len(x) == 2 else (x, x)
        a, b = pair
        self._check_inputs(a, b)
        rows = a @ ps.weight.reshape(self.in_features_1, self.in_features_2 * self.out_features)
        rows = rows.reshape(*a.shape[:-1], self.in_features_2, self.out_features)
        y = (b[..., None, :] @ rows)[..., 0, :]
        if self.use_bias:
            y = y + jnp.broadcast_to(ps.bias, y.shape)
        return (y if self.activation is None else self.activation(y)), st

    def _check_inputs(self, a: Any, b: Any) -> None:
        shapes = [
            jnp.shape(a) if isinstance(a, jax.Array) else None,
            jnp.shape(b) if isinstance(b, jax.Array) else None,
        ]
        last = [shape[-1:] if shape else None for shape in shapes]
        leading = {shape[:-1] if shape else None for shape in shapes}
        if last != [(self.in_features_1,), (self.in_features_2,)] or len(leading) != 1:
            given = " and ".join(str(shape) if shape is not None else "no array" for shape in shapes)
            raise ShapeError(
                f"Bilinear takes two arrays (a, b) of shapes (..., {self.in_features_1}) and (..., {self.in_features_2}) "
                f"with the same leading axes, got {given}"
            )
