"""How a solve is differentiated."""

from ._choice import AdjointChoice as AdjointChoice
from ._choice import choose_adjoint as choose_adjoint
from ._reversible import APART as APART
from ._reversible import ReversibleAdjoint as ReversibleAdjoint
