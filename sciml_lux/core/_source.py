"""Layers as Python source: what builds an equal layer, as one line or as a tree with comments."""

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import wadler_lindig as wl

# Where a function is looked up, so that it is shown by the name that people write.
_PUBLIC_MODULES = {"jnp": jnp, "jax.nn": jax.nn, "jax.lax": jax.lax, "jax.nn.initializers": jax.nn.initializers}
_COMMENT = "\0"  # stands before a comment until the comments are aligned


def describe(layer: Any) -> str:
    """The layer as one line of Python, without comments: for messages."""
    return wl.pformat(_call_doc(layer, None), width=10**9)


def source(layer: Any, count: Callable[[Any], int]) -> str:
    """Python that builds an equal layer, as a tree in which comments give each layer's number of parameters.

    Evaluates with `from sciml_lux import *`, `import jax, jax.numpy as jnp` and the names of custom layers and functions
    in scope. Functions without a name (lambdas) are shown as `<lambda file:line>`, which does not.
    """
    doc = _call_doc(layer, count) + wl.TextDoc(f"{_COMMENT}# {_parameters(count(layer))}")
    return _align_comments(wl.pformat(doc, width=100))


def _parameters(number: int) -> str:
    return f"{number:,} parameter{'' if number == 1 else 's'}"


def _call_doc(layer: Any, count: Callable[[Any], int] | None) -> wl.AbstractDoc:
    """`Name(argument, name=argument)`; one line an argument, with comments, if `count` is given and arguments are layers."""
    positional, named = layer.constructor_arguments()
    arguments = [("", value) for value in positional] + list(named.items())
    opening, closing = wl.TextDoc(f"{type(layer).__name__}("), wl.TextDoc(")")
    docs = [wl.TextDoc(f"{name}=" if name else "") + _value_doc(value, count) for name, value in arguments]
    if count is None or not any(hasattr(value, "constructor_arguments") for _, value in arguments):
        return wl.bracketed(opening, docs, wl.comma, closing, indent=4)
    names = {id(child): name for name, child in getattr(layer, "children", dict)().items()}
    body = wl.TextDoc("")
    for (given_name, value), doc in zip(arguments, docs, strict=True):
        body += wl.BreakDoc("") + doc + wl.TextDoc(",")
        if hasattr(value, "constructor_arguments"):
            where = "" if given_name or id(value) not in names else f"{names[id(value)]}: "
            body += wl.TextDoc(f"{_COMMENT}# {where}{_parameters(count(value))}")
    return (opening + body.nest(4) + wl.BreakDoc("") + closing).group(force_vertical=True)


def _value_doc(value: Any, count: Callable[[Any], int] | None = None) -> wl.AbstractDoc:
    if hasattr(value, "constructor_arguments"):
        return _call_doc(value, count)
    if hasattr(value, "__pdoc__"):
        return value.__pdoc__()
    if isinstance(value, tuple):
        docs = [_value_doc(item, count) for item in value]
        return wl.bracketed(wl.TextDoc("("), docs, wl.comma, wl.TextDoc(",)" if len(docs) == 1 else ")"), indent=4)
    if callable(value) and not dataclasses.is_dataclass(value):
        return wl.TextDoc(_function_name(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass_doc(value)
    return wl.TextDoc(" ".join(repr(value).split()))


def _dataclass_doc(value: Any) -> wl.AbstractDoc:
    fields = [
        f
        for f in dataclasses.fields(value)
        if f.init and (f.default is dataclasses.MISSING or getattr(value, f.name) != f.default)
    ]
    docs = [wl.TextDoc(f"{f.name}=") + _value_doc(getattr(value, f.name)) for f in fields]
    return wl.bracketed(wl.TextDoc(f"{type(value).__name__}("), docs, wl.comma, wl.TextDoc(")"), indent=4)


def _function_name(function: Any) -> str:
    name = getattr(function, "__name__", None) or repr(function)
    for prefix, module in _PUBLIC_MODULES.items():
        if getattr(module, name, None) is function:
            return f"{prefix}.{name}"
    if name == "<lambda>" and isinstance(function, types.FunctionType):
        code = function.__code__
        return f"<lambda {code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}>"
    return getattr(function, "__qualname__", name)


def _align_comments(text: str) -> str:
    lines = [line.partition(_COMMENT)[::2] for line in text.split("\n")]
    column = max(len(code) for code, comment in lines if comment) + 2
    return "\n".join(f"{code.ljust(column)}{comment}" if comment else code for code, comment in lines)
