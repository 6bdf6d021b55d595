"""Starts whose spread follows from the numbers of inputs and outputs, so that signals keep their size from layer to layer."""

import math
from dataclasses import dataclass

import jax
from jaxtyping import Array, Float, Key

from ._fans import check_mode, std_for
from ._initializer import AbstractInitializer, check_real


@dataclass(frozen=True, repr=False)
class glorot_uniform(AbstractInitializer):  # noqa: N801  an initializer reads as a function: init.glorot_uniform()
    """Uniform with mean 0 and variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010, equation 16). Also called Xavier."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        check_real(self, gain=self.gain)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return _uniform(key, shape, std_for(shape, self.gain, "fan_avg"))


@dataclass(frozen=True, repr=False)
class glorot_normal(AbstractInitializer):  # noqa: N801
    """Normal with mean 0 and variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010). Also called Xavier."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        check_real(self, gain=self.gain)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return std_for(shape, self.gain, "fan_avg") * jax.random.normal(key, shape)


@dataclass(frozen=True, repr=False)
class kaiming_uniform(AbstractInitializer):  # noqa: N801
    """Uniform with mean 0 and variance `gain**2 / fan` (He et al. 2015, equation 10).

    **Arguments:** `gain`: relu's by default, sqrt(2); `init.gain(activation)` is that of others. `mode`: the fan: `"fan_in"` keeps the
    size of signals, `"fan_out"` that of gradients, `"fan_avg"` is between them.
    """

    gain: float = math.sqrt(2.0)
    mode: str = "fan_in"

    def __post_init__(self) -> None:
        check_real(self, gain=self.gain)
        check_mode(self, self.mode)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return _uniform(key, shape, std_for(shape, self.gain, self.mode))


@dataclass(frozen=True, repr=False)
class kaiming_normal(AbstractInitializer):  # noqa: N801
    """Normal with mean 0 and variance `gain**2 / fan` (He et al. 2015, equation 10). **Arguments:** as `kaiming_uniform`."""

    gain: float = math.sqrt(2.0)
    mode: str = "fan_in"

    def __post_init__(self) -> None:
        check_real(self, gain=self.gain)
        check_mode(self, self.mode)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return std_for(shape, self.gain, self.mode) * jax.random.normal(key, shape)


@dataclass(frozen=True, repr=False)
class lecun_uniform(AbstractInitializer):  # noqa: N801
    """Uniform with mean 0 and variance `gain**2 / fan_in` (LeCun et al. 1998), for selu and for no activation."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        check_real(self, gain=self.gain)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return _uniform(key, shape, std_for(shape, self.gain, "fan_in"))


@dataclass(frozen=True, repr=False)
class lecun_normal(AbstractInitializer):  # noqa: N801
    """Normal, with its tails, with mean 0 and variance `gain**2 / fan_in` (LeCun et al. 1998), for selu and for no activation."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        check_real(self, gain=self.gain)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return std_for(shape, self.gain, "fan_in") * jax.random.normal(key, shape)


def _uniform(key: Key[Array, ""], shape: tuple[int, ...], std: float) -> Float[Array, "..."]:
    limit = math.sqrt(3.0) * std  # a uniform variable on (-limit, limit) has the variance limit**2 / 3
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)
