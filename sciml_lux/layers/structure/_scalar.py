"""What layers of mechanics share: the energy of an inner layer, summed over the batch so that one gradient serves all samples."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters


def summed(
    outer: str, layer: AbstractLayer, ps: Parameters, st: State, leading: tuple[int, ...]
) -> Callable[[Float[Array, "..."]], tuple[Float[Array, ""], State]]:
    """The function from `x` to the sum of the layer's scalars, and its state. Samples do not mix, so that its gradient is that of each.

    **Errors:** `ShapeError`, when called, unless the layer returns one number for each of the `leading` axes, with or without
    a last axis of 1.
    """

    def total(x: Float[Array, "..."]) -> tuple[Float[Array, ""], State]:
        value, state = layer(x, ps, st)
        shape = jnp.shape(value) if isinstance(value, jax.Array) else None
        if shape not in (leading, (*leading, 1)):
            raise ShapeError(
                f"{outer}: the layer must return one number for each sample, of shape {(*leading, 1)} or {leading}, got "
                f"{'no array' if shape is None else shape}"
            )
        return jnp.sum(value), state

    return total


def halves(layer: Any, x: Any, first: str, second: str) -> int:
    """The size of either half of the last axis. **Errors:** `ShapeError` if it is not an even number."""
    shape = jnp.shape(x)
    if not shape or shape[-1] % 2:
        raise ShapeError(
            f"{type(layer).__name__} takes {first} and {second} along the last axis, an even number of features, "
            f"got an input of shape {shape}"
        )
    return shape[-1] // 2
