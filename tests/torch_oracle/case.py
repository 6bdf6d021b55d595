"""`Case`: a layer of ours and its counterpart in PyTorch, with an input. Nothing here imports PyTorch."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

import sciml_lux as lux


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers in float64, the same on every machine."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def channels_first(x: Any) -> Any:
    """`(batch, *spatial, channels)` as PyTorch's `(batch, channels, *spatial)`; of tensors or arrays."""
    return x.permute(0, -1, *range(1, x.ndim - 1)) if hasattr(x, "permute") else np.moveaxis(x, -1, 1)


def channels_last(y: Any) -> Any:
    """`(batch, channels, *spatial)` as `(batch, *spatial, channels)`; of tensors or arrays."""
    return y.permute(0, *range(2, y.ndim), 1) if hasattr(y, "permute") else np.moveaxis(y, 1, -1)


def same(x: Any) -> Any:
    """The input as it is."""
    return x


@dataclasses.dataclass(frozen=True)
class Case:
    """What is compared: outputs, gradients of input and parameters, and buffers afterwards.

    `layer`: makes ours; `module`: makes theirs, given the module `torch` (any callable of tensors; if it is a
    `torch.nn.Module`, its parameters are brought over with `lux.tools.from_torch`); `x`: the input as ours takes it, an array or
    a tuple of arrays, of which floating ones are differentiated; `to_torch`, `to_ours`: change the order of axes of
    each input and of the output; `modes`: `"train"`, `"test"`, those in which there is something to compare.
    """

    name: str
    layer: Callable[[], lux.AbstractLayer]
    module: Callable[[Any], Any]
    x: Any
    to_torch: Callable[[Any], Any] = same
    to_ours: Callable[[Any], Any] = same
    modes: tuple[str, ...] = ("train", "test")

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        return self.x if isinstance(self.x, tuple) else (self.x,)

    @property
    def seed(self) -> int:
        return zlib.crc32(self.name.encode())


def cotangent(y: Any) -> np.ndarray:
    """What the output is multiplied with before it is summed up and differentiated."""
    return np.sin(1.0 + np.arange(np.prod(np.shape(y), dtype=int)) ** 1.5).reshape(np.shape(y))
