"""What is known of a parameter before the data: densities over values as they are shown, in the user's units."""

from ._families import HalfCauchy as HalfCauchy
from ._families import HalfNormal as HalfNormal
from ._families import LogNormal as LogNormal
from ._families import LogUniform as LogUniform
from ._families import Normal as Normal
from ._families import Uniform as Uniform
from ._prior import AbstractPrior as AbstractPrior
