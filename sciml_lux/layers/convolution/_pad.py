"""Padding by zeros, or by what a periodic or mirrored input would go on with; and `Pad`."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels.convolution import Pairs, Sizes, explicit_padding
from .._checks import check_choice
from ._checks import spatial_sizes

# What `jnp.pad` calls them; PyTorch calls "edge" replicate.
_MODES = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "edge": "edge"}


class Pad(AbstractLayer):
    """The input with elements added around its spatial axes, which stand before the channels.

    **Arguments:** `padding`: a tuple with the number of elements for each spatial axis, or a pair (before, after); `padding_mode`: what
    they are: "zeros"; "circular", as if the input were periodic; "reflect", as if it were mirrored at its first and last elements, which
    are not repeated; "edge", the nearest element of the input.

    **Call:** `x` of shape `(..., *spatial, channels)` gives the same with `size' = before + size + after` along each spatial axis. The
    padding may be longer than the input, which then goes on repeating or being mirrored.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for arguments of another kind; `ShapeError` for too few axes, and for an empty one that is not padded by
    zeros.
    """

    padding: tuple[int, ...] | tuple[tuple[int, int], ...]
    padding_mode: str = "zeros"

    def __post_init__(self) -> None:
        given = self.padding
        pairs = explicit_padding(given, 1) if isinstance(given, tuple) else ()
        if not 1 <= len(pairs) <= 3 or not all(len(pair) == 2 and all(map(_is_size, pair)) for pair in pairs):
            raise LayerError(
                "Pad: padding is a tuple with a whole number, 0 or more, or a pair (before, after), for each of one to three spatial axes, "
                f"got {given!r}; write Pad((1,)) for series, Pad((1, 1)) for images"
            )
        check_padding_mode(self, self.padding_mode)

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        pairs = explicit_padding(self.padding, len(self.padding))
        spatial_sizes(self, x, len(pairs))
        return padded(self, x, pairs, self.padding_mode), st


def check_padding_mode(layer: AbstractLayer, mode: Any) -> None:
    """Raises `LayerError` unless `mode` is the name of a way to pad."""
    if mode == "replicate":
        raise LayerError(f'{type(layer).__name__}: padding_mode "replicate" of PyTorch is "edge" here')
    check_choice(layer, tuple(_MODES), padding_mode=mode)


def padded(layer: AbstractLayer, x: Float[Array, "..."], pairs: Pairs, mode: str) -> Float[Array, "..."]:
    """`x` with elements added around its spatial axes, the last but the channels.

    **Errors:** `ShapeError` for an empty axis that there is nothing in to pad with.
    """
    sizes = x.shape[-1 - len(pairs) : -1]
    if not any(map(any, pairs)):
        return x
    if mode != "zeros" and min(sizes) < 1:
        raise ShapeError(
            f'{type(layer).__name__}: spatial axes of {sizes} have nothing to pad with; write padding_mode="zeros"'
        )
    return jnp.pad(x, ((0, 0),) * (x.ndim - 1 - len(pairs)) + pairs + ((0, 0),), _MODES[mode])


def folded(layer: AbstractLayer, y: Float[Array, "..."], sizes: Sizes, pairs: Pairs, mode: str) -> Float[Array, "..."]:
    """The transpose of `padded`, for inputs with spatial axes of `sizes`: what was added is added to where it was taken from."""
    shape = (*y.shape[: -1 - len(sizes)], *sizes, y.shape[-1])
    # Of the type of `y`, which says over which devices it varies.
    transposed = jax.linear_transpose(lambda x: padded(layer, x, pairs, mode), jax.typeof(y).update(shape=shape))
    return transposed(y)[0]


def _is_size(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0
