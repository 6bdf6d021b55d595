"""`Port`: one tensor of PyTorch and the array of ours that holds the same numbers."""

from dataclasses import dataclass

import numpy as np

from ..._errors import LayerError


@dataclass(frozen=True)
class Port:
    """Where the numbers of one of our arrays stand in a PyTorch `state_dict`.

    **Arguments:** `torch`: the tensor's name below its module, such as `"weight"`; `ours`: the path of our array below the
    layer; `axes`: the tensor's axes in our order, as in `np.transpose` (None: the same order); `part`: `(i, n)` if ours is
    the `i`-th of `n` equal parts of the tensor's first axis; `state`: whether ours is in the state, not the parameters.
    """

    torch: str
    ours: str
    axes: tuple[int, ...] | None = None
    part: tuple[int, int] = (0, 1)
    state: bool = False

    def tensor_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the whole tensor has if our array has `shape`."""
        axes = tuple(range(len(shape))) if self.axes is None else self.axes
        if sorted(axes) != list(range(len(shape))):
            raise LayerError(f"the port of {self.ours} orders the axes {axes}, but the array has the shape {shape}")
        theirs = tuple(shape[axes.index(axis)] for axis in range(len(shape)))
        return (theirs[0] * self.part[1], *theirs[1:]) if self.part[1] > 1 else theirs

    def view(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor, or its part, with the axes in our order: a view, to be read or written."""
        index, number = self.part
        part = np.split(tensor, number)[index] if number > 1 else tensor
        return part if self.axes is None else np.transpose(part, self.axes)

    def below(self, torch: str, ours: str) -> "Port":
        """The same of a part of a larger module: `torch` and `ours` are its names there."""
        return Port(f"{torch}.{self.torch}", f"{ours}.{self.ours}", self.axes, self.part, self.state)
