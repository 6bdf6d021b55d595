"""A layout as JSON: the part of a file that says what the numbers mean."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._errors import LayoutError
from .._declare import Entry
from .._layout import Layout
from .._named_tree import Params
from ..maps import AbstractRavelMap, ArraySpec, Spec
from ._format import DTYPES, module_of, shortened


def encode_layout(layout: Layout) -> dict[str, Any]:
    """The layout as what `json` writes. **Errors:** `LayoutError` for a map that cannot be written as a name and fields."""
    numbers = {entry.path: number for number, entry in enumerate(layout.entries)}
    return {
        "dtype": layout.dtype.name,
        "tree": _encode_tree(layout.tree, numbers),
        "entries": [_encode_entry(entry) for entry in layout.entries],
        **({} if layout.parent is None else {"parent": encode_layout(layout.parent)}),
    }


def _encode_tree(tree: Params | Entry, numbers: Mapping[str, int]) -> Any:
    if isinstance(tree, Entry):
        return numbers[tree.path]
    return {name: _encode_tree(child, numbers) for name, child in tree.items()}


def _encode_entry(entry: Entry) -> dict[str, Any]:
    try:
        ravel_map = _encode_map(entry.ravel_map)
    except LayoutError as error:
        raise LayoutError(f"{entry.path}: {error}") from None
    return {
        "path": entry.path,
        "offset": entry.offset,
        "size": entry.size,
        **_encode_spec(entry.spec),
        "map": ravel_map,
        "unit": entry.unit,
    }


def _encode_spec(spec: Spec) -> dict[str, Any]:
    if isinstance(spec, ArraySpec):
        return {"shape": list(spec.shape), "dtype": spec.dtype.name}
    return {"parts": {name: _encode_spec(part) for name, part in spec.items()}}


def _encode_map(ravel_map: AbstractRavelMap) -> dict[str, Any]:
    cls = type(ravel_map)
    if not dataclasses.is_dataclass(ravel_map):
        raise LayoutError(f"a file holds a map as its fields, and {cls.__name__} is no dataclass; make it a frozen one")
    fields = {field.name: getattr(ravel_map, field.name) for field in dataclasses.fields(ravel_map) if field.init}
    try:
        return {
            "class": cls.__name__,
            "module": module_of(cls),
            "fields": {name: _encode_value(value) for name, value in fields.items()},
        }
    except TypeError as error:
        raise LayoutError(
            f"the map {cls.__name__} holds {error}, which a file cannot; "
            "it can hold numbers, strings, None, dtypes, other maps and tuples of these"
        ) from None


def _encode_value(value: Any) -> Any:
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return float(value) if math.isfinite(value) else {"float": str(float(value))}
        case tuple():
            return [_encode_value(item) for item in value]
        case AbstractRavelMap():
            return {"map": _encode_map(value)}
        case ArraySpec() | Params():
            return {"spec": _encode_spec(value)}
        case np.dtype() if value.name in DTYPES:
            return {"dtype": value.name}
        case _:
            raise TypeError(f"{type(value).__name__} {shortened(value)}")
