"""Layers whose output is the equilibrium of a model, and how that is differentiated."""

from ._deep_equilibrium import DeepEquilibrium as DeepEquilibrium
from ._penalties import JacobianPenalty as JacobianPenalty
from .gradients import ImplicitGradient as ImplicitGradient
from .gradients import JacobianFreeGradient as JacobianFreeGradient
from .gradients import PhantomGradient as PhantomGradient
from .gradients import UnrolledGradient as UnrolledGradient
