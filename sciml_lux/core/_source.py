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
    return wl.pformat(_value_doc(layer), width=10**9)


def short(layer: Any) -> str:
    """The layer as one line of at most 100 characters."""
    text = describe(layer)
    return text if len(text) <= 100 else f"{type(layer).__name__}(...)"


def head(layer: Any, hidden: Callable[[Any], bool]) -> str:
    """The layer as one line of Python without the arguments that are `hidden`; its name alone if none is left."""
    docs = [_argument_doc(name, value) for name, value in _arguments(layer) if not hidden(value)]
    return wl.pformat(_call_doc(layer, docs), width=10**9) if docs else type(layer).__name__


def source(layer: Any, count: Callable[[Any], int]) -> str:
    """Python that builds an equal layer, as a tree in which comments give each layer's number of parameters.

    Evaluates with `from sciml_lux import *`, `import jax, jax.numpy as jnp` and the names of custom layers and functions
    in scope. Functions without a name (lambdas) are shown as `<lambda file:line>`, which does not.
    """
    doc = _tree_doc(layer, count) + wl.TextDoc(f"{_COMMENT}# {_parameters(count(layer))}")
    return _align_comments(wl.pformat(doc, width=100))


def _parameters(number: int) -> str:
    return f"{number:,} parameter{'' if number == 1 else 's'}"


def is_layer(value: Any) -> bool:
    """Whether `value` is a layer, which this module knows by its arguments alone."""
    return hasattr(value, "constructor_arguments") and not isinstance(value, type)


def _arguments(layer: Any) -> list[tuple[str, Any]]:
    positional, named = layer.constructor_arguments()
    return [("", value) for value in positional] + list(named.items())


def _argument_doc(name: str, value: Any) -> wl.AbstractDoc:
    return wl.TextDoc(f"{name}=" if name else "") + _value_doc(value)


def _call_doc(layer: Any, docs: list[wl.AbstractDoc]) -> wl.AbstractDoc:
    return wl.bracketed(wl.TextDoc(f"{type(layer).__name__}("), docs, wl.comma, wl.TextDoc(")"), indent=4)


def _tree_doc(layer: Any, count: Callable[[Any], int]) -> wl.AbstractDoc:
    """`Name(argument, name=argument)`; one line an argument, with comments, if arguments are layers."""
    arguments = _arguments(layer)
    if not any(is_layer(value) for _, value in arguments):
        return _value_doc(layer)
    children = list(getattr(layer, "children", dict)().items())
    body = wl.TextDoc("")
    for name, value in arguments:
        prefix = wl.TextDoc(f"{name}=" if name else "")
        body += wl.BreakDoc("") + prefix + (_tree_doc(value, count) if is_layer(value) else _value_doc(value))
        body += wl.TextDoc(",")
        if is_layer(value):
            # The same layer may be there several times: in the order of the children.
            child = next((pair for pair in children if pair[1] is value), None)
            where = "" if name or child is None else f"{child[0]}: "
            children = [pair for pair in children if pair is not child]
            body += wl.TextDoc(f"{_COMMENT}# {where}{_parameters(count(value))}")
    call = wl.TextDoc(f"{type(layer).__name__}(") + body.nest(4) + wl.BreakDoc("") + wl.TextDoc(")")
    return call.group(force_vertical=True)


def _value_doc(value: Any) -> wl.AbstractDoc:
    if isinstance(value, type):  # what makes layers, such as lux.LayerNorm
        return wl.TextDoc(value.__qualname__)
    if is_layer(value):
        return _call_doc(value, [_argument_doc(*argument) for argument in _arguments(value)])
    if hasattr(value, "__pdoc__"):
        return value.__pdoc__()
    if isinstance(value, tuple):
        docs = [_value_doc(item) for item in value]
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
    root, *modules = str(getattr(function, "__module__", "")).split(".")
    public = [part for part in modules if not part.startswith("_")] if root == __name__.split(".")[0] else []
    return ".".join([*public, getattr(function, "__qualname__", name)])  # layers.activations.gelu_exact


def _align_comments(text: str) -> str:
    lines = [line.partition(_COMMENT)[::2] for line in text.split("\n")]
    column = max(len(code) for code, comment in lines if comment) + 2
    return "\n".join(f"{code.ljust(column)}{comment}" if comment else code for code, comment in lines)
