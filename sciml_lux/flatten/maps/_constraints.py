"""Constraint maps: parameters that live in a set, such as an interval, stored as unconstrained real numbers.

Each has `forward` (unconstrained numbers to value), `inverse` (back) and `log_abs_det_jacobian`, the logarithm of the
absolute determinant of the Jacobian of `forward`: the term that turns a density over values into a density over the
vector. Here are their base and those that act on each element; `_vectors` and `_matrices` act on the last axes.
"""

import abc
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._errors import ParameterError
from ._ravel_map import AbstractRavelMap, ArraySpec, Spec


class AbstractConstraint(AbstractRavelMap):
    """A smooth map from unconstrained real numbers to the values that are allowed: write three methods, get a ravel map.

    `forward`, `inverse` and `log_abs_det_jacobian` take arrays of any leading axes. A map that is not elementwise adds
    `unconstrained_shape`, and `coordinates` if a value has more elements than it has degrees of freedom.
    """

    @abc.abstractmethod
    def forward(self, unconstrained: Any) -> Any:
        """The value that unconstrained numbers stand for."""

    @abc.abstractmethod
    def inverse(self, value: Any) -> Any:
        """The unconstrained numbers that stand for a value."""

    @abc.abstractmethod
    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        """log |det d coordinates(forward(u)) / d u|, summed over leading axes.

        **Errors:** `ParameterError` with the reason if the map has no determinant, as where it is not a bijection.
        """

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the unconstrained numbers that stand for a value of `shape`; by default the same.

        **Errors:** `LayoutError` if no value of this map has such a shape.
        """
        return shape

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        """The numbers in which the volume of a set of values is measured: as many as are stored; by default all elements."""
        return jnp.reshape(value, (-1,))

    def size(self, spec: Spec) -> int:
        assert isinstance(spec, ArraySpec)
        return math.prod(self.unconstrained_shape(spec.shape))

    def ravel(self, value: Any, spec: Spec) -> Float[Array, " size"]:
        return jnp.reshape(self.inverse(value), (-1,))

    def unravel(self, segment: Float[Array, " size"], spec: Spec) -> Any:
        assert isinstance(spec, ArraySpec)
        value = self.forward(jnp.reshape(segment, self.unconstrained_shape(spec.shape)))
        # No numbers are stored for a rotation of no axes and for one of one axis; only the shape tells them apart.
        return jnp.zeros(spec.shape, value.dtype) if 0 in spec.shape else value


def no_log_determinant(ravel_map: AbstractRavelMap, reason: str) -> ParameterError:
    """The error of a map that changes volumes by no factor that could be given."""
    return ParameterError(f"{ravel_map!r} has no log-determinant: {reason}")


def concrete(value: Any) -> tuple[np.ndarray, float]:
    """A value for NumPy to test, in double precision, and the relative error to forgive in it: single precision or worse.

    Numbers that were once of single precision may come as Python floats, as when a model is built from its repr.
    """
    array = np.asarray(value)
    kind = array.dtype if jnp.issubdtype(array.dtype, jnp.inexact) else np.dtype(float)
    wide = complex if jnp.issubdtype(kind, jnp.complexfloating) else float
    return array.astype(wide), max(float(jnp.finfo(kind).eps), float(jnp.finfo(np.float32).eps))


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
class PositiveSoftplus(AbstractConstraint):
    """Values above 0, stored through the softplus: `forward(u) = log(1 + exp(u))`, log-determinant `-sum(softplus(-u))`.

    Large values are stored as themselves (a step of the vector is a step of the value, where the logarithm makes it a
    factor), small ones as their logarithm. The inverse `v + log(1 - exp(-v))` keeps its digits at both ends: by `expm1`
    below log 2 and `log1p` above (Mächler 2012, "Accurately computing log(1 - exp(-|a|))", equation 7).
    """

    def forward(self, unconstrained: Any) -> Any:
        return jax.nn.softplus(unconstrained)

    def inverse(self, value: Any) -> Any:
        value = jnp.asarray(value)
        # Each branch gets a harmless argument where the other is taken, so that its derivative is finite there.
        small = value < math.log(2.0)
        below = jnp.log(-jnp.expm1(-jnp.where(small, value, 1.0)))
        above = jnp.log1p(-jnp.exp(-jnp.where(small, 1.0, value)))
        return value + jnp.where(small, below, above)

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        return -jnp.sum(jax.nn.softplus(-unconstrained))

    def check(self, value: Any) -> None:
        Positive().check(value)


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

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """No numbers."""
        return (0,)

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        """No numbers: a point has no volume."""
        return jnp.zeros((0,), jnp.result_type(value))

    @property
    def name(self) -> str:
        return "Fixed"
