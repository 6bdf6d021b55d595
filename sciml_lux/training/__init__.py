"""Fitting: a loss, a parameter vector, an optimiser, many steps to a dispatch."""

from . import losses as losses
from . import strategies as strategies
from ._fit import fit as fit
from ._per_leaf import per_leaf as per_leaf
from ._progress import Progress as Progress
from ._result import BestPoint as BestPoint
from ._result import Fitted as Fitted
