"""What the normalizing layers share: checks, careful statistics, the affine map at the end."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..._errors import LayerError
from ...flatten import Parameters
from ...kernels import inverse_unit
from .._checks import check_activation, check_flag


def check_options(layer: Any) -> None:
    """Raises `LayerError` for an epsilon, an activation or a flag that cannot be."""
    epsilon = layer.epsilon
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0.0 < epsilon < math.inf:
        raise LayerError(f"{type(layer).__name__}: epsilon is a positive number, got {epsilon!r}")
    for name in ("affine", "use_bias", "track_running_stats"):
        check_flag(layer, **({name: getattr(layer, name)} if hasattr(layer, name) else {}))
    check_activation(layer, getattr(layer, "activation", None))


class Over(NamedTuple):
    """What statistics are taken over: `axes`, and neighboring channels, the last axis being cut into that many `groups` of them.

    They keep the number of axes, and the channels if there are groups.
    """

    axes: tuple[int, ...]
    groups: int | None = None

    def number(self, x: Float[Array, "..."]) -> int:
        """How many numbers of `x` each is taken from."""
        channels = 1 if self.groups is None else x.shape[-1] // self.groups
        return channels * math.prod(x.shape[axis] for axis in self.axes)

    def mean(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The mean of each."""
        return self._reduced(jnp.mean, x)

    def largest(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The largest number of each."""
        return self._reduced(jnp.max, x)

    def _reduced(self, reduction: Callable[..., Any], x: Float[Array, "..."]) -> Float[Array, "..."]:
        y = reduction(x, self.axes, keepdims=True)  # first over space, which makes it small
        if self.groups is None:
            return y
        grouped = y.reshape(*y.shape[:-1], self.groups, y.shape[-1] // self.groups)
        return jnp.broadcast_to(reduction(grouped, -1, keepdims=True), grouped.shape).reshape(y.shape)


class Moments(NamedTuple):
    """Numbers as their statistics see them: `(deviation - rest) * inverse_std` is what a layer normalizes them to.

    `deviation` is `x` less nearly its mean, in a `unit` in which it is at most 1 or so, `rest` what is left of the mean in that;
    `inverse_std` is `1 / sqrt(variance + epsilon)` in that unit; `mean` and the biased `variance` are those of `x`.
    """

    deviation: Float[Array, "..."]
    rest: Float[Array, "..."]
    inverse_std: Float[Array, "..."]
    mean: Float[Array, "..."]
    variance: Float[Array, "..."]


def moments(x: Float[Array, "..."], over: Over, epsilon: float) -> Moments:
    """The moments of `x` over some of its axes.

    Two passes, because the difference of mean squares loses the variance of numbers that are large beside their spread. The
    second sums up the deviations as well: what rounding left of their mean (a share of a large mean, not of the spread) is taken
    off in the end.
    """
    # A constant to the derivative: nothing below depends on it but by rounding. Divided before it is summed up, which would overflow.
    number = over.number(x)  # a symbol in what is exported for all sizes
    share = 2.0 ** -(math.ceil(math.log2(number)) if isinstance(number, int) else 31)
    rough = lax.stop_gradient(over.mean(x * share) / share)
    deviation = x - rough
    per_unit, root_epsilon = inverse_unit(over.largest(jnp.abs(lax.stop_gradient(deviation))), epsilon)
    deviation = deviation * per_unit
    rest = over.mean(deviation)
    # For equal numbers, the difference may round to less than 0.
    variance = jnp.maximum(over.mean(jnp.square(deviation)) - jnp.square(rest), 0.0)
    inverse_std = lax.rsqrt(variance + jnp.square(root_epsilon))
    return Moments(deviation, rest, inverse_std, rough + rest / per_unit, variance / per_unit / per_unit)


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


def finished(
    layer: Any, deviation: Float[Array, "..."], rest: Any, inverse_std: Float[Array, "..."], ps: Parameters, dtype: Any
) -> Any:
    """`(deviation - rest) * inverse_std`, scaled and shifted by the parameters, activated, in the input's dtype."""
    weight = across(ps.weight, deviation) if layer.affine else 1.0
    bias = across(ps.bias, deviation) if layer.affine and layer.use_bias else 0.0
    # Products of small arrays first: the gradient then needs two sums over the large one, less than half the time on a CPU.
    if inverse_std.shape[-1] == deviation.shape[-1]:
        scale = inverse_std * weight
        y = deviation * scale + (bias - rest * scale)
    else:
        y = (deviation * inverse_std - rest * inverse_std) * weight + bias
    y = y.astype(dtype)
    return y if layer.activation is None else layer.activation(y)
