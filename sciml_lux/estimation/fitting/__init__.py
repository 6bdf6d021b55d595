"""Fits of a problem: one, or from many starts, and what is to be said of them."""

from ._bootstrap import Bootstrap as Bootstrap
from ._derived import Derived as Derived
from ._fit import fit as fit
from ._fitted import Fit as Fit
from ._laplace import LaplaceApproximation as LaplaceApproximation
from ._multistart import Multistart as Multistart
from ._multistart import multistart as multistart
from ._posterior import Posterior as Posterior
from ._predict import Prediction as Prediction
from ._profile import Profile as Profile
from ._region import Region as Region
from ._residual_tests import ResidualTests as ResidualTests
from ._search import Budget as Budget
from ._spectrum import Spectrum as Spectrum
from ._starts import sample_starts as sample_starts
