"""Resizing by interpolation."""

import functools
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from .._checks import check_choice, check_flag
from ._checks import check_shape, spatial_sizes
from ._resample import Rows, along, rows

_MODES = ("nearest", "linear", "cubic")


class Upsample(AbstractLayer):
    """Resizes the spatial axes by interpolation, along one axis after the other; as `torch.nn.Upsample`.

    Output `j` lies at `(j + 1/2) / scale - 1/2` of the input, or with `align_corners` at `j (n - 1) / (m - 1)`, so that the first and the
    last element stay where they are. There, "nearest" takes the element `floor(j / scale)`, "linear" interpolates between
    two elements, "cubic" between four by the convolution kernel with a = -3/4 (Keys 1981); beyond the border stands the last element.
    Shrinking does not smooth.

    **Arguments:** either `scale_factor`: a tuple with the factor along each spatial axis, or `size`: a tuple with the sizes of the
    output; `mode`: "nearest", "linear" (bilinear of images, trilinear of volumes), "cubic"; `align_corners`: not for "nearest".

    **Call:** `x` of shape `(..., *spatial, channels)` gives `(..., *spatial', channels)`, with `size' = floor(size * scale_factor)`.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for arguments of another kind; `ShapeError` for too few axes, empty ones, and empty results.
    """

    scale_factor: tuple[float | int, ...] | None = None
    size: tuple[int, ...] | None = None
    mode: str = "nearest"
    align_corners: bool = False

    def __post_init__(self) -> None:
        if (self.scale_factor is None) == (self.size is None):
            raise LayerError(
                f"Upsample: give either scale_factor or size, got scale_factor={self.scale_factor!r} and size={self.size!r}"
            )
        if self.size is not None:
            check_shape(self, "size", self.size)
        elif not _factors(self.scale_factor):
            raise LayerError(
                f"Upsample: scale_factor is a tuple of one to three positive numbers, one for each spatial axis, such as (2, 2) for "
                f"images, got {self.scale_factor!r}"
            )
        check_choice(self, _MODES, mode=self.mode)
        check_flag(self, align_corners=self.align_corners)
        if self.align_corners and self.mode == "nearest":
            raise LayerError('Upsample: mode="nearest" takes no align_corners; leave it out, or write mode="linear"')

    def __call__(
        self, x: Float[Array, "... channels"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... channels"], State]:
        given = self.size or self.scale_factor or ()
        sizes = spatial_sizes(self, x, len(given))
        scales = self.scale_factor or (None,) * len(sizes)
        new = self.size or tuple(int(size * scale) for size, scale in zip(sizes, self.scale_factor or (), strict=True))
        if min(*sizes, *new) < 1:
            raise ShapeError(f"Upsample: spatial axes of {sizes} cannot be resized to {new}")
        y, first = widened(x), len(x.shape) - len(sizes) - 1
        # The last axis first: it is the cheapest, as fewest elements have been made by then and memory is contiguous.
        for i in reversed(range(len(sizes))):
            matrix = interpolation(sizes[i], new[i], scales[i], self.mode, self.align_corners)
            y = along(matrix, first + i, y)
        return y.astype(x.dtype), st


def _factors(scale_factor: Any) -> bool:
    return (
        isinstance(scale_factor, tuple)
        and 1 <= len(scale_factor) <= 3
        and all(isinstance(f, int | float) and not isinstance(f, bool) and 0 < f < np.inf for f in scale_factor)
    )


@functools.cache
def interpolation(size: int, new: int, scale: float | int | None, mode: str, align_corners: bool) -> Rows:
    """The matrix that interpolates `size` elements at `new` places; `scale` is `new / size` if None."""
    j = np.arange(new)
    if mode == "nearest":
        # Exact for sizes; PyTorch computes in float32, which for some of more than 80 elements is one off.
        taken = j * size // new if scale is None else np.floor(j / scale).astype(int)
        return _entries(size, taken[:, None], np.ones((new, 1)))
    if align_corners:
        places = j * ((size - 1) / (new - 1) if new > 1 else 0.0)
    else:
        places = (j + 0.5) * (size / new if scale is None else 1.0 / scale) - 0.5
    if mode == "linear":
        places = np.clip(places, 0, size - 1)
    left = np.floor(places).astype(int)
    t = places - left
    if mode == "linear":
        return _entries(size, left[:, None] + [0, 1], np.stack([1 - t, t], axis=1))
    weights = [_outer(t + 1), _inner(t), _inner(1 - t), _outer(2 - t)]
    return _entries(size, left[:, None] + [-1, 0, 1, 2], np.stack(weights, axis=1))


def _entries(size: int, columns: Int[np.ndarray, "rows few"], values: Float[np.ndarray, "rows few"]) -> Rows:
    matrix = np.zeros((len(columns), size))
    np.add.at(matrix, (np.arange(len(columns))[:, None], np.clip(columns, 0, size - 1)), values)
    return rows(matrix)


# Keys' kernel within one element, and from one to two elements away.

_A = -0.75


def _inner(t: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    return ((_A + 2) * t - (_A + 3)) * t**2 + 1


def _outer(t: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    return ((_A * t - 5 * _A) * t + 8 * _A) * t - 4 * _A
