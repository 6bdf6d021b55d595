"""Layers without parameters: a function, and nothing."""

from collections.abc import Callable
from typing import Any

from ...core import AbstractLayer, State
from ...flatten import LayerError, Params


class WrappedFunction(AbstractLayer):
    """Any function of the input as a layer: `y = function(x)`.

    **Arguments:** `function`: takes the input, returns the result; it must be pure. A `Chain` wraps functions by itself.

    **Call:** any `x`. **Parameters** and **states:** none. **Errors:** `LayerError` if `function` cannot be called.
    """

    function: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise LayerError(f"WrappedFunction wraps a function, got {self.function!r}")

    def __call__(self, x: Any, ps: Params, st: State) -> tuple[Any, State]:
        return self.function(x), st


class NoOp(AbstractLayer):
    """Returns its input. **Call:** any `x`. **Parameters** and **states:** none."""

    def __call__(self, x: Any, ps: Params, st: State) -> tuple[Any, State]:
        return x, st
