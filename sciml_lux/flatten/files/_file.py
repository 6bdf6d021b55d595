"""Parameters in files: `save` and `load`. `_format.py` describes the format."""

import json
import math
import os
import secrets
import stat
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from jax.core import Tracer

from ..._errors import FileFormatError, LayoutError
from .._declare import check_dtype, join_path
from .._exact_arrays import as_array
from .._flat_params import FlatParams, check_range
from .._flax import register_where_flax_is_imported
from .._layout import Layout, layout_of
from .._named_tree import Params, leaf_paths
from ..maps import ArraySpec
from ._decode import decode_layout
from ._encode import encode_layout
from ._format import (
    DEEPEST,
    LONGEST_HEADER,
    METADATA,
    RESERVED,
    VECTOR,
    VECTOR_DTYPES,
    VERSION,
    checksum,
    compact,
    shortened,
)


def save(path: str | os.PathLike[str], ps: FlatParams) -> None:
    """Writes parameters to a file, which `load` reads without the model and other tools as named tensors.

    The file is replaced at once: killed at any moment, it is the old one or the new one. (A temporary file in the same directory,
    called `.<random>.sciml_lux.tmp`, is flushed to the disk and renamed; what a killed process left of one can be deleted.) It
    keeps the permissions of the file that it replaces; a new one gets the usual ones. A symbolic link stays, and the file that it
    points to is replaced. Other hard links keep the old file.

    **Arguments:** `path`: such as `"model.safetensors"`; `ps`: may have leading axes. The module `_format` describes the format.

    **Errors:** `LayoutError` for something else than parameters, for traced ones, and for a map that is no dataclass of plain fields;
    `FileNotFoundError` for a folder that does not exist, `OSError` where the file cannot be written.

    **Source:** https://huggingface.co/docs/safetensors
    """
    if not isinstance(ps, FlatParams):
        raise LayoutError(f"save takes a FlatParams, got {type(ps).__name__}; {_flat_params_of(ps)}")
    if isinstance(ps.vector, Tracer):
        raise LayoutError(
            "save needs numbers, got traced ones; call it outside of jax.jit, on what the function returns"
        )
    ps.layout.check_vector(ps.vector)
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: there is no folder {folder}; write os.makedirs({str(folder)!r}, exist_ok=True) first"
        )
    if ps.layout.dtype.name not in VECTOR_DTYPES.values():
        raise LayoutError(f"a file holds a vector of {', '.join(VECTOR_DTYPES.values())}, got {ps.layout.dtype}")
    vector = np.asarray(ps.vector, order="C")
    tensors = {**_named_tensors(ps), VECTOR: vector}
    write_atomically(Path(path), safetensors.numpy.save(tensors, {METADATA: _metadata(ps.layout, vector)}))


def load(path: str | os.PathLike[str], dtype: Any = None, like: Any = None) -> FlatParams:
    """Reads the parameters that `save` wrote: bit for bit, with their layout, without the model.

    Everything is checked against the size of the file before anything is read, and the vector against its checksum.

    **Arguments:** `path`; `dtype`: of the vector (default: that of `like`, or of the file); `like`: parameters, a layout or a layer, whose
    names and shapes the file must have. How the values are stored, as ties, fixed or constrained, is as in the file.

    **Errors:** `FileFormatError` for a file that is damaged, hostile, newer than this version, or no file of parameters, and for one with
    a ravel map whose class is not defined; `LayoutError` for float64 while JAX has it switched off, for another model than `like`, and for
    a number that `dtype` does not hold; `FileNotFoundError`.

    **Source:** https://huggingface.co/docs/safetensors
    """
    register_where_flax_is_imported()
    path = Path(path)
    wanted = None if like is None else layout_of(like)
    dtype = check_dtype(dtype) if dtype is not None else None if wanted is None else wanted.dtype
    vector, layout = _read(path, dtype)
    if wanted is not None and (difference := _first_difference(layout, wanted)):
        raise LayoutError(
            f"{path}: {difference}; it holds the parameters of another model. To carry over what fits, write "
            "ps, report = lux.flatten.transplant(lux.load(path), ps)"
        )
    loaded = FlatParams(as_array(vector, layout.dtype, f"{path}: the vector"), layout)
    if vector.dtype != layout.dtype:
        check_range(loaded, str(path))
    return loaded


def _read(path: Path, dtype: Any) -> tuple[np.ndarray, Layout]:
    try:
        _check_header_length(path)
        with safetensors.safe_open(path, framework="np") as file:
            document = _parse(file.metadata())
            layout = _layout_of(document, dtype)
            _check_tensors(file, layout, document)
            vector = file.get_tensor(VECTOR)
        if checksum(document["layout"], vector) != document.get("checksum"):
            raise FileFormatError("it is damaged: the numbers do not have the checksum that was written with them")
        return vector, layout
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    except LayoutError as error:
        raise LayoutError(
            f"{path}: {error}; or load it in another precision, lux.load(path, dtype=jnp.float32)"
        ) from None
    except RecursionError:
        raise FileFormatError(f"{path}: its header is nested too deeply") from None
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise FileFormatError(f"{path}: it is no safetensors file, or a damaged one: {shortened(error)}") from None


# Writing


def _flat_params_of(value: Any) -> str:
    """What to write where a FlatParams was expected."""
    if isinstance(getattr(value, "ps", None), FlatParams):
        return "write lux.save(path, fitted.ps)"
    if isinstance(value, Params) or (isinstance(value, dict) and value):
        return "write lux.save(path, lux.flatten.flatten(params)), for parameters by name"
    return (
        "write lux.save(path, ps) with ps, st = lux.setup(key, layer); a state or an array has no place in such a file"
    )


def _named_tensors(ps: FlatParams) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(ps.params)
    named = {jax.tree_util.keystr(keys, simple=True, separator="."): leaf for keys, leaf in leaves}
    return {
        name: _real(np.asarray(leaf, order="C"))
        for name, leaf in named.items()
        if name not in RESERVED and isinstance(leaf, jax.Array | np.ndarray)
    }


def _real(array: np.ndarray) -> np.ndarray:
    """A complex array with its real and imaginary parts along a last axis; any other as it is."""
    return np.stack([np.real(array), np.imag(array)], axis=-1) if array.dtype.kind == "c" else array


def _metadata(layout: Layout, vector: np.ndarray) -> str:
    encoded = encode_layout(layout)
    try:
        lossless = encode_layout(decode_layout(encoded)) == encoded
    except FileFormatError as error:
        raise LayoutError(f"this layout cannot be read back from a file: {error}") from None
    if not lossless:
        raise LayoutError(
            "this layout is another one when it is read back from a file; are the fields of its maps numbers?"
        )
    text = compact({"version": VERSION, "checksum": checksum(encoded, vector), "layout": encoded})
    if len(text) > LONGEST_HEADER // 2:  # the rest is for the names and for escaped quotation marks
        raise LayoutError(f"the description of this layout takes {len(text)} bytes, more than a file has room for")
    return text


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, also where the process or the machine stops; a symbolic link stays one."""
    target = Path(os.path.realpath(path))  # replacing a symbolic link would cut it off from its target
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None and not stat.S_ISREG(mode):
        kind = IsADirectoryError if stat.S_ISDIR(mode) else OSError
        raise kind(f"{path} is no regular file, and is not replaced by one")
    temporary = target.parent / f".{secrets.token_hex(8)}.sciml_lux.tmp"
    try:
        with open(temporary, "xb") as file:
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # a rename is on the disk when its directory is; Windows does not open directories
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


# Reading


def _first_difference(got: Layout, expected: Layout) -> str | None:
    """The first name or shape, as a layer sees them, in which two layouts differ; None if in none."""
    mine, theirs = _shapes(got), _shapes(expected)
    for path, shape in theirs.items():
        if mine.get(path) != shape:
            return f"parameter {path}: got {f'shape {mine[path]}' if path in mine else 'none'}, expected shape {shape}"
    extra = next((path for path in mine if path not in theirs), None)
    return None if extra is None else f"parameter {extra}: got shape {mine[extra]}, expected none of that name"


def _shapes(layout: Layout) -> dict[str, tuple[int, ...]]:
    return {
        join_path(entry.path, path): spec.shape
        for entry in layout.entries
        for path, spec in (
            [("", entry.spec)]
            if isinstance(entry.spec, ArraySpec)
            else [(path, entry.spec[path]) for path in leaf_paths(entry.spec)]
        )
    }


def _check_header_length(path: Path) -> None:
    """What would be slow or large, before the library sees the file: something that is no file, and a header without end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileFormatError("it is no regular file")
    with open(path, "rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{":
        raise FileFormatError("it is no safetensors file")
    if length > LONGEST_HEADER or length > status.st_size - 8:
        raise FileFormatError(
            f"it is cut short or damaged: its header should have {length} bytes, and the file has {status.st_size} "
            f"(a header has at most {LONGEST_HEADER})"
        )


def _parse(metadata: dict[str, str] | None) -> Any:
    if not metadata or METADATA not in metadata:
        raise FileFormatError(
            "it is a safetensors file, but lux.save did not write it; read its tensors with safetensors.numpy.load_file, "
            "and give them names and an order with lux.flatten.flatten"
        )
    return json.loads(metadata[METADATA], object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise FileFormatError("a name stands twice in one object of its layout")
    return record


def _refuse_constant(text: str) -> Any:
    raise FileFormatError(f"{text} is no JSON")


def _layout_of(document: Any, dtype: Any) -> Layout:
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise FileFormatError(f"its version is {shortened(version)}, expected a number")
    if version > VERSION:
        raise FileFormatError(
            f"it is of version {shortened(version)} of the format, and this version of sciml-lux reads up to {VERSION}; "
            "write `pip install --upgrade sciml-lux`"
        )
    if "layout" not in document:
        raise FileFormatError("it has no 'layout'")
    return decode_layout(document["layout"], dtype)


def _check_tensors(file: Any, layout: Layout, document: Any) -> None:
    """The tensors are those of the layout. That their sizes fit the file is what the library has checked when it opened it."""
    names = set(file.keys())
    if VECTOR not in names:
        raise FileFormatError(f"it has no tensor {VECTOR}")
    kept = file.get_slice(VECTOR)
    shape, stored = tuple(kept.get_shape()), document["layout"]["dtype"]
    if VECTOR_DTYPES.get(kept.get_dtype()) != stored:
        raise FileFormatError(f"its vector is of {kept.get_dtype()}, its layout of {stored}")
    if not shape or shape[-1] != layout.size:
        raise FileFormatError(f"its vector has the shape {shape}, and its entries add up to {layout.size} numbers")
    if len(shape) > 32 or math.prod(length for length in shape if length) > 2**48:
        raise FileFormatError(f"no vector has the shape {shortened(shape)}")
    by_path = {entry.path: entry for entry in layout.entries}
    for name in names - {VECTOR}:
        if name.count(".") > DEEPEST:
            raise FileFormatError(f"it has the tensor {shortened(name)}, nested deeper than {DEEPEST} levels")
        parents = [name[:i] for i, character in enumerate(name) if character == "."]
        entry = next((by_path[path] for path in (name, *reversed(parents), "") if path in by_path), None)
        if entry is None:
            raise FileFormatError(f"it has the tensor {shortened(name)}, which no entry of its layout accounts for")
        if name == entry.path and isinstance(entry.spec, ArraySpec):
            expected = shape[:-1] + entry.spec.shape + ((2,) if entry.spec.dtype.kind == "c" else ())
            if tuple(file.get_slice(name).get_shape()) != expected:
                raise FileFormatError(f"its tensor {name} has another shape than its layout says, {expected}")
