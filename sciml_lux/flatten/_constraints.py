"""Constraint maps: parameters that live in an interval, stored as unconstrained real numbers.

Each has `forward` (unconstrained number to value), `inverse` (back) and `log_abs_det_jacobian`, the logarithm of the
absolute determinant of the Jacobian of `forward`, summed over the elements: the term that turns a density over values
into a density over the vector.
"""

import abc
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._ravel_map import AbstractRavelMap, ArraySpec, Spec


class AbstractConstraint(AbstractRavelMap):
    """An elementwise bijection between real numbers and the values that are allowed: write three methods, get a map."""

    @abc.abstractmethod
    def forward(self, unconstrained: Any) -> Any:
        """The value that an unconstrained number stands for."""

    @abc.abstractmethod
    def inverse(self, value: Any) -> Any:
        """The unconstrained number that stands for a value."""

    @abc.abstractmethod
    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        """log |det d forward / d unconstrained|, summed over the elements."""

    def size(self, spec: Spec) -> int:
        assert isinstance(spec, ArraySpec)
        return spec.size

    def ravel(self, value: Any, spec: Spec) -> Float[Array, " size"]:
        return jnp.reshape(self.inverse(value), (-1,))

    def unravel(self, segment: Float[Array, " size"], spec: Spec) -> Any:
        assert isinstance(spec, ArraySpec)
        return self.forward(jnp.reshape(segment, spec.shape))


@dataclass(frozen=True)
class Positive(AbstractConstraint):
    """Values above 0, stored as their natural logarithm: `forward(u) = exp(u)`, log-determinant `sum(u)`."""

    def forward(self, unconstrained: Any) -> Any:
        return jnp.exp(unconstrained)

    def inverse(self, value: Any) -> Any:
        return jnp.log(value)

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        return jnp.sum(unconstrained)

    def check(self, value: Any) -> None:
        if not bool(np.all((np.asarray(value) > 0) & np.isfinite(value))):
            raise ValueError(f"a positive parameter is a finite number above 0, got {value!r}")


@dataclass(frozen=True)
class Bounded(AbstractConstraint):
    """Values strictly between `lower` and `upper`.

    With both finite, a logistic map: `forward(u) = lower + (upper - lower) / (1 + exp(-u))`, log-determinant
    `sum(log(upper - lower) - softplus(u) - softplus(-u))`. With one of them infinite, `lower + exp(u)` or
    `upper - exp(u)`. With both, the identity.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"bounded needs lower < upper, got lower={self.lower}, upper={self.upper}")

    def forward(self, unconstrained: Any) -> Any:
        match math.isfinite(self.lower), math.isfinite(self.upper):
            case True, True:
                # Measured from the nearer end, so that values next to either bound keep their relative precision.
                width = self.upper - self.lower
                low, high = jax.nn.sigmoid(unconstrained), jax.nn.sigmoid(-unconstrained)
                return jnp.where(unconstrained < 0, self.lower + width * low, self.upper - width * high)
            case True, False:
                return self.lower + jnp.exp(unconstrained)
            case False, True:
                return self.upper - jnp.exp(unconstrained)
            case _:
                return unconstrained

    def inverse(self, value: Any) -> Any:
        match math.isfinite(self.lower), math.isfinite(self.upper):
            case True, True:
                return jnp.log(value - self.lower) - jnp.log(self.upper - value)
            case True, False:
                return jnp.log(value - self.lower)
            case False, True:
                return jnp.log(self.upper - value)
            case _:
                return value

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        match math.isfinite(self.lower), math.isfinite(self.upper):
            case True, True:
                width = math.log(self.upper - self.lower)
                return jnp.sum(width - jax.nn.softplus(unconstrained) - jax.nn.softplus(-unconstrained))
            case False, False:
                return jnp.zeros((), jnp.result_type(unconstrained))
            case _:
                return jnp.sum(unconstrained)

    def check(self, value: Any) -> None:
        array = np.asarray(value)
        if not bool(np.all((array > self.lower) & (array < self.upper) & np.isfinite(array))):
            raise ValueError(
                f"a parameter bounded by {self.lower} and {self.upper} lies strictly between them, got {value!r}"
            )


@dataclass(frozen=True)
class Fixed(AbstractRavelMap):
    """A constant: shown to the layer like any parameter, and not stored in the vector (size 0)."""

    value: float | tuple[Any, ...]

    def size(self, spec: Spec) -> int:
        return 0

    def ravel(self, value: Any, spec: Spec) -> Float[Array, " size"]:
        assert isinstance(spec, ArraySpec)
        return jnp.zeros((0,), spec.dtype)

    def unravel(self, segment: Float[Array, " size"], spec: Spec) -> Any:
        assert isinstance(spec, ArraySpec)
        return jnp.asarray(self.value, spec.dtype)

    def check(self, value: Any) -> None:
        array = np.asarray(value)
        if not bool(np.all(array == np.asarray(self.value, array.dtype))):
            raise ValueError(
                f"a parameter fixed at {self.value} keeps that value, got {value!r}; declare it with another"
            )

    def forward(self, unconstrained: Any) -> Any:
        """The constant; `unconstrained` is the empty array that stands for it."""
        return jnp.asarray(self.value, jnp.result_type(unconstrained))

    def inverse(self, value: Any) -> Any:
        """The empty array: nothing is stored."""
        return jnp.zeros((0,), jnp.result_type(value))

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        """0: the map from no numbers to one point."""
        return jnp.zeros((), jnp.result_type(unconstrained))

    @property
    def name(self) -> str:
        return "Fixed"
