"""`AbstractNoise`: the density of a measurement around what was predicted, and what fits and errors need to know of it."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Key

from ..._errors import ParameterError
from .._types import Numbers

Spread = int | float | str | Callable[..., Any] | None
"""How widely a measurement scatters: a number above 0; the name of a parameter, which is then estimated; a function
`(predicted, ps) -> numbers`, such as one of a proportional error; or `None`, where each experiment brings its own as `sigma`."""


@dataclass(frozen=True)
class AbstractNoise(abc.ABC):
    """Measurements are independent, with the density `exp(log_density(observed, predicted, spread))`.

    A subclass writes that density, the two numbers of Fisher's information, and how to draw: all act on each element by itself. Location
    and spread are those in which the information matrix is diagonal: what `link` makes of the prediction (by default itself), and the
    logarithm of the spread. Where no closed form is known, `information` is a positive approximation: it shapes steps and standard errors,
    never what is maximised.

    **Arguments:** `spread`: see `Spread`.

    **Errors:** `ParameterError` for a spread that is none; `ValueError` for a number that is not above 0.
    """

    spread: Spread = None

    def __post_init__(self) -> None:
        if isinstance(self.spread, bool | jax.Array | np.ndarray) or not (
            self.spread is None or isinstance(self.spread, int | float | str) or callable(self.spread)
        ):
            raise ParameterError(
                f"the spread of {type(self).__name__} is a number, the name of a parameter, a function (predicted, ps) -> numbers, or None "
                f"where experiments bring their own sigma; got {self.spread!r}"
            )
        if isinstance(self.spread, int | float) and not (self.spread > 0 and np.isfinite(self.spread)):
            raise ValueError(f"the spread of {type(self).__name__} is above 0 and finite, got {self.spread}")

    @abc.abstractmethod
    def log_density(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        """The logarithm of the density, or of the probability, with all of its constants."""

    @abc.abstractmethod
    def information(self, predicted: Numbers, spread: Numbers) -> tuple[Numbers, Numbers]:
        """Fisher's information of one measurement on `link(predicted)`, and on `log(spread)`."""

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], predicted: Numbers, spread: Numbers) -> Numbers:
        """Measurements, drawn."""

    @abc.abstractmethod
    def standardized(self, observed: Numbers, predicted: Numbers, spread: Numbers) -> Numbers:
        """The residual in units of its standard deviation (of the spread, where that is infinite), whose square chi-square sums."""

    def link(self, predicted: Numbers) -> Numbers:
        """The location, in which the information is diagonal."""
        return predicted

    def unlink(self, location: Numbers) -> Numbers:
        """The prediction of a location."""
        return location

    def log_tail(self, observed: Numbers, predicted: Numbers, spread: Numbers, side: Numbers) -> Numbers:
        """The logarithm of the probability of a measurement at or below `observed` (`side` -1), or at or above it (1), for censored
        ones."""
        raise NotImplementedError(f"{type(self).__name__} noise has no tails")

    has_tails: ClassVar[bool] = False
    """Whether there is a `log_tail`."""

    has_spread: ClassVar[bool] = True
    """Whether there is a spread at all."""

    lowest: ClassVar[float] = -np.inf
    """What measurements are above."""

    whole: ClassVar[bool] = False
    """Whether measurements are whole numbers."""
