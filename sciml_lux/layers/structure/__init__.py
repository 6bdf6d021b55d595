"""Layers with the structure of a law: energy, least action, stability."""

from ._hamiltonian import HamiltonianNN as HamiltonianNN
from ._lagrangian import LagrangianNN as LagrangianNN
from ._positive_definite import PositiveDefinite as PositiveDefinite
