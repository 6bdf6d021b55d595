"""Methods for differential equations that diffrax lacks, as diffrax solvers."""

from ._symplectic import AbstractSplitting as AbstractSplitting
from ._symplectic import StormerVerlet as StormerVerlet
from ._symplectic import Yoshida4 as Yoshida4
