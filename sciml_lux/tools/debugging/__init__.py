"""Finding the layer that goes wrong."""

from ._debug import Debug as Debug
from ._debug import debug as debug
