"""JSON of which nothing is known as a layout: whatever it is, the only error is `FileFormatError`."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..._errors import FileFormatError
from .._declare import Entry, check_dtype, complex_dtype, join_path
from .._layout import Layout
from .._named_tree import Params, check_name
from ..maps import AbstractRavelMap, ArraySpec, Real, Spec
from ._format import DEEPEST, DTYPES, PACKAGE, module_of, shortened

_LARGEST = 2**63 - 1  # elements, as NumPy counts them


def decode_layout(document: Any, dtype: Any = None) -> Layout:
    """The layout of a JSON document, after checking that it is one; with `dtype`, that of a vector of another dtype.

    **Errors:** `FileFormatError` for everything that is wrong with it; `LayoutError` for a dtype that JAX is not configured for.
    """
    stored = _dtype(_field(document, "dtype", str, "the layout"), "the layout")
    dtype = check_dtype(stored if dtype is None else dtype)
    records = _field(document, "entries", list, "the layout")
    entries = [_decode_entry(record, number, stored, dtype) for number, record in enumerate(records)]
    offset = 0
    for entry in entries:
        if entry.offset != offset:
            raise FileFormatError(
                f"{shortened(entry.path)} is at offset {entry.offset}; the one before it ends at {offset}"
            )
        offset += entry.size
    remaining = iter(range(len(entries)))
    tree = _decode_tree(_present(document, "tree", "the layout"), entries, remaining, "", 0)
    if next(remaining, None) is not None:
        raise FileFormatError("the tree has fewer leaves than there are entries")
    parent = document.get("parent")
    parent = None if parent is None else decode_layout(parent, dtype)
    layout = _made(lambda: Layout(tree, dtype, parent), "its entries do not make a layout")
    _check_fit(layout)
    return layout


def _decode_tree(tree: Any, entries: list[Entry], remaining: Any, path: str, depth: int) -> Any:
    if type(tree) is int:
        if tree != next(remaining, None):
            raise FileFormatError(
                f"the leaf {shortened(path)} of the tree is entry {shortened(tree)}, out of order or out of range"
            )
        if entries[tree].path != path:
            raise FileFormatError(
                f"entry {tree} is called {shortened(entries[tree].path)}, in the tree {shortened(path)}"
            )
        return entries[tree]
    return Params(
        {
            name: _decode_tree(child, entries, remaining, join_path(path, name), depth + 1)
            for name, child in _names(tree, path, depth).items()
        }
    )


def _decode_entry(record: Any, number: int, stored: np.dtype, dtype: np.dtype) -> Entry:
    path = _field(record, "path", str, f"entry {number}")
    where = f"entry {shortened(path)}"
    for name in path.split(".") if path else ():
        _check_name(name, where)
    offset, size = _count(record, "offset", where), _count(record, "size", where)
    unit = _present(record, "unit", where)
    if unit is not None and not isinstance(unit, str):
        raise FileFormatError(f"{where}: its unit is {shortened(unit)}, expected a string or null")
    spec = _decode_spec(record, stored, dtype, where, 0)
    ravel_map = _decode_map(_field(record, "map", dict, where), where)
    return Entry(path, offset, size, spec, ravel_map, unit)


def _decode_spec(record: Any, stored: np.dtype, dtype: np.dtype, where: str, depth: int) -> Spec:
    if isinstance(record, dict) and "parts" in record:
        parts = _names(record["parts"], where, depth)
        return Params({name: _decode_spec(part, stored, dtype, where, depth + 1) for name, part in parts.items()})
    shape = _field(record, "shape", list, where)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise FileFormatError(f"{where}: its shape is {shortened(shape)}, expected a list of sizes")
    if math.prod(length for length in shape if length) > _LARGEST or len(shape) > 32:
        raise FileFormatError(f"{where}: no array has the shape {shortened(shape)}")
    own = _dtype(_field(record, "dtype", str, where), where)
    if own == stored:
        own = dtype
    elif own.kind == "c" and stored != dtype:
        own = complex_dtype(dtype)
    return ArraySpec(tuple(shape), own)


def _decode_map(record: Any, where: str) -> AbstractRavelMap:
    name, module = _field(record, "class", str, where), _field(record, "module", str, where)
    fields = _field(record, "fields", dict, where)
    cls = _find_map(name, module, where)
    known = {field.name for field in dataclasses.fields(cls) if field.init}
    if not known >= set(fields):
        raise FileFormatError(f"{where}: its map {name} has no field {shortened(min(set(fields) - known))}")
    values = {field: _decode_value(value, where) for field, value in fields.items()}
    return _made(lambda: cls(**values), f"{where}: its map {name} cannot be made")


# Maps that files of earlier versions know by another name.
_RENAMED = {"PositiveDefinite": "PositiveDefiniteMap", "Scaled": "ScaledMap"}


def _find_map(name: str, module: str, where: str) -> Any:
    """The map class of that name among those that exist: nothing is imported, nothing in the file is run."""
    ours = module == PACKAGE
    name = _RENAMED.get(name, name) if ours else name
    found = [
        cls
        for cls in _subclasses(AbstractRavelMap)
        if cls.__name__ == name and dataclasses.is_dataclass(cls) and (module_of(cls) == PACKAGE) == ours
    ]
    # A script's module is __main__ in one process and has a name in another; a cell that is run again defines the class again.
    found = [cls for cls in found if cls.__module__ == module] or found
    if found:
        return found[-1]
    if ours:
        raise FileFormatError(
            f"{where} has the map {shortened(name)}, which this version of sciml-lux does not know; "
            "write `pip install --upgrade sciml-lux`"
        )
    raise FileFormatError(
        f"{where} has the map {shortened(name)}, a class that is not defined here; "
        f"import it (it was defined in {shortened(module)}) or define it as a frozen dataclass before loading"
    )


def _subclasses(cls: type) -> list[type]:
    return [found for child in cls.__subclasses__() for found in (child, *_subclasses(child))]


def _decode_value(value: Any, where: str) -> Any:
    match value:
        case None | bool() | str() | int() | float():
            return value
        case list():
            return tuple(_decode_value(item, where) for item in value)
        case {"float": "inf" | "-inf" | "nan" as text}:
            return float(text)
        case {"map": record}:
            return _decode_map(record, where)
        case {"dtype": str() as name}:
            return _dtype(name, where)
        case {"spec": record}:
            unchanged = np.dtype(float)
            return _decode_spec(record, unchanged, unchanged, where, 0)
        case _:
            raise FileFormatError(f"{where}: its map has a field that is {shortened(value)}")


def _check_fit(layout: Layout) -> None:
    """Raises unless each map stores a value of its shape in as many numbers as the entry has. Shapes alone are computed."""
    for entry in layout.entries:
        where = f"entry {shortened(entry.path)}"
        size = _made(lambda: entry.ravel_map.size(entry.spec), f"{where}: its map does not fit its shape {entry.spec}")  # noqa: B023
        if size != entry.size:
            raise FileFormatError(
                f"{where}: its size is {entry.size}, and its shape {entry.spec} takes {shortened(size)} numbers"
            )
    if all(isinstance(entry.ravel_map, Real) for entry in layout.entries):
        return
    vector = jax.ShapeDtypeStruct((layout.size,), layout.dtype)
    seen = _made(lambda: jax.eval_shape(layout.unravel, vector), "its maps do not fit its shapes")
    for entry in layout.entries:
        shape = getattr(seen[entry.path] if entry.path else seen, "shape", None)
        if isinstance(entry.spec, ArraySpec) and shape != entry.spec.shape:
            raise FileFormatError(
                f"entry {shortened(entry.path)}: its map gives the shape {shape}, expected {entry.spec.shape}"
            )


def _made(make: Callable[[], Any], complaint: str) -> Any:
    try:
        return make()
    except Exception as error:  # whatever a map makes of fields and shapes that are not its own
        raise FileFormatError(f"{complaint}: {type(error).__name__}: {shortened(error)}") from None


# Reading JSON of which nothing is known


def _present(record: Any, name: str, where: str) -> Any:
    if not isinstance(record, dict):
        raise FileFormatError(f"{where} is {shortened(record)}, expected an object")
    if name not in record:
        raise FileFormatError(f"{where} has no {name!r}")
    return record[name]


def _field(record: Any, name: str, kind: type, where: str) -> Any:
    value = _present(record, name, where)
    if type(value) is not kind:
        raise FileFormatError(f"{where}: {name!r} is {shortened(value)}, expected {kind.__name__}")
    return value


def _count(record: Any, name: str, where: str) -> int:
    value = _field(record, name, int, where)
    if not 0 <= value <= _LARGEST:
        raise FileFormatError(f"{where}: {name!r} is {shortened(value)}, out of range")
    return value


def _names(record: Any, where: str, depth: int) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise FileFormatError(f"{shortened(where)} is {shortened(record)}, expected an object of names")
    if depth >= DEEPEST:
        raise FileFormatError(f"names are nested deeper than {DEEPEST} levels")
    for name in record:
        _check_name(name, where)
    return record


def _check_name(name: Any, where: str) -> None:
    try:
        check_name(name)
    except KeyError:
        raise FileFormatError(
            f"{shortened(where)}: got the name {shortened(name)}; a name is made of letters, digits and underscores"
        ) from None


def _dtype(name: str, where: str) -> np.dtype:
    if name not in DTYPES:
        raise FileFormatError(f"{where} has the dtype {shortened(name)}; those of a file are {', '.join(DTYPES)}")
    return DTYPES[name]
