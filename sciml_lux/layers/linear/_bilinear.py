"""Layers of two inputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...core import AbstractLayer, State
from ...flatten import Params, ShapeError
from .. import init
from .._checks import check_activation, check_flag, check_sizes


class Bilinear(AbstractLayer):
    """What is linear in each of two inputs: `y_o = activation(sum_ij a_i weight_ijo b_j + bias_o)`.

    **Arguments:** `in_features_1`, `in_features_2`, `out_features`; `activation`: an elementwise function, or None; `use_bias`;
    `init_weight`: called with the shape `(in_features_1 * in_features_2, out_features)`, Glorot uniform by default; `init_bias`.

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
    init_weight: Callable[..., Any] = init.glorot_uniform()
    init_bias: Callable[..., Any] = init.zeros()

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
        weight_key, bias_key = jax.random.split(key)
        sizes = (self.in_features_1, self.in_features_2, self.out_features)
        weight = self.init_weight(weight_key, (sizes[0] * sizes[1], sizes[2])).reshape(sizes)
        if not self.use_bias:
            return {"weight": weight}
        return {"weight": weight, "bias": self.init_bias(bias_key, (self.out_features,))}

    def __call__(self, x: Any, ps: Params, st: State) -> tuple[Float[Array, "... out"], State]:
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
