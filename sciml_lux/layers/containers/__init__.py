"""Layers made of layers, and layers without parameters."""

from ._chain import Chain as Chain
from ._function import NoOp as NoOp
from ._function import WrappedFunction as WrappedFunction
from ._parameter_dict import ParameterDict as ParameterDict
from ._repeated import Repeated as Repeated
from ._sharing import Frozen as Frozen
from ._sharing import Share as Share
