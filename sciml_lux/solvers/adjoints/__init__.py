"""How a solve is differentiated."""

from ._choice import AdjointChoice as AdjointChoice
from ._choice import choose_adjoint as choose_adjoint
from ._replay import solve_and_replay as solve_and_replay
from ._reversible import APART as APART
from ._reversible import ReversibleAdjoint as ReversibleAdjoint
