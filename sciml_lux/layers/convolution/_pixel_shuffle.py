"""Channels into space and back."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ._checks import check_shape, spatial_sizes


class PixelShuffle(AbstractLayer):
    """Makes each run of `prod(upscale_factor)` channels a block of space (Shi et al. 2016).

    As in PyTorch, the output's channels vary slowest among those of the input: `y[i r + a, j r + b, c] = x[i, j, (c r + a) r + b]`
    for a factor of `r` along both axes (TensorFlow's `depth_to_space` orders them otherwise).

    **Arguments:** `upscale_factor`: a tuple with the factor along each spatial axis.

    **Call:** `x` of shape `(..., *spatial, channels * prod(upscale_factor))` gives `(..., *spatial * upscale_factor, channels)`.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for factors of another kind; `ShapeError` for too few axes, and channels that they do not divide.
    """

    upscale_factor: tuple[int, ...]

    def __post_init__(self) -> None:
        check_shape(self, "upscale_factor", self.upscale_factor)

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        dimensions, block = len(self.upscale_factor), math.prod(self.upscale_factor)
        sizes = spatial_sizes(self, x, dimensions)
        if x.shape[-1] % block:
            raise ShapeError(
                f"PixelShuffle: upscale_factor={self.upscale_factor} makes {block} channels one, got an input of shape {x.shape}"
            )
        lead = len(x.shape) - dimensions - 1
        y = x.reshape(*x.shape[:-1], x.shape[-1] // block, *self.upscale_factor)
        # (..., s1, s2, c, r1, r2) to (..., s1, r1, s2, r2, c)
        pairs = [axis for i in range(dimensions) for axis in (lead + i, lead + dimensions + 1 + i)]
        y = jnp.transpose(y, (*range(lead), *pairs, lead + dimensions))
        new = [size * factor for size, factor in zip(sizes, self.upscale_factor, strict=True)]
        return y.reshape(*x.shape[:lead], *new, x.shape[-1] // block), st


class PixelUnshuffle(AbstractLayer):
    """Makes each block of space a run of channels: the inverse of `PixelShuffle`.

    **Arguments:** `downscale_factor`: a tuple with the size of the blocks along each spatial axis.

    **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., *spatial / downscale_factor, channels * prod(downscale_factor))`.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for factors of another kind; `ShapeError` for too few axes, and sizes that they do not divide.
    """

    downscale_factor: tuple[int, ...]

    def __post_init__(self) -> None:
        check_shape(self, "downscale_factor", self.downscale_factor)

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        dimensions = len(self.downscale_factor)
        sizes = spatial_sizes(self, x, dimensions)
        if any(size % factor for size, factor in zip(sizes, self.downscale_factor, strict=True)):
            raise ShapeError(
                f"PixelUnshuffle: downscale_factor={self.downscale_factor} must divide the spatial axes, got an input of shape {x.shape}"
            )
        lead = len(x.shape) - dimensions - 1
        new = [size // factor for size, factor in zip(sizes, self.downscale_factor, strict=True)]
        split = [number for pair in zip(new, self.downscale_factor, strict=True) for number in pair]
        y = x.reshape(*x.shape[:lead], *split, x.shape[-1])
        # (..., s1, r1, s2, r2, c) to (..., s1, s2, c, r1, r2)
        space = [lead + 2 * i for i in range(dimensions)]
        blocks = [axis + 1 for axis in space]
        y = jnp.transpose(y, (*range(lead), *space, lead + 2 * dimensions, *blocks))
        return y.reshape(*x.shape[:lead], *new, x.shape[-1] * math.prod(self.downscale_factor)), st
