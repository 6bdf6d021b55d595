"""Layers whose call runs a solver, and the solvers that JAX lacks. The one place that imports diffrax."""

from ._levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .ode import AbstractODE as AbstractODE
from .ode import NeuralODE as NeuralODE
