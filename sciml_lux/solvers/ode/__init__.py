"""Layers whose call solves an ordinary differential equation."""

from ._neural_ode import NeuralODE as NeuralODE
from ._ode import AbstractODE as AbstractODE
