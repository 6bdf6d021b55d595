"""Layers whose call runs a solver, and the solvers that JAX lacks. The one place that imports diffrax."""

from ._failure import SolveError as SolveError
from ._levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .adjoints import ReversibleAdjoint as ReversibleAdjoint
from .deq import DeepEquilibrium as DeepEquilibrium
from .deq import ImplicitGradient as ImplicitGradient
from .deq import JacobianFreeGradient as JacobianFreeGradient
from .deq import JacobianPenalty as JacobianPenalty
from .deq import PhantomGradient as PhantomGradient
from .deq import UnrolledGradient as UnrolledGradient
from .ode import RESULTS as RESULTS
from .ode import AbstractODE as AbstractODE
from .ode import AugmentedODE as AugmentedODE
from .ode import HamiltonianODE as HamiltonianODE
from .ode import HybridODE as HybridODE
from .ode import JumpODE as JumpODE
from .ode import NeuralODE as NeuralODE
from .ode import SampledInput as SampledInput
from .ode import Scaled as Scaled
from .ode import SecondOrderODE as SecondOrderODE
from .ode import SteadyStateODE as SteadyStateODE
from .ode import cubic_input as cubic_input
from .ode import hold_input as hold_input
from .ode import linear_input as linear_input
from .ode import solve_with_estimates as solve_with_estimates
from .steppers import StormerVerlet as StormerVerlet
from .steppers import Yoshida4 as Yoshida4
