"""What the normalizing layers share: checks, careful statistics, the affine map at the end."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
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


def moments(
    x: Float[Array, "..."], average: Callable[[Any], Any], near: Any = None
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """`x` less nearly its mean; what is left of the mean in that; the mean; the biased variance.

    `average` takes means and keeps the number of axes. Two passes, because the difference of mean squares loses the variance of
    numbers that are large beside their spread. The second sums up the deviations as well: what rounding left of their mean (a
    share of a large mean, not of the spread) is taken off in the end. For means of few numbers, any one of them serves as `near`
    in place of the first pass: far from the others it makes the variance itself large, so that at worst `n` times the relative
    error of the dtype is lost.
    """
    # A constant to the derivative: nothing below depends on it but by rounding.
    rough = lax.stop_gradient(average(x) if near is None else near)
    deviation = x - rough
    rest = average(deviation)
    # For equal numbers, the difference may round to less than 0.
    variance = jnp.maximum(average(jnp.square(deviation)) - jnp.square(rest), 0.0)
    return deviation, rest, rough + rest, variance


def mean_over(axes: tuple[int, ...]) -> Callable[[Any], Any]:
    """The mean over these axes, which keep the length 1."""
    return lambda x: jnp.mean(x, axes, keepdims=True)


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


def finished(layer: Any, deviation: Float[Array, "..."], rest: Any, variance: Any, ps: Params, dtype: Any) -> Any:
    """`(deviation - rest) / sqrt(variance + epsilon)`, scaled and shifted by the parameters, activated, in the input's dtype."""
    weight = across(ps.weight, deviation) if layer.affine else 1.0
    bias = across(ps.bias, deviation) if layer.affine and layer.use_bias else 0.0
    scale = lax.rsqrt(variance + layer.epsilon)
    # Products of small arrays first: the gradient then needs two sums over the large one, less than half the time on a CPU.
    if scale.shape[-1] == deviation.shape[-1]:
        scale = scale * weight
        y = deviation * scale + (bias - rest * scale)
    else:
        y = (deviation * scale - rest * scale) * weight + bias
    y = y.astype(dtype)
    return y if layer.activation is None else layer.activation(y)
