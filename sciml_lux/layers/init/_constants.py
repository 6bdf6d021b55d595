"""Starts that need no random numbers."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..._errors import LayerError, ShapeError
from ._initializer import AbstractInitializer, check_real


@dataclass(frozen=True, repr=False)
class zeros(AbstractInitializer):  # noqa: N801  an initializer reads as a function: init.zeros()
    """All zero. Variance 0."""

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.zeros(shape)


@dataclass(frozen=True, repr=False)
class ones(AbstractInitializer):  # noqa: N801
    """All one. Variance 0."""

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.ones(shape)


@dataclass(frozen=True, repr=False)
class constant(AbstractInitializer):  # noqa: N801
    """All `value`. Variance 0."""

    value: float

    def __post_init__(self) -> None:
        check_real(self, value=self.value)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.full(shape, float(self.value))


@dataclass(frozen=True, repr=False)
class identity(AbstractInitializer):  # noqa: N801
    """`gain` times the map that returns its input: ones on the diagonal, zeros elsewhere. Variance 0.

    A weight `(in, out)` starts as `gain * eye(in, out)`: if `out < in` the last features are dropped, if `out > in` zeros are
    appended (`torch.nn.init.eye_`). A convolution's, `(*window, in / groups, out)`, has it at the center of the window, within
    each of the `groups` (`torch.nn.init.dirac_`); of a window with an even side `k`, at `(k - 1) // 2`, which is what padding
    "SAME" keeps in place.

    **Errors:** `ShapeError` for fewer than two axes, or outputs that `groups` does not divide.
    """

    gain: float = 1.0
    groups: int = 1

    def __post_init__(self) -> None:
        check_real(self, gain=self.gain)
        if isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1:
            raise LayerError(f"init.identity: groups is a whole number, 1 or more, got {self.groups!r}")

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        if len(shape) < 2 or shape[-1] % self.groups:
            raise ShapeError(
                f"init.identity(groups={self.groups}) takes a shape (..., in, out) with out a multiple of groups, got {shape}"
            )
        *window, inputs, outputs = shape
        matrix = jnp.tile(float(self.gain) * jnp.eye(inputs, outputs // self.groups), (1, self.groups))
        if math.prod(window) == 0:
            return jnp.zeros(shape)
        center = tuple((size - 1) // 2 for size in window)
        return jnp.zeros(shape).at[center].set(matrix) if window else matrix
