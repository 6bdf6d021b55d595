"""Least-squares solvers, for `optimistix.least_squares`; and the same steps, taken on the host, for `estimation`."""

from ._bounds import Bounds as Bounds
from ._levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from ._namespace import Numbers as Numbers
from ._on_host import Descent as Descent
from ._on_host import Evaluated as Evaluated
from ._on_host import bounds_of as bounds_of
from ._on_host import evaluated as evaluated
from ._trust_region import Candidate as Candidate
from ._trust_region import Progress as Progress
from ._trust_region import advance as advance
from ._trust_region import begin as begin
