"""The layers themselves, by subject, the initializers of their parameters, and the tools that show and edit them."""

from . import init as init
from .containers import Chain as Chain
from .containers import Frozen as Frozen
from .containers import NoOp as NoOp
from .containers import ParameterDict as ParameterDict
from .containers import Repeated as Repeated
from .containers import Share as Share
from .containers import WrappedFunction as WrappedFunction
from .foreign import from_equinox as from_equinox
from .foreign import from_flax as from_flax
from .foreign import from_pytree as from_pytree
from .linear import Dense as Dense
from .linear import Scale as Scale
from .porting import from_torch as from_torch
from .porting import to_torch as to_torch
