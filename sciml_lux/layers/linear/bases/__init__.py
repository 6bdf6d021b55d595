"""Bases: functions of one variable, of which `TensorProductLayer` learns sums and products. Each maps `(...)` to `(..., number)`."""

from ._b_spline import BSpline as BSpline
from ._basis import AbstractBasis as AbstractBasis
from ._periodic import Cosine as Cosine
from ._periodic import Fourier as Fourier
from ._periodic import Sine as Sine
from ._polynomials import Chebyshev as Chebyshev
from ._polynomials import Legendre as Legendre
from ._polynomials import Polynomial as Polynomial
