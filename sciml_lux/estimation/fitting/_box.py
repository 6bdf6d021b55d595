"""The bounds of a search."""

import jax.numpy as jnp

from .._bounds import Box
from .._coordinates import Coordinates


def box_of(coordinates: Coordinates) -> Box:
    """The bounds, infinite where there are none, so that one program does for all."""
    if coordinates.box is not None:
        return coordinates.box
    none = jnp.full_like(coordinates.start.vector, jnp.inf)
    return Box(-none, none)
