"""Layers out of a function, and a layer that keeps its parameters and state."""

from ._compact import Compact as Compact
from ._compact import compact as compact
from ._declarations import parameter as parameter
from ._declarations import state as state
from ._stateful import StatefulLayer as StatefulLayer
