"""`AbstractPrior`: a density over the values of one parameter."""

import abc
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float


@dataclass(frozen=True)
class AbstractPrior(abc.ABC):
    """A density over a parameter as it is shown: each of its numbers by itself, if it has several.

    A subclass writes its logarithm, and the quantiles, from which starts are drawn.
    """

    @abc.abstractmethod
    def log_density(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """The logarithm of the density, with its constants, for each number."""

    @abc.abstractmethod
    def quantile(self, probability: np.ndarray) -> np.ndarray:
        """The values below which so much of the probability lies."""


def above_zero(kind: type, **numbers: float) -> None:
    """**Errors:** `ValueError` for a number of `kind` that is not above 0 and finite."""
    for name, number in numbers.items():
        if not (np.isfinite(number) and number > 0):
            raise ValueError(f"{kind.__name__}: {name} is above 0 and finite, got {number}")
