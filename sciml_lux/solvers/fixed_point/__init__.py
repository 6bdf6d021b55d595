"""Solvers of `z = f(z)` and `F(y) = 0` for `optimistix`, by whole batches of which each sample stops on its own."""

from ._anderson import Anderson as Anderson
from ._broyden import Broyden as Broyden
from ._damped import Damped as Damped
from ._newton_krylov import NewtonKrylov as NewtonKrylov
