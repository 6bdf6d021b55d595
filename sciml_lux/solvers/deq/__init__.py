"""Layers whose output is the equilibrium of a model, and how that is differentiated."""

from ._continuous import ContinuousDEQ as ContinuousDEQ
from ._deep_equilibrium import DeepEquilibrium as DeepEquilibrium
from ._multi_scale import MultiScaleCell as MultiScaleCell
from ._multi_scale import MultiScaleDEQ as MultiScaleDEQ
from ._penalties import JacobianPenalty as JacobianPenalty
from .gradients import ImplicitGradient as ImplicitGradient
from .gradients import JacobianFreeGradient as JacobianFreeGradient
from .gradients import PhantomGradient as PhantomGradient
from .gradients import ShineGradient as ShineGradient
from .gradients import UnrolledGradient as UnrolledGradient
