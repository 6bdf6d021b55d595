"""The densities that are known by name."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, log_ndtr
from jaxtyping import Array, Key

from .._types import Numbers
from ._noise import AbstractNoise

_LOG_2_PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Normal(AbstractNoise):
    """`observed ~ Normal(predicted, spread)`: `-log(spread) - log(2 pi) / 2 - ((observed - predicted) / spread)**2 / 2`."""

    has_tails = True

    def log_density(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        return -jnp.log(spread) - 0.5 * _LOG_2_PI - 0.5 * ((observed - predicted) / spread) ** 2

    def information(self, predicted: Numbers, spread: Numbers) -> tuple[Numbers, Numbers]:
        return 1 / spread**2, jnp.full_like(spread, 2.0)

    def sample(self, key: Key[Array, ""], predicted: Numbers, spread: Numbers) -> Numbers:
        return predicted + spread * jax.random.normal(key, jnp.shape(predicted), predicted.dtype)

    def standardized(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        return (observed - predicted) / spread

    def log_tail(self, observed: Numbers, predicted: Numbers, spread: Numbers, side: Numbers) -> Numbers:
        return log_ndtr(-side * (observed - predicted) / spread)


@dataclass(frozen=True)
class LogNormal(AbstractNoise):
    """`log(observed) ~ Normal(log(predicted), spread)`: the prediction is the median, the spread that of the natural logarithm."""

    lowest = 0.0
    has_tails = True

    def log_tail(self, observed: Numbers, predicted: Numbers, spread: Numbers, side: Numbers) -> Numbers:
        return Normal().log_tail(jnp.log(observed), jnp.log(predicted), spread, side)

    def log_density(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        return Normal().log_density(jnp.log(observed), jnp.log(predicted), spread) - jnp.log(observed)

    def information(self, predicted: Numbers, spread: Numbers) -> tuple[Numbers, Numbers]:
        return Normal().information(predicted, spread)

    def sample(self, key: Key[Array, ""], predicted: Numbers, spread: Numbers) -> Numbers:
        return jnp.exp(Normal().sample(key, jnp.log(predicted), spread))

    def standardized(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        return (jnp.log(observed) - jnp.log(predicted)) / spread

    def link(self, predicted: Numbers) -> Numbers:
        return jnp.log(predicted)

    def unlink(self, location: Numbers) -> Numbers:
        return jnp.exp(location)


@dataclass(frozen=True)
class StudentT(AbstractNoise):
    """Student's t around the prediction, with the scale `spread` and so many degrees of freedom: few outliers move it little.

    **Source** of the information: Lange, Little and Taylor, "Robust statistical modeling using the t distribution", JASA 84 (1989), 881.
    """

    degrees_of_freedom: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.degrees_of_freedom > 0:
            raise ValueError(f"degrees of freedom are above 0, got {self.degrees_of_freedom}")

    def log_density(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        nu = self.degrees_of_freedom
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
        z = (observed - predicted) / spread
        return constant.astype(z.dtype) - jnp.log(spread) - 0.5 * (nu + 1) * jnp.log1p(z**2 / nu)

    def information(self, predicted: Numbers, spread: Numbers) -> tuple[Numbers, Numbers]:
        nu = self.degrees_of_freedom
        return (nu + 1) / (nu + 3) / spread**2, jnp.full_like(spread, 2 * nu / (nu + 3))

    def sample(self, key: Key[Array, ""], predicted: Numbers, spread: Numbers) -> Numbers:
        return predicted + spread * jax.random.t(key, self.degrees_of_freedom, jnp.shape(predicted), predicted.dtype)

    def standardized(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        nu = self.degrees_of_freedom
        deviation = np.sqrt(nu / (nu - 2)) if nu > 2 else 1.0
        return (observed - predicted) / (deviation * spread)


@dataclass(frozen=True)
class Poisson(AbstractNoise):
    """Counts of the mean `predicted`: `observed log(predicted) - predicted - log(observed!)`. It has no spread."""

    has_spread = False
    lowest = -1.0
    whole = True

    def log_density(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        return observed * jnp.log(predicted) - predicted - gammaln(observed + 1)

    def information(self, predicted: Numbers, spread: Numbers) -> tuple[Numbers, Numbers]:
        return 1 / predicted, jnp.ones_like(predicted)

    def sample(self, key: Key[Array, ""], predicted: Numbers, spread: Numbers) -> Numbers:
        return jax.random.poisson(key, predicted).astype(predicted.dtype)

    def standardized(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        return (observed - predicted) / jnp.sqrt(predicted)


@dataclass(frozen=True)
class NegativeBinomial(AbstractNoise):
    """Counts of the mean `predicted` and the variance `predicted + predicted**2 / spread`: `spread` is the number of failures, the larger
    the nearer to Poisson's.

    The information on the spread is approximate: that of the gamma distribution of the means, as far as counts show it.
    """

    lowest = -1.0
    whole = True

    def log_density(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        total = jnp.log(predicted + spread)
        counts = gammaln(observed + spread) - gammaln(spread) - gammaln(observed + 1)
        return counts + spread * (jnp.log(spread) - total) + observed * (jnp.log(predicted) - total)

    def information(self, predicted: Numbers, spread: Numbers) -> tuple[Numbers, Numbers]:
        return 1 / (predicted + predicted**2 / spread), 0.5 * (predicted / (predicted + spread)) ** 2

    def sample(self, key: Key[Array, ""], predicted: Numbers, spread: Numbers) -> Numbers:
        one, other = jax.random.split(key)
        means = predicted / spread * jax.random.gamma(one, spread, jnp.shape(predicted), predicted.dtype)
        return jax.random.poisson(other, means).astype(predicted.dtype)

    def standardized(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        return (observed - predicted) / jnp.sqrt(predicted + predicted**2 / spread)


def as_noise(noise: object) -> AbstractNoise:
    """What was given as noise: a density, or the spread of a normal one."""
    if isinstance(noise, AbstractNoise):
        return noise
    return Normal(noise)  # type: ignore[arg-type]
