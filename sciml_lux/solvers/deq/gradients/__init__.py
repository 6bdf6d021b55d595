"""How an equilibrium is differentiated: one file for each way, and how one is chosen."""

from ._choice import GradientChoice as GradientChoice
from ._choice import choose_gradient as choose_gradient
from ._gradient import AbstractEquilibriumGradient as AbstractEquilibriumGradient
from ._gradient import Accuracy as Accuracy
from ._gradient import System as System
from ._implicit import ImplicitGradient as ImplicitGradient
from ._jacobian_free import JacobianFreeGradient as JacobianFreeGradient
from ._phantom import PhantomGradient as PhantomGradient
from ._shine import ShineGradient as ShineGradient
from ._unrolled import UnrolledGradient as UnrolledGradient
