"""Layers made of layers, and layers without parameters."""

from ._chain import Chain as Chain
from ._chain_on_columns import chain_on_columns as chain_on_columns
from ._function import NoOp as NoOp
from ._function import WrappedFunction as WrappedFunction
from ._parameter_dict import ParameterDict as ParameterDict
from ._precision import AlternatePrecision as AlternatePrecision
from ._repeated import Repeated as Repeated
from ._sequence import ReverseSequence as ReverseSequence
from ._sequence import Scan as Scan
from ._shapes import Flatten as Flatten
from ._shapes import Reshape as Reshape
from ._shapes import SelectDim as SelectDim
from ._sharing import Frozen as Frozen
from ._sharing import Share as Share
from ._side_by_side import Branch as Branch
from ._side_by_side import PairwiseFusion as PairwiseFusion
from ._side_by_side import Parallel as Parallel
from ._side_by_side import SkipConnection as SkipConnection
