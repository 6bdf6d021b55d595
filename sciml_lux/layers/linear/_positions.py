"""Positions in a sequence as sines and cosines."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from .._checks import check_positive


class SinusoidalEmbedding(AbstractLayer):
    """A number, such as a time or a position, as sines and cosines of many periods: `y = (sin(x w), cos(x w))`.

    `w_i = max_period**(-i / h)` for `i = 0 ... h - 1`, with `h = features / 2`: from one radian per unit on down. (The paper has sines and
    cosines in turn, which is the same up to the order of features.)

    **Arguments:** `features`: an even number; `max_period`: the longest wave length over 2 pi, approached from below.

    **Call:** `x` of numbers, of any shape `(...)`, gives `(..., features)`, for integers in JAX's default float.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for an odd number of features, or a `max_period` that is not above 1.

    **Source:** Vaswani et al. 2017, Attention Is All You Need, section 3.5.
    """

    features: int
    max_period: float = 10000.0

    def __post_init__(self) -> None:
        check_waves(self)

    def __call__(self, x: Num[Array, "..."], ps: Parameters, st: State) -> tuple[Float[Array, "... features"], State]:
        sine, cosine = waves(x, self.features, self.max_period)
        y = jnp.concatenate([sine, cosine], axis=-1)
        return (y.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else y.astype(jnp.result_type(float))), st


class PositionalEncoding(AbstractLayer):
    """Adds to each element of a sequence the `SinusoidalEmbedding` of its position: `y_t = x_t + (sin(t w), cos(t w))`, `t = 0, 1 ...`.

    **Arguments:** as for `SinusoidalEmbedding`.

    **Call:** `x` of shape `(..., length, features)` gives the same shape.

    **Parameters** and **states:** none.

    **Errors:** as for `SinusoidalEmbedding`; `ShapeError` for another last axis, or none before it.
    """

    features: int
    max_period: float = 10000.0

    def __post_init__(self) -> None:
        check_waves(self)

    def __call__(
        self, x: Float[Array, "... length features"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... length features"], State]:
        if x.ndim < 2 or x.shape[-1] != self.features:
            raise ShapeError(
                f"PositionalEncoding takes (..., length, {self.features}), got an input of shape {x.shape}"
            )
        positions = jnp.arange(x.shape[-2], dtype=widened(x).dtype)
        encoding = jnp.concatenate(waves(positions, self.features, self.max_period), axis=-1)
        return x + jnp.broadcast_to(encoding.astype(x.dtype), x.shape), st


class RotaryEmbedding(AbstractLayer):
    """Turns pairs of features by an angle that grows with the position, so that scalar products depend on differences of positions.

    Feature `i` of the first half and feature `i` of the second are a pair (as in GPT-NeoX and Llama; the paper pairs neighbours, which is
    the same up to the order of features): `(a, b)` becomes `(a cos(t w_i) - b sin(t w_i), b cos(t w_i) + a sin(t w_i))`, with
    `w_i = max_period**(-2 i / features)`. Of queries and keys alike, before their scalar product.

    **Arguments:** `features`: of one head, an even number; `max_period`.

    **Call:** `x` of shape `(..., length, heads, features)` gives the same shape, at the positions `0 ... length - 1`;
    `(x, positions)` for others, `positions` of shape `(length,)`, or `(..., length)` with the leading axes of `x`.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for an odd number of features, or a `max_period` that is not above 1; `ShapeError` for an input of
    another shape.

    **Source:** Su et al. 2021, RoFormer.
    """

    features: int
    max_period: float = 10000.0

    def __post_init__(self) -> None:
        check_waves(self)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Float[Array, "... length heads features"], State]:
        x, positions = x if isinstance(x, tuple | list) and len(x) == 2 else (x, None)
        if jnp.ndim(x) < 3 or jnp.shape(x)[-1] != self.features:
            raise ShapeError(
                f"RotaryEmbedding takes (..., length, heads, {self.features}), got an input of shape {jnp.shape(x)}"
            )
        if positions is not None and jnp.shape(positions) not in (x.shape[-3:-2], x.shape[:-2]):
            raise ShapeError(
                f"RotaryEmbedding takes positions of shape {x.shape[-3:-2]} or {x.shape[:-2]} beside an input of shape "
                f"{x.shape}, got {jnp.shape(positions)}"
            )
        return rotary_embedding(x, positions, self.max_period), st


def rotary_embedding(
    x: Float[Array, "... length heads features"],
    positions: Num[Array, "... length"] | None = None,
    max_period: float = 10000.0,
) -> Float[Array, "... length heads features"]:
    """What the layer `RotaryEmbedding` computes: see there. `positions`: 0 ... length - 1 by default."""
    exact = widened(x)
    if positions is None:
        positions = jnp.arange(x.shape[-3], dtype=exact.dtype)
    angles = waves(positions, x.shape[-1], max_period)
    half = (*x.shape[:-1], x.shape[-1] // 2)
    sine, cosine = (jnp.broadcast_to(wave.astype(exact.dtype)[..., None, :], half) for wave in angles)
    a, b = jnp.split(exact, 2, axis=-1)
    return jnp.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=-1).astype(x.dtype)


def waves(x: Num[Array, "..."], features: int, max_period: float) -> tuple[Float[Array, "... half"], ...]:
    """Sines and cosines of `x` at `features / 2` frequencies, in float32 or more."""
    x = widened(x) if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
    frequencies = float(max_period) ** (-np.arange(features // 2) / (features // 2))
    angles = x[..., None] * jnp.asarray(frequencies, x.dtype)[(None,) * x.ndim]
    return jnp.sin(angles), jnp.cos(angles)


def check_waves(layer: Any) -> None:
    """Raises `LayerError` unless the fields `features` and `max_period` are an even number and one above 1."""
    name = type(layer).__name__
    check_positive(layer, features=layer.features)
    if layer.features % 2:
        raise LayerError(
            f"{name}: features is an even number, a sine and a cosine of each frequency, got {layer.features}"
        )
    period = layer.max_period
    if isinstance(period, bool) or not isinstance(period, int | float) or not 1 < period < math.inf:
        raise LayerError(f"{name}: max_period is a number above 1, got {period!r}")
