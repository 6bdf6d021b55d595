"""`AbstractInitializer`: how a parameter starts, as a value."""

import abc
import dataclasses
from typing import Any

import wadler_lindig as wl
from jaxtyping import Array, Float, Key

from ..._errors import LayerError


class AbstractInitializer(abc.ABC):
    """How a parameter starts: `init(key, shape)` returns an array of JAX's default float. Subclasses are frozen dataclasses."""

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """The starting values."""

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields if getattr(self, f.name) != f.default]
        return wl.TextDoc(f"init.{type(self).__name__}({', '.join(shown)})")

    def __repr__(self) -> str:
        return wl.pformat(self)


def check_real(initializer: AbstractInitializer, **numbers: Any) -> None:
    """Raises `LayerError` unless each of `numbers` is a real number."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise LayerError(f"init.{type(initializer).__name__}: {name} is a number, got {number!r}")


def check_between(initializer: AbstractInitializer, lower: float, upper: float, /, **numbers: Any) -> None:
    """Raises `LayerError` unless each of `numbers` is a real number from `lower` to `upper`, both included."""
    check_real(initializer, **numbers)
    for name, number in numbers.items():
        if not lower <= number <= upper:
            raise LayerError(
                f"init.{type(initializer).__name__}: {name} is a number from {lower} to {upper}, got {number!r}"
            )


def check_order(initializer: AbstractInitializer, lower: Any, upper: Any) -> None:
    """Raises `LayerError` unless `lower` and `upper` are numbers in this order."""
    check_real(initializer, lower=lower, upper=upper)
    if not lower < upper:
        raise LayerError(f"init.{type(initializer).__name__}: lower must be below upper, got {lower!r} and {upper!r}")
