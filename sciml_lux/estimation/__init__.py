"""Estimation of parameters: least squares, curves, and how sure to be of the result."""

from ._curve_fit import curve_fit as curve_fit
from ._least_squares import least_squares as least_squares
from ._result import LeastSquaresResult as LeastSquaresResult
