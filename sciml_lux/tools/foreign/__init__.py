"""Models of other libraries as layers with one flat vector."""

from ._equinox import from_equinox as from_equinox
from ._flax import from_flax as from_flax
from ._pytree import from_pytree as from_pytree
