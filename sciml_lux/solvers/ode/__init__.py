"""Layers whose call solves an ordinary differential equation."""

from ._augmented import AugmentedODE as AugmentedODE
from ._estimates import solve_with_estimates as solve_with_estimates
from ._hamiltonian import HamiltonianODE as HamiltonianODE
from ._hybrid import HybridODE as HybridODE
from ._inputs import SampledInput as SampledInput
from ._inputs import cubic_input as cubic_input
from ._inputs import hold_input as hold_input
from ._inputs import linear_input as linear_input
from ._integrate import integrate as integrate
from ._jump_ode import JumpODE as JumpODE
from ._neural_ode import NeuralODE as NeuralODE
from ._ode import AbstractODE as AbstractODE
from ._results import RESULTS as RESULTS
from ._scaled import Scaled as Scaled
from ._second_order import SecondOrderODE as SecondOrderODE
from ._steady_state import SteadyStateODE as SteadyStateODE
