"""Keys that tell apart what Python calls equal: 0.0 and -0.0, 1 and 1.0 and True, NaNs of another payload.

What is kept under a key is handed to everyone whose key is equal, and a program made for 0.0 divides to another infinity than
one for -0.0. So keys compare types and bits.
"""

import dataclasses
import functools
import struct
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np


def exact(value: Any) -> Hashable:
    """A key that is equal to another one if type and bits of everything in `value` are.

    Enters tuples, lists, sets, mappings, dataclasses and partial functions. Other types compare as they define it; so do those that
    say `compares_bits = True`, because they use `exact` themselves.
    """
    kind = type(value)
    if kind is float:
        return kind, struct.pack("d", value)
    if kind is complex:
        return kind, struct.pack("dd", value.real, value.imag)
    if isinstance(value, np.generic):
        return kind, value.dtype, value.tobytes()
    if isinstance(value, tuple | list):
        return kind, tuple(map(exact, value))
    if isinstance(value, frozenset | set):
        return kind, frozenset(map(exact, value))
    if isinstance(value, Mapping):
        return kind, tuple((exact(name), exact(child)) for name, child in value.items())
    if isinstance(value, functools.partial):
        return kind, exact(value.func), exact(value.args), exact(value.keywords)
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not getattr(kind, "compares_bits", False):
        return kind, exact_fields(value), None if kind.__dataclass_params__.eq else value  # type: ignore[attr-defined]
    return kind, value


def exact_fields(value: Any) -> Hashable:
    """`exact` of the fields by which a dataclass compares."""
    return tuple(exact(getattr(value, field.name, None)) for field in dataclasses.fields(value) if field.compare)
