"""Choosing between trees of arrays."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def where(valid: Bool[Array, "..."], new: Any, old: Any) -> Any:
    """`new` where `valid` and `old` elsewhere, for trees of arrays with further axes at the end."""

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(jnp.expand_dims(valid, tuple(range(valid.ndim, new.ndim))), new, old)

    return jax.tree.map(choose, new, old)
