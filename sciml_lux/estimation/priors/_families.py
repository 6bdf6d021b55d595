"""The densities that are known by name."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from ._prior import AbstractPrior, above_zero

_LOG_2_PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Normal(AbstractPrior):
    """A normal density of this mean and standard deviation."""

    mean: float
    standard_deviation: float

    def __post_init__(self) -> None:
        above_zero(type(self), standard_deviation=self.standard_deviation)

    def log_density(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        z = (value - self.mean) / self.standard_deviation
        return -0.5 * z**2 - 0.5 * _LOG_2_PI - float(np.log(self.standard_deviation))

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        return self.mean + self.standard_deviation * scipy.special.ndtri(probability)


@dataclass(frozen=True)
class LogNormal(AbstractPrior):
    """A value above 0 whose natural logarithm is normal, of this mean and standard deviation."""

    mean: float
    standard_deviation: float

    def __post_init__(self) -> None:
        above_zero(type(self), standard_deviation=self.standard_deviation)

    def log_density(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        log_value = jnp.log(value)
        return Normal(self.mean, self.standard_deviation).log_density(log_value) - log_value

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        return np.exp(Normal(self.mean, self.standard_deviation).quantile(probability))


@dataclass(frozen=True)
class HalfNormal(AbstractPrior):
    """A value above 0: the size of a normal number of mean 0 and this standard deviation."""

    standard_deviation: float

    def __post_init__(self) -> None:
        above_zero(type(self), standard_deviation=self.standard_deviation)

    def log_density(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        density = Normal(0.0, self.standard_deviation).log_density(value) + float(np.log(2))
        return jnp.where(value >= 0, density, -jnp.inf)

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        return self.standard_deviation * scipy.special.ndtri((1 + probability) / 2)


@dataclass(frozen=True)
class HalfCauchy(AbstractPrior):
    """A value above 0: the size of a Cauchy number of location 0 and this scale, which is its median."""

    scale: float

    def __post_init__(self) -> None:
        above_zero(type(self), scale=self.scale)

    def log_density(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        density = float(np.log(2 / np.pi / self.scale)) - jnp.log1p((value / self.scale) ** 2)
        return jnp.where(value >= 0, density, -jnp.inf)

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        return self.scale * np.tan(np.pi / 2 * probability)


@dataclass(frozen=True)
class Uniform(AbstractPrior):
    """The same density everywhere between two ends."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        above_zero(type(self), width=self.upper - self.lower)

    def log_density(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        inside = (value >= self.lower) & (value <= self.upper)
        return jnp.where(inside, -float(np.log(self.upper - self.lower)), -jnp.inf).astype(value.dtype)

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        return self.lower + (self.upper - self.lower) * probability


@dataclass(frozen=True)
class LogUniform(AbstractPrior):
    """The same density of the logarithm everywhere between two ends above 0: `1 / value`, but for a factor."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        above_zero(type(self), lower=self.lower, upper=self.upper)
        above_zero(type(self), width=self.upper - self.lower)

    def log_density(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        inside = (value >= self.lower) & (value <= self.upper)
        safe = jnp.where(inside, value, self.upper)
        density = -jnp.log(safe) - float(np.log(np.log(self.upper / self.lower)))
        return jnp.where(inside, density, -jnp.inf)

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        return self.lower * (self.upper / self.lower) ** probability
