"""The bounds of a search."""

import numpy as np

from .._bounds import Box
from .._coordinates import Coordinates


def box_of(coordinates: Coordinates) -> Box:
    """The bounds, infinite where there are none, so that one program does for all."""
    if coordinates.box is not None:
        return coordinates.box
    none = np.full(coordinates.start.layout.size, np.inf, coordinates.start.layout.dtype)
    return Box(-none, none)
