"""`PatchEmbedding`: an image as a sequence of patches."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import product
from .._checks import check_flag, check_positive
from .._starts import DEFAULT_WEIGHT, initial_affine


class PatchEmbedding(AbstractLayer):
    """Images cut into patches, each of which is projected: a convolution whose stride is its window, as one matrix product.

    **Arguments:** `in_channels`; `features`: of a patch; `patch_size`: `(height, width)`, or one number for both; `use_bias`;
    `init_weight`, `init_bias`: as for `Conv`.

    **Call:** `x` of shape `(..., height, width, in_channels)` gives `(..., patches, features)`, row by row; height and width are
    multiples of those of a patch.

    **Parameters:** `weight` `(patch_height, patch_width, in_channels, features)`; `bias` `(features,)` if `use_bias`. **States:** none.

    **Errors:** `LayerError` for sizes that are not whole numbers; `ShapeError` for another number of channels and an image that
    does not divide into patches.

    **Source:** Dosovitskiy et al. 2021, An image is worth 16x16 words.
    """

    in_channels: int
    features: int
    patch_size: int | tuple[int, int]
    use_bias: bool = True
    init_weight: Callable[..., Any] = DEFAULT_WEIGHT
    init_bias: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        check_positive(self, in_channels=self.in_channels, features=self.features)
        check_flag(self, use_bias=self.use_bias)
        if isinstance(self.patch_size, tuple) and len(self.patch_size) != 2:
            raise LayerError(f"PatchEmbedding: patch_size is (height, width) or one number, got {self.patch_size!r}")
        for size in self._patch:
            check_positive(self, patch_size=size)

    @property
    def _patch(self) -> tuple[int, int]:
        return self.patch_size if isinstance(self.patch_size, tuple) else (self.patch_size, self.patch_size)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        shape = (*self._patch, self.in_channels, self.features)
        return initial_affine(key, shape, self.features, self.init_weight, self.init_bias, self.use_bias)

    def __call__(
        self, x: Float[Array, "..."], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... patches features"], State]:
        height, width = self._patch
        shape = x.shape
        if len(shape) < 3 or shape[-1] != self.in_channels or shape[-3] % height or shape[-2] % width:
            raise ShapeError(
                f"PatchEmbedding expects images (..., height, width, {self.in_channels}) whose height and width are multiples of {height} "
                f"and {width}, got {shape}; pad or cut them before"
            )
        *leading, _, _, _ = shape
        rows, columns = shape[-3] // height, shape[-2] // width
        patches = x.reshape(*leading, rows, height, columns, width, self.in_channels)
        patches = jnp.swapaxes(patches, -4, -3).reshape(*leading, rows * columns, height * width * self.in_channels)
        y = product(patches, ps.weight.reshape(-1, self.features))
        return (y + jnp.broadcast_to(ps.bias, y.shape) if self.use_bias else y), st
