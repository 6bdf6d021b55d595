"""Sines and cosines of the input as features."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from .._checks import check_last_axis, check_positive, check_sizes
from .bases._periodic import fraction_of_period


class PeriodicEmbedding(AbstractLayer):
    """Replaces some features by their sine and cosine, so that whatever follows is periodic in them.

    `y = (the other features, sin(2 pi x_i / period_i), cos(2 pi x_i / period_i))`, each group in the order given.

    **Arguments:** `indices`: which features, a tuple of numbers from 0; `periods`: one positive number for each.

    **Call:** `x` of shape `(..., features)` gives `(..., features + len(indices))`.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for indices that are repeated or negative, and for another number of periods; `ShapeError` for an input
    with fewer features.
    """

    indices: tuple[int, ...]
    periods: tuple[float, ...]

    def __post_init__(self) -> None:
        indices, periods = self.indices, self.periods
        if not isinstance(indices, tuple) or any(
            isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in indices
        ):
            raise LayerError(
                f"PeriodicEmbedding: indices is a tuple of numbers from 0, such as (0, 2), got {indices!r}"
            )
        if len(set(indices)) != len(indices):
            raise LayerError(f"PeriodicEmbedding: indices must differ from each other, got {indices!r}")
        if (
            not isinstance(periods, tuple)
            or len(periods) != len(indices)
            or any(isinstance(p, bool) or not isinstance(p, int | float) or not 0 < p < math.inf for p in periods)
        ):
            raise LayerError(
                f"PeriodicEmbedding: periods is a tuple of {len(indices)} positive numbers, one for each index, got {periods!r}"
            )

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        features = jnp.shape(x)[-1] if jnp.ndim(x) else 0
        if max(self.indices, default=-1) >= features:
            raise ShapeError(
                f"PeriodicEmbedding takes the features {self.indices} of the last axis, got an input of shape {jnp.shape(x)}"
            )
        others = np.array([i for i in range(features) if i not in self.indices], int)
        pairs = zip(self.indices, self.periods, strict=True)
        angles = [2 * math.pi * fraction_of_period(x[..., i : i + 1], period) for i, period in pairs]
        return jnp.concatenate([x[..., others], *map(jnp.sin, angles), *map(jnp.cos, angles)], axis=-1), st


class RandomFourierFeatures(AbstractLayer):
    """Cosines and sines of random projections, `y = (cos(x @ frequencies), sin(x @ frequencies)) / sqrt(number)`.

    The frequencies are normal with standard deviation `scale` and are not trained. The scalar product of two results is an unbiased
    estimate of a Gaussian kernel, `y . y' ≈ exp(-scale**2 |x - x'|**2 / 2)`, with a standard error of at most `1 / sqrt(2 number)`;
    `|y| = 1`. A layer on top of them learns functions of the length scale `1 / scale`, which plain networks are slow to.

    **Arguments:** `in_features`; `number` of frequencies; `scale`: their standard deviation, in radians per unit of `x`.

    **Call:** `x` of shape `(..., in_features)` gives `(..., 2 * number)`.

    **Parameters:** none. **States:** `frequencies` `(in_features, number)`.

    **Errors:** `LayerError` for sizes that cannot be; `ShapeError` for another last axis.

    **Source:** Rahimi and Recht 2007, Random Features for Large-Scale Kernel Machines; Tancik et al. 2020 for coordinates.
    """

    in_features: int
    number: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_sizes(self, in_features=self.in_features)
        check_positive(self, number=self.number)
        scale: Any = self.scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise LayerError(f"RandomFourierFeatures: scale is a positive number, got {scale!r}")

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"frequencies": self.scale * jax.random.normal(key, (self.in_features, self.number))}

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        check_last_axis(self, x, self.in_features)
        exact = widened(x)  # an angle of many turns has no digits left in bfloat16
        angles = exact @ st.frequencies.astype(exact.dtype)
        y = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1) / math.sqrt(self.number)
        return y.astype(x.dtype), st
