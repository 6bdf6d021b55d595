"""`GroupNorm` and `InstanceNorm`: statistics over the space of each sample."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from .. import init
from .._checks import check_last_axis, check_number, check_positive, check_sizes
from ._running import advanced, by_running, initial_running
from ._statistics import Over, affine_parameters, check_options, finished, moments


class GroupNorm(AbstractLayer):
    """Each sample normalized over its space and the channels of a group.

    `y = activation((x - mean) / sqrt(var + epsilon) * weight + bias)`, with mean and biased variance over the last `dimensions`
    axes before the channels and over `features / groups` neighboring channels. `groups=1` normalizes each sample as a whole,
    `groups=features` each of its channels.

    **Arguments:** `features`: number of channels; `groups`, which divides it; `dimensions`: how many axes of space there are
    before the channels (2 for images; all axes in front of them are batch); `activation`: an elementwise function, or None; `epsilon`;
    `affine`: whether to scale and shift; `use_bias`: whether to shift; `init_weight`, `init_bias`: ones and zeros.

    **Call:** `x` of shape `(..., *space, features)` gives the same shape. Statistics are computed in float32 at least.

    **Parameters:** if `affine`: `weight` `(features,)`; `bias` `(features,)` if `use_bias`. **States:** none; train and test
    mode are the same.

    **Errors:** `LayerError` for arguments that cannot be, such as groups that do not divide the features; `ShapeError` for another
    last axis, too few axes, and for groups of fewer than two numbers, which normalize to nothing.

    **Source:** Wu and He 2018, Group Normalization.
    """

    features: int
    groups: int
    dimensions: int
    activation: Callable[[Any], Any] | None = None
    epsilon: float = 1e-5
    affine: bool = True
    use_bias: bool = True
    init_weight: Callable[..., Any] = init.ones()
    init_bias: Callable[..., Any] = init.zeros()

    def __post_init__(self) -> None:
        check_positive(self, features=self.features, groups=self.groups)
        check_sizes(self, dimensions=self.dimensions)
        check_options(self)
        if self.features % self.groups:
            raise LayerError(f"GroupNorm: groups={self.groups} does not divide features={self.features}")

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return affine_parameters(self, key, (self.features,))

    def __call__(
        self, x: Float[Array, "... features"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... features"], State]:
        space = _space(self, x, self.dimensions, self.features // self.groups)
        deviation, rest, inverse_std, _, _ = moments(widened(x), Over(space, self.groups), self.epsilon)
        return finished(self, deviation, rest, inverse_std, ps, x.dtype), st


class InstanceNorm(AbstractLayer):
    """Each channel of each sample normalized over its space.

    `y = activation((x - mean) / sqrt(var + epsilon) * weight + bias)`, with mean and biased variance over the last `dimensions`
    axes before the channels, in train and test mode. With `track_running_stats` the state follows them as in `BatchNorm`:
    the mean over the batch of each sample's mean and **unbiased** variance; test mode then uses the running statistics.

    **Arguments:** `features`: number of channels; `dimensions`: how many axes of space there are before the channels (2 for
    images; all axes in front of them are batch), 1 or more; `activation`: an elementwise function, or None; `epsilon`; `momentum`:
    the share of the new statistics, 0 to 1; `affine`: whether to scale and shift, not by default, as in PyTorch; `use_bias`: whether to
    shift; `track_running_stats`; `init_weight`, `init_bias`: ones and zeros.

    **Call:** `x` of shape `(..., *space, features)` gives the same shape. Statistics are computed in float32 at least.

    **Parameters:** if `affine`: `weight` `(features,)`; `bias` `(features,)` if `use_bias`.

    **States:** if `track_running_stats`: `running_mean` `(features,)`, `running_var` `(features,)`, `training`.

    **Errors:** `LayerError` for arguments that cannot be; `ShapeError` for another last axis, too few axes, a space of fewer
    than two points where its statistics are used, and an empty batch whose statistics are to be followed.

    **Source:** Ulyanov et al. 2016, Instance Normalization.
    """

    features: int
    dimensions: int
    activation: Callable[[Any], Any] | None = None
    epsilon: float = 1e-5
    momentum: float = 0.1
    affine: bool = False
    use_bias: bool = True
    track_running_stats: bool = False
    init_weight: Callable[..., Any] = init.ones()
    init_bias: Callable[..., Any] = init.zeros()

    def __post_init__(self) -> None:
        check_positive(self, features=self.features, dimensions=self.dimensions)
        check_number(self, 0.0, 1.0, momentum=self.momentum)
        check_options(self)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return affine_parameters(self, key, (self.features,))

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return initial_running(self)

    def __call__(
        self, x: Float[Array, "... features"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... features"], State]:
        if self.track_running_stats and not st.training:
            _space(self, x, self.dimensions, 2)
            return by_running(self, x, ps, st), st
        space = _space(self, x, self.dimensions, 1)
        deviation, rest, inverse_std, mean, var = moments(widened(x), Over(space), self.epsilon)
        y = finished(self, deviation, rest, inverse_std, ps, x.dtype)
        if not self.track_running_stats:
            return y, st
        if x.size == 0:
            raise ShapeError(
                f"InstanceNorm follows the statistics of at least one sample, got an empty batch, {x.shape}; "
                "judge it in lux.test_mode(st)"
            )
        points = math.prod(x.shape[axis] for axis in space)
        others = tuple(range(x.ndim - 1))
        unbiased = jnp.mean(var, others) * (points / (points - 1))
        return y, advanced(st, self.momentum, jnp.mean(mean, others), unbiased)


def _space(layer: Any, x: Any, dimensions: int, each: int) -> tuple[int, ...]:
    """The axes of space, counted from the end, after the checks: there are that many, and two numbers or more to normalize.

    `each`: how many channels are normalized together.
    """
    check_last_axis(layer, x, layer.features)
    if x.ndim < dimensions + 1:
        raise ShapeError(
            f"{type(layer).__name__} expects {dimensions} axes of space before the channels, got an input of shape {x.shape}"
        )
    axes = tuple(range(-1 - dimensions, -1))
    numbers = each * math.prod(x.shape[axis] for axis in axes)
    if isinstance(numbers, int) and numbers < 2:  # what is exported may have axes of any size
        raise ShapeError(
            f"{type(layer).__name__} takes statistics from at least 2 numbers, got an input of shape {x.shape}, of which "
            f"{dimensions} axes are space"
        )
    return axes
