"""Layers whose call runs a solver, and the solvers that JAX lacks. The one place that imports diffrax."""

from ._levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .ode import AbstractODE as AbstractODE
from .ode import AugmentedODE as AugmentedODE
from .ode import HamiltonianODE as HamiltonianODE
from .ode import HybridODE as HybridODE
from .ode import NeuralODE as NeuralODE
from .ode import Scaled as Scaled
from .ode import SecondOrderODE as SecondOrderODE
from .ode import solve_with_estimates as solve_with_estimates
from .steppers import StormerVerlet as StormerVerlet
from .steppers import Yoshida4 as Yoshida4
