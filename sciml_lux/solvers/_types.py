"""Kinds of arguments that many of the functions here take."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Array, PyTree

# A time as a user gives it, or as a solver computes it.
Time: TypeAlias = Array | np.ndarray | np.generic | float | int

# The state of an equation, or what is like it, as its derivative: the structure is the user's.
StateTree: TypeAlias = PyTree[Array]
