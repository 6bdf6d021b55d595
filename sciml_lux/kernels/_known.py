"""Numbers that are known while a function is traced, for checks that NumPy makes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def is_traced(*trees: Any) -> bool:
    """Whether any number in the trees is known at run time only."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def known(value: Any) -> np.ndarray | None:
    """The numbers of an array, or of lists of them, as an array of NumPy's; `None` if any is traced.

    What is checked or decided before a program runs is computed from this, with NumPy: within `jax.jit` an operation of JAX's on numbers
    that are known returns traced ones, which no `if` can read.
    """
    return None if is_traced(value) else np.asarray(value)


def is_compiling() -> bool:
    """Whether a function is being traced here for a program, as within `jax.jit`, so that no result of an operation can be read."""
    return is_traced(jnp.zeros(()))
