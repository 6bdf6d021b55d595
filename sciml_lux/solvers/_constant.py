"""Numbers that are held fixed where something is differentiated."""

from typing import Any

import equinox as eqx
import jax
from jax import lax
from jaxtyping import PyTree


def constant(tree: PyTree) -> Any:
    """The same numbers, through which nothing is differentiated."""
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree)
