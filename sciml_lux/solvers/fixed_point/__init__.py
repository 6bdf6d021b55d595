"""Solvers of `z = f(z)` and `F(y) = 0` for `optimistix`, by whole batches of which each sample stops on its own."""

from ._anderson import Anderson as Anderson
from ._broyden import Broyden as Broyden
from ._damped import Damped as Damped
from ._evidence import LARGEST_ERROR as LARGEST_ERROR
from ._evidence import NEARER as NEARER
from ._evidence import gathered as gathered
from ._evidence import no_evidence as no_evidence
from ._evidence import offset_of as offset_of
from ._gmres import gmres as gmres
from ._newton_krylov import NewtonKrylov as NewtonKrylov
from ._rows import from_rows as from_rows
from ._rows import row_lengths as row_lengths
from ._rows import row_products as row_products
from ._rows import to_rows as to_rows
