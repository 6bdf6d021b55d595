"""Estimation of parameters: experiments, noise, problems, fits, and how sure to be of the result."""

from . import noise as noise
from . import priors as priors
from ._curve_fit import curve_fit as curve_fit
from ._curve_result import CurveFitResult as CurveFitResult
from ._curve_result import CurvePrediction as CurvePrediction
from ._least_squares import least_squares as least_squares
from ._parameter_table import ParameterTable as ParameterTable
from ._parameter_table import parameter_table as parameter_table
from ._parameter_table import with_parameter_table as with_parameter_table
from ._result import LeastSquaresResult as LeastSquaresResult
from .fitting import Bootstrap as Bootstrap
from .fitting import Budget as Budget
from .fitting import Derived as Derived
from .fitting import Fit as Fit
from .fitting import LaplaceApproximation as LaplaceApproximation
from .fitting import Multistart as Multistart
from .fitting import Posterior as Posterior
from .fitting import Prediction as Prediction
from .fitting import Profile as Profile
from .fitting import fit as fit
from .fitting import multistart as multistart
from .fitting import sample_starts as sample_starts
from .problem import Data as Data
from .problem import Experiment as Experiment
from .problem import Problem as Problem
