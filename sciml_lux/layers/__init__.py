"""The layers themselves, and the initializers of their parameters."""

from . import init as init
from ._chain import Chain as Chain
from ._dense import Dense as Dense
from ._dense import Scale as Scale
from ._function import NoOp as NoOp
from ._function import WrappedFunction as WrappedFunction
from ._parameter_dict import ParameterDict as ParameterDict
from ._repeated import Repeated as Repeated
from ._sharing import Frozen as Frozen
from ._sharing import Share as Share
from .foreign import from_equinox as from_equinox
from .foreign import from_flax as from_flax
from .foreign import from_pytree as from_pytree
