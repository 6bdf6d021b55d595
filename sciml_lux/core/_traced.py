"""Calling what a user wrote for concrete numbers, and what to say where it cannot be traced."""

import linecache
import re
import traceback
from typing import Any

import jax

from .._errors import LayerError
from ._trusted_modules import is_trusted

UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,  # the one of `if` among them
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
"""What JAX raises where a function needs numbers while it is compiled."""

_LIBRARY = re.compile(r"\b(np|numpy|math|scipy(?:\.\w+)*|sp)\.(\w+(?:\.\w+)*)")
_MOST_OF_A_LINE = 100


def explain_untraceable(error: Exception, what: str) -> LayerError:
    """The error to raise in place of one of `UNTRACEABLE` from inside `what`, a function of the user: where, why, what to write."""
    where, source = _users_line(error)
    used = _LIBRARY.search(source)
    match error:
        case jax.errors.NonConcreteBooleanIndexError():
            got = "picks elements by a mask, so that the shape depends on values"
            write = "write jnp.where(mask, values, 0.0), which keeps the shape"
        case jax.errors.TracerBoolConversionError():
            got = "decides by a value (if, while, and, or, not, min, max)"
            write = "write jnp.where(condition, a, b), jnp.minimum, jnp.maximum, & and |"
        case jax.errors.TracerIntegerConversionError():
            got = "uses a value as an index or a count of Python"
            write = "index a jnp array, or write jax.lax.fori_loop"
        case _ if used is not None:
            name, function = used.groups()
            got = f"gives a traced array to {name}.{function}, which needs numbers"
            module = "jax.scipy" if name.startswith("s") else "jnp"
            path = f"{name.partition('.')[2]}.{function}".lstrip(".")
            write = f"write {module}.{path}" + (", with import jax.numpy as jnp" if module == "jnp" else "")
        case jax.errors.TracerArrayConversionError():
            got = "makes a NumPy array of a traced one"
            write = "write it with jax.numpy: jnp.exp instead of np.exp, jnp.asarray instead of np.array"
        case _:
            got = "asks for the number in a traced array (float(), int(), .item(), math)"
            write = "leave float() and .item() out, and write jnp.exp instead of math.exp"
    explained = LayerError(f"{what} is compiled and differentiated by JAX, and {where} {got}; {write}")
    for note in getattr(error, "__notes__", ()):
        explained.add_note(note)
    return explained


def _users_line(error: Exception) -> tuple[str, str]:
    """Where in the user's own code the error came from, in words, and the line."""
    found: Any = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not is_trusted(frame.f_globals.get("__name__", "")):
            found = frame.f_code, line
    if found is None:
        return "something in it", ""
    code, line = found
    source = linecache.getline(code.co_filename, line).strip()
    shown = source if len(source) <= _MOST_OF_A_LINE else f"{source[:_MOST_OF_A_LINE]}..."
    return f"{code.co_filename}:{line}{f' ({shown})' if shown else ''}", source
