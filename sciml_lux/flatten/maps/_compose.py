"""Constraint maps made of others: one after the other, and with a scale."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from ._constraints import AbstractConstraint, no_log_determinant
from ._ravel_map import Real


@dataclass(frozen=True)
class Composed(AbstractConstraint):
    """Two maps, one after the other: `forward(u) = outer.forward(inner.forward(u))`.

    `Composed(Positive(), Ordered())` holds positive increasing vectors, `Composed(Symmetric(), Positive())` symmetric
    matrices of positive elements. The log-determinants add up, `outer` taken at `inner.forward(u)`. That needs an inner
    map whose values have all their elements free: none on a simplex, and no matrices.

    **Arguments:** `outer`: makes the value that is shown; `inner`: makes what `outer` takes.
    """

    outer: AbstractConstraint | Real
    inner: AbstractConstraint | Real

    def forward(self, unconstrained: Any) -> Any:
        return self.outer.forward(self.inner.forward(unconstrained))

    def inverse(self, value: Any) -> Any:
        return self.inner.inverse(self.outer.inverse(value))

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        middle = self.inner.forward(unconstrained)
        if np.shape(middle) != np.shape(unconstrained):
            raise no_log_determinant(self, f"the values of {self.inner!r} have more elements than degrees of freedom")
        return self.outer.log_abs_det_jacobian(middle) + self.inner.log_abs_det_jacobian(unconstrained)

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.inner.unconstrained_shape(self.outer.unconstrained_shape(shape))

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        return self.outer.coordinates(value)

    @property
    def bijective(self) -> bool:
        return self.outer.bijective and self.inner.bijective

    def check(self, value: Any) -> None:
        self.outer.check(value)
        with jax.ensure_compile_time_eval():
            middle = self.outer.inverse(value)
        try:
            self.inner.check(middle)
        except ValueError as error:
            raise ValueError(f"as {self.outer!r} stores it: {error}") from None


@dataclass(frozen=True)
class ScaledMap(AbstractConstraint):
    """A map in units of a scale: `forward(u) = scale * inner.forward(u)`.

    The scale is the size that values are expected to have, so that the stored numbers are of order one, which is what
    optimizers, finite differences and the tolerances of solvers assume: `ScaledMap(Real(), 1e-6)` stores 3e-6 as 3,
    `ScaledMap(Positive(), 1e-6)` as log 3. The log-determinant is that of `inner` plus `log(scale)` per stored number.
    Values keep all but their last bit; with a power of two, all.

    **Arguments:** `inner`: a map of values that may be multiplied; `scale`: a finite number above 0.

    **Errors:** `ValueError` for another scale.
    """

    inner: AbstractConstraint | Real
    scale: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"a scale is a finite number above 0, got {self.scale}")

    def forward(self, unconstrained: Any) -> Any:
        return self.scale * self.inner.forward(unconstrained)

    def inverse(self, value: Any) -> Any:
        return self.inner.inverse(value / self.scale)

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        return self.inner.log_abs_det_jacobian(unconstrained) + np.size(unconstrained) * math.log(self.scale)

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.inner.unconstrained_shape(shape)

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        return self.scale * self.inner.coordinates(value / self.scale)

    @property
    def bijective(self) -> bool:
        return self.inner.bijective

    def check(self, value: Any) -> None:
        try:
            self.inner.check(np.asarray(value) / self.scale)
        except ValueError as error:
            raise ValueError(f"divided by the scale {self.scale}: {error}") from None

    @property
    def name(self) -> str:
        """The inner map and the scale, such as `Positive(), scale 1e-06`."""
        return f"{self.inner.name}, scale {self.scale}" if self.inner.name else f"scale {self.scale}"
