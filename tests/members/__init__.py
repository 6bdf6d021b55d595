"""The members of the conformance suites. A layer or a ravel map joins by being listed in the file of its subject.

`LAYERS` holds one `Layer` for each way of building a layer that is worth its own run; `RAVEL_MAPS` one `Map` each.
"""

from . import (
    attention,
    containers,
    convolution,
    custom,
    debugging,
    equilibria,
    linear,
    noise,
    normalization,
    recurrent,
    solvers,
    structure,
    training,
)
from .base import Layer as Layer
from .base import Map as Map
from .base import array as array
from .custom import CustomContainer as CustomContainer
from .custom import CustomLayer as CustomLayer
from .ravel_maps import RAVEL_MAPS as RAVEL_MAPS

LAYERS = [
    *linear.LAYERS,
    *convolution.LAYERS,
    *normalization.LAYERS,
    *noise.LAYERS,
    *recurrent.LAYERS,
    *attention.LAYERS,
    *structure.LAYERS,
    *containers.LAYERS,
    *custom.LAYERS,
    *debugging.LAYERS,
    *solvers.LAYERS,
    *equilibria.LAYERS,
    *training.LAYERS,
]
