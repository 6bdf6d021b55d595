"""Layers within layers, more of them than Python can call within each other."""

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .._errors import LayerError
from ._observe import children_of

Given = ParamSpec("Given")
Result = TypeVar("Result")

# Fewer do not come near the limit by themselves: the user's own function calls itself.
_DEEP = 50


def explain_depth(error: RecursionError, layer: Any) -> Exception:
    """What to raise in place of `error`, at the outermost of layers nested too deeply; else `error` itself."""
    depth, level = 0, [layer]
    while level:
        depth += 1
        level = [child for layer in level for child in children_of(layer).values()]
    if depth < _DEEP:
        return error
    return LayerError(
        f"{type(layer).__name__}: its layers are nested deeper than Python can call within each other (its limit is "
        f"{sys.getrecursionlimit()} calls); write lux.Chain(*layers), which calls them one after the other"
    )


def within_depth(method: Callable[Given, Result]) -> Callable[Given, Result]:
    """A method of a layer that says so where layers are nested too deeply."""

    @functools.wraps(method)
    def wrapper(*args: Given.args, **named: Given.kwargs) -> Result:
        try:
            return method(*args, **named)
        except RecursionError as error:
            raise explain_depth(error, args[0]) from None

    return wrapper
