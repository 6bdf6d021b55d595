"""Layers whose call solves an ordinary differential equation."""

from ._augmented import AugmentedODE as AugmentedODE
from ._estimates import solve_with_estimates as solve_with_estimates
from ._hamiltonian import HamiltonianODE as HamiltonianODE
from ._hybrid import HybridODE as HybridODE
from ._neural_ode import NeuralODE as NeuralODE
from ._scaled import Scaled as Scaled
from ._second_order import SecondOrderODE as SecondOrderODE
from ._steady_state import SteadyStateODE as SteadyStateODE
