"""`AbstractBasis`: a few functions of one variable."""

import abc
import dataclasses
from typing import Any

import wadler_lindig as wl
from jaxtyping import Array, Float

from ...._errors import LayerError
from ....kernels import widened


class AbstractBasis(abc.ABC):
    """`number` functions of one variable: maps `x` of shape `(...)` to `(..., number)`. Subclasses are frozen dataclasses.

    To write one: a frozen dataclass (`repr=False` keeps this class's) with a field `number` and a method `evaluate`.
    Numbers of less than 32 bits are computed with in float32.
    """

    number: int

    @abc.abstractmethod
    def evaluate(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The functions at `x`, along a new last axis."""

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The functions at `x`, in the dtype of `x`."""
        return self.evaluate(widened(x)).astype(x.dtype)

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        name, *options = dataclasses.fields(self)  # type: ignore[arg-type]
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in options if getattr(self, f.name) != f.default]
        module = "bases." if type(self).__module__.startswith(__package__ or "") else ""
        return wl.TextDoc(f"{module}{type(self).__name__}({', '.join([repr(getattr(self, name.name)), *shown])})")

    def __repr__(self) -> str:
        return wl.pformat(self)


def check_number_of_functions(basis: AbstractBasis, least: int = 1) -> None:
    """Raises `LayerError` unless `number` is a whole number, `least` or more."""
    number: Any = basis.number
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise LayerError(f"bases.{type(basis).__name__}: number is a whole number, {least} or more, got {number!r}")


def check_domain(basis: AbstractBasis, lower: Any, upper: Any) -> None:
    """Raises `LayerError` unless `lower` and `upper` are finite numbers in this order."""
    ends = (lower, upper)
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends) or not (
        -float("inf") < lower < upper < float("inf")
    ):
        raise LayerError(f"bases.{type(basis).__name__}: lower and upper are numbers in this order, got {ends}")
