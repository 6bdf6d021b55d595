"""Kinds of arguments that many of the functions here take."""

from collections.abc import Callable
from typing import Any, TypeAlias

import diffrax
import numpy as np
from jaxtyping import Array, PyTree

# A time: a number as well as an array, since diffrax and users may call with either.
Time: TypeAlias = Array | np.ndarray | float | int

# Whether something is so, known already or only when it runs.
Truth: TypeAlias = Array | np.ndarray | np.generic | bool

# The state of an equation, or what is like it, as its derivative: the structure is the user's.
StateTree: TypeAlias = PyTree[Array]

# What diffrax solves: one term, or several of which a method makes its step.
TermTree: TypeAlias = PyTree[diffrax.AbstractTerm[Any, Any]]

# The right-hand side `f(t, y, args)`; several for a method that takes them apart, or a term of what drives a state.
Fields: TypeAlias = Callable[..., Any] | diffrax.AbstractTerm[Any, Any] | tuple[Callable[..., Any], ...]
