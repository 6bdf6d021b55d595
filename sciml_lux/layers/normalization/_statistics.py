"""What the normalizing layers share: checks, careful statistics, the affine map at the end."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ...flatten import LayerError, Params
from .._checks import check_activation, check_flag


def check_options(layer: Any) -> None:
    """Raises `LayerError` for an epsilon, an activation or a flag that cannot be."""
    epsilon = layer.epsilon
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0.0 < epsilon < math.inf:
        raise LayerError(f"{type(layer).__name__}: epsilon is a positive number, got {epsilon!r}")
    for name in ("affine", "use_bias", "track_running_stats"):
        check_flag(layer, **({name: getattr(layer, name)} if hasattr(layer, name) else {}))
    check_activation(layer, getattr(layer, "activation", None))


def wide(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` in a dtype in which sums of many numbers can be trusted: float32 for halves, its own otherwise."""
    return x.astype(np.promote_types(x.dtype, np.float32)) if jnp.finfo(x.dtype).bits < 32 else x


def centered(x: Float[Array, "..."], axes: tuple[int, ...]) -> tuple[Float[Array, "..."], ...]:
    """`x` less its mean over `axes`, that mean, and the biased variance; the latter two keep the axes, with length 1.

    Two passes, because the difference of mean squares loses the variance of numbers that are large beside their spread. The
    second sums up the deviations from the first one's mean as well: what rounding left of their mean (a share of a large
    mean, not of the spread) is taken off again.
    """
    # A constant to the derivative: nothing below depends on it but by rounding.
    rough = lax.stop_gradient(jnp.mean(x, axes, keepdims=True))
    deviation = x - rough
    rest = jnp.mean(deviation, axes, keepdims=True)
    variance = jnp.mean(jnp.square(deviation), axes, keepdims=True) - jnp.square(rest)
    # For equal numbers, the difference may round to less than 0.
    return deviation - rest, rough + rest, jnp.maximum(variance, 0.0)


def across(vector: Float[Array, "*shape"], like: Float[Array, "..."]) -> Float[Array, "..."]:
    """`vector` in the dtype of `like`, with axes of length 1 in front until it has as many."""
    return vector.astype(like.dtype).reshape((1,) * (like.ndim - vector.ndim) + vector.shape)


def affine_parameters(layer: Any, key: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """`weight`, and `bias` if the layer uses one, of that shape; nothing if the layer is not affine."""
    if not layer.affine:
        return {}
    weight_key, bias_key = jax.random.split(key)
    weight = {"weight": layer.init_weight(weight_key, shape)}
    return {**weight, "bias": layer.init_bias(bias_key, shape)} if layer.use_bias else weight


def finished(layer: Any, y: Float[Array, "..."], ps: Params, dtype: Any) -> Float[Array, "..."]:
    """The normalized numbers scaled and shifted by the layer's parameters, activated, in the dtype of the input."""
    if layer.affine:
        y = y * across(ps.weight, y)
        if layer.use_bias:
            y = y + across(ps.bias, y)
    y = y.astype(dtype)
    return y if layer.activation is None else layer.activation(y)
