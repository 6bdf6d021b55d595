"""Types that several rooms of this package share."""

from jaxtyping import Array, Float

Numbers = Float[Array, "..."]
"""Arrays on which densities act element by element."""
