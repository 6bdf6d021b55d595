"""Polynomials, by their three-term recurrences: forward recurrence is stable, inside their interval and outside."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._basis import AbstractBasis, check_domain, check_number_of_functions


@dataclass(frozen=True, repr=False)
class Chebyshev(AbstractBasis):
    """Chebyshev polynomials of the first kind, `T_0 ... T_{number-1}`, with `T_k(cos a) = cos(k a)`.

    `T_{k+1} = 2 x T_k - T_{k-1}`. **Arguments:** `number`; `lower`, `upper`: the interval that is mapped to -1 ... 1, outside which they
    grow as `x**k`.
    """

    number: int
    lower: float = -1.0
    upper: float = 1.0

    def __post_init__(self) -> None:
        check_number_of_functions(self)
        check_domain(self, self.lower, self.upper)

    def evaluate(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The polynomials at `x`."""
        t = _to_unit_interval(x, self.lower, self.upper)
        return _recurrence(t, self.number, lambda k, now, before: 2 * t * now - before)


@dataclass(frozen=True, repr=False)
class Legendre(AbstractBasis):
    """Legendre polynomials, `P_0 ... P_{number-1}`, with `P_k(1) = 1`; the integral of `P_k**2` over -1 ... 1 is `2 / (2 k + 1)`.

    `(k + 1) P_{k+1} = (2 k + 1) x P_k - k P_{k-1}`. **Arguments:** as `Chebyshev`.
    """

    number: int
    lower: float = -1.0
    upper: float = 1.0

    def __post_init__(self) -> None:
        check_number_of_functions(self)
        check_domain(self, self.lower, self.upper)

    def evaluate(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The polynomials at `x`."""
        t = _to_unit_interval(x, self.lower, self.upper)
        return _recurrence(
            t, self.number, lambda k, now, before: ((2 * k + 1) / (k + 1)) * t * now - (k / (k + 1)) * before
        )


@dataclass(frozen=True, repr=False)
class Polynomial(AbstractBasis):
    """Powers, `1, x ... x**(number-1)`. Nearly dependent on each other from about ten on: `Chebyshev` spans the same.

    **Arguments:** `number`.
    """

    number: int

    def __post_init__(self) -> None:
        check_number_of_functions(self)

    def evaluate(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The powers of `x`."""
        return _recurrence(x, self.number, lambda k, now, before: x * now)


def _recurrence(t: Float[Array, "..."], number: int, following: Callable[..., Array]) -> Float[Array, "... number"]:
    """Starts with `1, t`; `following(k, f_k, f_{k-1})` is `f_{k+1}`."""
    values = [jnp.ones_like(t), t]
    for k in range(1, number - 1):
        values.append(following(k, values[-1], values[-2]))
    return jnp.stack(values[:number], axis=-1)


def _to_unit_interval(x: Float[Array, "..."], lower: float, upper: float) -> Float[Array, "..."]:
    if (lower, upper) == (-1, 1):
        return x
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    return (x - middle) / half
