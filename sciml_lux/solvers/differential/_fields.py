"""What a solve integrates: a field, several of them for a solver that takes several terms, or terms of diffrax."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax

from .._types import Fields


def is_driven(fields: Fields) -> bool:
    """Whether they are terms of diffrax, which more than time may drive."""
    return isinstance(fields, diffrax.AbstractTerm) or (
        isinstance(fields, tuple) and any(isinstance(part, diffrax.AbstractTerm) for part in fields)
    )


def as_terms(fields: Fields) -> Any:
    """Terms of diffrax."""
    if isinstance(fields, tuple):
        return tuple(map(as_terms, fields))
    return fields if isinstance(fields, diffrax.AbstractTerm) else diffrax.ODETerm(fields)


def map_fields(change: Callable[[Any], Any], fields: Fields) -> Any:
    """The same with every function in them changed."""
    return jax.tree.map(lambda part: change(part) if callable(part) else part, fields, is_leaf=callable)
