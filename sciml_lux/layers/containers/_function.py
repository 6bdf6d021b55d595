"""Layers without parameters: a function, and nothing."""

from collections.abc import Callable
from typing import Any

from ..._errors import LayerError
from ...core import AbstractLayer, State, describe, kind_of, takes_arguments
from ...flatten import Parameters


class WrappedFunction(AbstractLayer):
    """Any function of the input as a layer: `y = function(x)`.

    **Arguments:** `function`: takes the input, returns the result; it must be pure. A `Chain` wraps functions by itself.

    **Call:** any `x`. **Parameters** and **states:** none. **Errors:** `LayerError` if `function` cannot be called.
    """

    function: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise LayerError(
                f"WrappedFunction wraps a function, got {kind_of(self.function)}; write lux.WrappedFunction(jnp.sin)"
            )
        if not takes_arguments(self.function, 1):
            name = describe(self.function)
            raise LayerError(
                f"WrappedFunction calls a function of one argument, the input, and {name} takes others; for the parts of a tuple write "
                "lux.WrappedFunction(lambda x: f(*x))"
            )

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        return self.function(x), st


class NoOp(AbstractLayer):
    """Returns its input. **Call:** any `x`. **Parameters** and **states:** none."""

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        return x, st
