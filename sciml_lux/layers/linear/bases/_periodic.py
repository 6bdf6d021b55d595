"""Sines and cosines. A whole number of periods is taken off before they are multiplied, so that no accuracy is lost far from 0."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...._errors import LayerError
from ._basis import AbstractBasis, check_number_of_functions

_TURN = 2 * math.pi


@dataclass(frozen=True, repr=False)
class Fourier(AbstractBasis):
    """A Fourier series: `1, cos a, sin a, cos 2a, sin 2a ...` with `a = 2 pi x / period`.

    **Arguments:** `number` of functions, the constant included; `period`: 2 pi by default.
    """

    number: int
    period: float = _TURN

    def __post_init__(self) -> None:
        check_number_of_functions(self)
        _check_period(self, self.period)

    def evaluate(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The series at `x`."""
        angles = _multiples(x, self.period, self.number // 2)
        pairs = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        pairs = pairs.reshape(*x.shape, 2 * (self.number // 2))
        return jnp.concatenate([jnp.ones_like(x)[..., None], pairs], axis=-1)[..., : self.number]


@dataclass(frozen=True, repr=False)
class Sine(AbstractBasis):
    """Sines: `sin a, sin 2a ... sin(number a)` with `a = 2 pi x / period`. **Arguments:** `number`; `period`: 2 pi by default."""

    number: int
    period: float = _TURN

    def __post_init__(self) -> None:
        check_number_of_functions(self)
        _check_period(self, self.period)

    def evaluate(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The sines at `x`."""
        return jnp.sin(_multiples(x, self.period, self.number))


@dataclass(frozen=True, repr=False)
class Cosine(AbstractBasis):
    """Cosines: `cos a, cos 2a ... cos(number a)` with `a = 2 pi x / period`, without the constant. **Arguments:** as `Sine`."""

    number: int
    period: float = _TURN

    def __post_init__(self) -> None:
        check_number_of_functions(self)
        _check_period(self, self.period)

    def evaluate(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The cosines at `x`."""
        return jnp.cos(_multiples(x, self.period, self.number))


def fraction_of_period(x: Float[Array, "..."], period: float) -> Float[Array, "..."]:
    """`x / period` less the nearest whole number."""
    periods = x / period
    return periods - jnp.round(periods)


def _multiples(x: Float[Array, "..."], period: float, number: int) -> Float[Array, "... number"]:
    turns = _TURN * np.arange(1, number + 1)
    return fraction_of_period(x, period)[..., None] * jnp.asarray(turns, x.dtype)[(None,) * x.ndim]


def _check_period(basis: AbstractBasis, period: object) -> None:
    if isinstance(period, bool) or not isinstance(period, int | float) or not 0 < period < math.inf:
        raise LayerError(f"bases.{type(basis).__name__}: period is a positive number, got {period!r}")
