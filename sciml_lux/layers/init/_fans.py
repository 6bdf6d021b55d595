"""The numbers of inputs and outputs of a weight."""

import math

from ..._errors import LayerError, ShapeError
from ._initializer import AbstractInitializer

MODES = ("fan_in", "fan_out", "fan_avg")


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """`(fan_in, fan_out)` of a weight. **Errors:** `ShapeError` for fewer than two axes, which have no fans."""
    if len(shape) < 2:
        raise ShapeError(
            f"got shape {shape}; a fan needs a weight with at least two axes, (..., in, out). Use init.normal for others"
        )
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def std_for(shape: tuple[int, ...], gain: float, mode: str) -> float:
    """`gain / sqrt(fan)`, of which `mode` says which fan; 0 outputs or inputs count as one."""
    fan_in, fan_out = fans(shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    return gain / math.sqrt(max(1, fan))


def check_mode(initializer: AbstractInitializer, mode: str) -> None:
    """Raises `LayerError` unless `mode` names a fan."""
    if mode not in MODES:
        raise LayerError(f"init.{type(initializer).__name__}: mode is one of {', '.join(MODES)}, got {mode!r}")


def as_matrix(initializer: AbstractInitializer, shape: tuple[int, ...]) -> tuple[int, int]:
    """A weight's shape as that of one matrix, all inputs of an output in a column. **Errors:** `ShapeError` below two axes."""
    if len(shape) < 2:
        raise ShapeError(
            f"init.{type(initializer).__name__} takes a weight with at least two axes, (..., in, out), got {shape}"
        )
    return math.prod(shape[:-1]), shape[-1]
