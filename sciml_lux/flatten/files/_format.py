"""The format of the files that `save` writes and `load` reads.

A file is in the safetensors format (https://huggingface.co/docs/safetensors): an 8-byte length, a JSON header of that length, and
the bytes of the tensors. Nothing in it is code.

**Tensors.** `__vector__` is the vector, of shape `(..., size)`; it is what `load` reads. Beside it stands each parameter as the
layer sees it, under its dotted path (`layer_0.weight`, of shape `(..., in, out)`), so that other tools find them; constrained
ones hold their values, fixed and tied ones are there too. So a file takes about twice the vector. Complex ones have a last axis
of two, the real and the imaginary part. A parameter whose path is `__vector__` or `__metadata__`, or that is no array, is in the
vector only.

**Metadata.** One key, `sciml_lux`, holds JSON:

    {"version": 1,
     "checksum": 2774163522,                              # CRC-32 of the layout's JSON, then of the vector's bytes
     "layout": {
       "dtype": "float32",
       "tree": {"rates": {"growth": 0}, "empty": {}},     # names; the leaves are numbers of entries
       "entries": [
         {"path": "rates.growth", "offset": 0, "size": 1,
          "shape": [], "dtype": "float32",                # or "parts": {name: ...}, for a map of a whole layer
          "map": {"class": "Bounded", "module": "sciml_lux", "fields": {"lower": 0.0, "upper": {"float": "inf"}}},
          "unit": "1/year"}]}}                            # and "parent": the layout of which `partition` made this a part

A map is its class and its fields: numbers, strings, null, lists (tuples), `{"float": "inf"}`, `{"map": ...}`, `{"dtype": ...}`,
`{"spec": ...}`. It is looked up among the classes that exist; `load` imports nothing and runs nothing that is in the file.

A change that version 1 cannot express raises the version. `tests/data/golden_v1.safetensors` pins it.
"""

import json
import zlib
from typing import Any

import jax.numpy as jnp
import numpy as np

VERSION = 1
METADATA = "sciml_lux"
VECTOR = "__vector__"
RESERVED = frozenset({"", VECTOR, "__metadata__"})
VECTOR_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
LONGEST_HEADER = 64 * 2**20
DEEPEST = 100  # names within names; Python's own recursion limit is further away
DTYPES = {
    np.dtype(dtype).name: np.dtype(dtype)
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64, jnp.complex64, jnp.complex128)
}
PACKAGE = __name__.partition(".")[0]


def compact(document: Any) -> str:
    """JSON without spaces: one text for one document."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def checksum(encoded: Any, vector: np.ndarray) -> int:
    """The CRC-32 of the layout, as it is written, and of the vector."""
    numbers: Any = np.ravel(vector).view(np.uint8)
    return zlib.crc32(numbers, zlib.crc32(compact(encoded).encode()))


def module_of(cls: type) -> str:
    """Where a map is at home: for those of this package the package, whose modules may be split and joined."""
    package = cls.__module__.partition(".")[0]
    return package if package == PACKAGE else cls.__module__


def shortened(value: Any) -> str:
    """`value` for a message: a hostile file must not fill the screen."""
    text = str(value) if isinstance(value, Exception) else ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
