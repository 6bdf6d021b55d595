"""Constraint maps for vectors: ordered, on a simplex, of unit length. They act on the last axis; leading axes are a stack."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._errors import LayoutError
from ._constraints import AbstractConstraint, concrete, no_log_determinant


@dataclass(frozen=True)
class Ordered(AbstractConstraint):
    """Increasing vectors (the last axis), stored as the first element and the logarithms of the steps.

    `x[0] = u[0]`, `x[k] = x[k-1] + exp(u[k])`; log-determinant `sum(u[1:])`. A bijection between real and strictly
    increasing vectors; in floating point a step that is smaller than the rounding of its neighbors is lost, which makes
    them equal. Leading axes are a stack of vectors, each increasing.

    Source: Stan Reference Manual, "Ordered vector" (Constraint transforms).
    """

    def forward(self, unconstrained: Any) -> Any:
        first, steps = unconstrained[..., :1], unconstrained[..., 1:]
        return jnp.cumsum(jnp.concatenate([first, jnp.exp(steps)], axis=-1), axis=-1)

    def inverse(self, value: Any) -> Any:
        value = jnp.asarray(value)
        return jnp.concatenate([value[..., :1], jnp.log(jnp.diff(value, axis=-1))], axis=-1)

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        return jnp.sum(unconstrained[..., 1:])

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        length_of(shape, "an ordered vector")
        return shape

    def check(self, value: Any) -> None:
        self.unconstrained_shape(np.shape(value))
        array = np.asarray(value)
        if not bool(np.all(array[..., 1:] > array[..., :-1]) and np.all(np.isfinite(array))):
            raise ValueError(f"an ordered vector is strictly increasing along its last axis, got {value!r}")


@dataclass(frozen=True)
class Simplex(AbstractConstraint):
    """Positive numbers with sum 1 along the last axis: K of them, stored as K - 1 logarithms of ratios.

    `x = softmax([u, 0])`, `u[k] = log(x[k] / x[K-1])`: the additive log-ratio transform. A bijection between K - 1 real
    numbers and the inside of the simplex; the log-determinant, with respect to the first K - 1 elements, is `sum(log x)`
    over all K. Values are above 0 until exp(u) leaves the range of floats (differences above 700, or 87 in float32).
    One number alone (K = 1) is 1 and takes no room. Leading axes are a stack of simplexes.

    Source: J. Aitchison, The Statistical Analysis of Compositional Data (1986), section 6.2.
    """

    def forward(self, unconstrained: Any) -> Any:
        return jax.nn.softmax(self._logits(unconstrained), axis=-1)

    def inverse(self, value: Any) -> Any:
        logarithms = jnp.log(value)
        return logarithms[..., :-1] - logarithms[..., -1:]

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        return jnp.sum(jax.nn.log_softmax(self._logits(unconstrained), axis=-1))

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        length = length_of(shape, "a simplex")
        if length == 0:
            raise LayoutError(f"a simplex has at least one number, got shape {shape}: none have the sum 1")
        return (*shape[:-1], length - 1)

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        return jnp.reshape(value[..., :-1], (-1,))

    def check(self, value: Any) -> None:
        self.unconstrained_shape(np.shape(value))
        array, error = concrete(value)
        total = np.sum(array, axis=-1)
        if not bool(np.all(array > 0) and np.all(np.abs(total - 1) <= 4 * error * array.shape[-1])):
            raise ValueError(
                f"numbers on a simplex are above 0 and have the sum 1 along the last axis, got {value!r} with "
                f"the sum {total}; write value / value.sum(-1, keepdims=True)"
            )

    @staticmethod
    def _logits(unconstrained: Any) -> Any:
        pinned = jnp.zeros((*unconstrained.shape[:-1], 1), unconstrained.dtype)
        return jnp.concatenate([unconstrained, pinned], axis=-1)


@dataclass(frozen=True)
class UnitVector(AbstractConstraint):
    """Vectors of length 1 (the last axis), stored as a vector of any length but 0: `forward(u) = u / |u|`.

    Reaches every direction, and moves smoothly through all of them, which no K - 1 numbers can do for K elements. It
    is therefore no bijection: `u` and `2 u` are the same direction, the gradient is orthogonal to `u`, and there is no
    log-determinant. For a density over directions add `-sum(u**2) / 2`: normal numbers have uniform directions.
    The inverse is the identity. Where `u` is 0 the direction is not defined: NaN. Leading axes are a stack of vectors.

    Source: Stan Reference Manual, "Unit vector" (Constraint transforms); M. E. Muller (1959), CACM 2(4), page 19.
    """

    def forward(self, unconstrained: Any) -> Any:
        # Without the largest element first, squares overflow. The result does not depend on it, nor does its derivative.
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(unconstrained), axis=-1, keepdims=True))
        direction = unconstrained / largest
        return direction / jnp.sqrt(jnp.sum(direction**2, axis=-1, keepdims=True))

    def inverse(self, value: Any) -> Any:
        return value

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        raise no_log_determinant(
            self,
            "u and 2 u are the same direction, so that it is no bijection; "
            "for a uniform density over directions add -sum(u**2) / 2 to that of the vector",
        )

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if length_of(shape, "a unit vector") == 0:
            raise LayoutError(f"a unit vector has at least one element, got shape {shape}")
        return shape

    @property
    def bijective(self) -> bool:
        return False

    def check(self, value: Any) -> None:
        self.unconstrained_shape(np.shape(value))
        array, error = concrete(value)
        length = np.linalg.norm(array, axis=-1)
        if not bool(np.all(np.abs(length - 1) <= 4 * error * array.shape[-1])):
            raise ValueError(
                f"a unit vector has the length 1 along its last axis, got {value!r} of length {length}; "
                "divide it by its length"
            )


def length_of(shape: tuple[int, ...], what: str) -> int:
    """The length of the last axis. **Errors:** `LayoutError` if there is none."""
    if not shape:
        raise LayoutError(f"{what} has at least one axis, got a scalar")
    return shape[-1]
