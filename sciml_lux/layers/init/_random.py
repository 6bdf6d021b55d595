"""Starts with independent numbers of a given spread."""

import math
import statistics
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..._errors import LayerError
from ._fans import as_matrix
from ._initializer import AbstractInitializer, check_between, check_order, check_real


@dataclass(frozen=True, repr=False)
class uniform(AbstractInitializer):  # noqa: N801  an initializer reads as a function: init.uniform()
    """Uniform from `lower` to `upper`: variance `(upper - lower)**2 / 12`."""

    lower: float = 0.0
    upper: float = 1.0

    def __post_init__(self) -> None:
        check_order(self, self.lower, self.upper)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jax.random.uniform(key, shape, minval=self.lower, maxval=self.upper)


@dataclass(frozen=True, repr=False)
class normal(AbstractInitializer):  # noqa: N801
    """Normal with mean `mean` and standard deviation `std`: variance `std**2`."""

    std: float = 0.01
    mean: float = 0.0

    def __post_init__(self) -> None:
        check_between(self, 0.0, math.inf, std=self.std)
        check_real(self, mean=self.mean)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return self.mean + self.std * jax.random.normal(key, shape)


@dataclass(frozen=True, repr=False)
class truncated_normal(AbstractInitializer):  # noqa: N801
    """Normal without its tails, with mean `mean` and variance `std**2` after they are cut off.

    A standard normal variable, cut to `lower ... upper`, is shifted and scaled to that mean and variance: cutting at ±2 alone would leave a
    standard deviation of 0.88, which is what PyTorch (whose bounds are absolute) and Lux give for `std=1`.

    **Arguments:** `std`, `mean`: of the result; `lower`, `upper`: where the standard normal variable is cut.
    """

    std: float = 0.01
    mean: float = 0.0
    lower: float = -2.0
    upper: float = 2.0

    def __post_init__(self) -> None:
        check_between(self, 0.0, math.inf, std=self.std)
        check_real(self, mean=self.mean)
        check_order(self, self.lower, self.upper)
        check_between(self, -8.0, 8.0, lower=self.lower, upper=self.upper)  # nothing of the distribution is beyond
        truncated_moments(self.lower, self.upper)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        cut_mean, cut_std = truncated_moments(self.lower, self.upper)
        cut = jax.random.truncated_normal(key, self.lower, self.upper, shape)
        return self.mean + self.std * (cut - cut_mean) / cut_std


def truncated_moments(lower: float, upper: float) -> tuple[float, float]:
    """Mean and standard deviation of a standard normal variable cut to `lower ... upper`."""
    standard = statistics.NormalDist()
    mass = standard.cdf(upper) - standard.cdf(lower)
    if mass < 1e-4:  # where rounding would take over
        raise LayerError(f"init.truncated_normal: hardly anything of a normal distribution is from {lower} to {upper}")
    density = [standard.pdf(lower), standard.pdf(upper)]
    mean = (density[0] - density[1]) / mass
    return mean, math.sqrt(1.0 + (lower * density[0] - upper * density[1]) / mass - mean**2)


@dataclass(frozen=True, repr=False)
class sparse(AbstractInitializer):  # noqa: N801
    """Normal with standard deviation `std`, of which each output keeps the share `1 - sparsity` of its weights (Martens 2010).

    Of the `n` weights that lead to an output, `ceil(sparsity * n)` are zero, others for each output. Variance
    `std**2 * (1 - ceil(sparsity * n) / n)`. (PyTorch leaves out the same share of the weights that start at each input.)

    **Errors:** `ShapeError` for fewer than two axes.
    """

    sparsity: float
    std: float = 0.01

    def __post_init__(self) -> None:
        check_between(self, 0.0, 1.0, sparsity=self.sparsity)
        check_between(self, 0.0, math.inf, std=self.std)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        inputs, outputs = as_matrix(self, shape)
        value_key, order_key = jax.random.split(key)
        kept = jnp.arange(inputs) >= math.ceil(self.sparsity * inputs)
        mask = jax.random.permutation(
            order_key, jnp.broadcast_to(kept[:, None], (inputs, outputs)), axis=0, independent=True
        )
        return (self.std * jnp.where(mask, jax.random.normal(value_key, (inputs, outputs)), 0.0)).reshape(shape)
