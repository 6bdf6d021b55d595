"""How one thing becomes a segment of the vector and back: constraints, matrices, ties, and the registry of these maps."""

from ._complex import ComplexAsReals as ComplexAsReals
from ._compose import Composed as Composed
from ._compose import ScaledMap as ScaledMap
from ._constraints import AbstractConstraint as AbstractConstraint
from ._constraints import Bounded as Bounded
from ._constraints import Fixed as Fixed
from ._constraints import Positive as Positive
from ._constraints import PositiveSoftplus as PositiveSoftplus
from ._matrices import LowRank as LowRank
from ._matrices import Orthogonal as Orthogonal
from ._matrices import PositiveDefiniteMap as PositiveDefiniteMap
from ._matrices import Symmetric as Symmetric
from ._matrices import Triangular as Triangular
from ._ravel_map import AbstractRavelMap as AbstractRavelMap
from ._ravel_map import ArraySpec as ArraySpec
from ._ravel_map import Real as Real
from ._ravel_map import Spec as Spec
from ._ravel_map import all_ravel_maps as all_ravel_maps
from ._ravel_map import is_subtree as is_subtree
from ._ravel_map import register_ravel_map as register_ravel_map
from ._ravel_map import registered_ravel_map as registered_ravel_map
from ._tied import Tied as Tied
from ._vectors import Ordered as Ordered
from ._vectors import Simplex as Simplex
from ._vectors import UnitVector as UnitVector
