"""Every argument of every layer given something of another kind: a LuxError at construction that names the layer and the argument."""

import inspect
import re
import types
import typing
from collections.abc import Callable

import pytest
from helpers import message_of
from members import LAYERS

import sciml_lux as lux

# What an argument of a kind cannot be.
WRONG = {
    int: ["3", 2.5, -7, True, None, (1, "2")],
    float: ["0.1", None, float("nan"), True, (0.5,)],
    bool: ["yes", 2, None],
    Callable: [3, "tanh"],
    lux.AbstractLayer: [3, "layer", lux.Dense, None],
}
# Where a whole number may be negative: it counts axes from the end.
ANY_SIGN = {"axis", "axes", "dim", "index", "dims", "dimension"}
NAMES = {type(member.make()).__name__ for member in LAYERS}


def kinds(annotation):
    """The types that an annotation is made of, and those within its tuples."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return {kind for part in typing.get_args(annotation) for kind in kinds(part)}
    if typing.get_origin(annotation) is tuple:
        return {tuple} | {kind for part in typing.get_args(annotation) if part is not Ellipsis for kind in kinds(part)}
    origin = typing.get_origin(annotation)
    return {origin if origin is not None else annotation}


def wrong_values(name, annotation):
    """Values of other kinds than the annotation allows."""
    allowed = kinds(annotation)
    for kind, values in WRONG.items():
        if kind not in allowed or typing.Any in allowed or object in allowed:
            continue
        for value in values:
            harmless = (
                (value is None and type(None) in allowed)
                or (isinstance(value, bool) and bool in allowed)
                or (isinstance(value, int) and not isinstance(value, bool) and float in allowed and kind is bool)
                or (isinstance(value, float) and float in allowed and kind is int)
                or (isinstance(value, str) and str in allowed)
                or (isinstance(value, tuple) and float in allowed and tuple in allowed)
                or (callable(value) and Callable in allowed)
                or (isinstance(value, int) and not isinstance(value, bool) and int in allowed and kind is not int)
                or (value == -7 and name in ANY_SIGN)
            )
            if not harmless:
                yield value


def cases():
    """A layer, the name of one of its arguments, and what that cannot be."""
    seen = set()
    for member in LAYERS:
        cls = type(member.make())
        if cls in seen or not cls.__module__.startswith("sciml_lux."):
            continue
        seen.add(cls)
        hints = typing.get_type_hints(cls.__init__)
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            values = list(wrong_values(parameter.name, hints.get(parameter.name, object)))
            if values:
                yield pytest.param(member, parameter.name, values, id=f"{cls.__name__}-{parameter.name}")


def with_argument(layer, name, value):
    """The same layer with another value of an argument."""
    positional, named = layer.constructor_arguments()
    bound = inspect.signature(type(layer)).bind(*positional, **named)
    bound.arguments[name] = value
    return type(layer)(*bound.args, **bound.kwargs)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("member", "name", "values"), list(cases()))
def test_an_argument_of_another_kind_is_refused_at_construction(member, name, values):
    layer = member.make()
    cls = type(layer)
    wrong = {}
    for value in values:
        try:
            with_argument(layer, name, value)
        except lux.LuxError as error:
            text = message_of(error)
            # A layer may leave it to one that it is made of.
            if (cls.__name__ not in text and re.split(r"\W", text)[0] not in NAMES) or name not in text:
                wrong[repr(value)] = text
        except Exception as error:
            wrong[repr(value)] = repr(error)
        else:
            wrong[repr(value)] = "accepted"
    assert not wrong
