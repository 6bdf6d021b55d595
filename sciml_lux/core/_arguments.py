"""How functions are called: what to say of arguments that do not fit, and how many a user's own takes."""

import inspect
from collections.abc import Callable
from typing import Any

from .._errors import LayerError, unknown_name

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_arguments(name: str, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Raises `LayerError`, which shows how `name` is written, unless `function` can be called on these arguments."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **named)
        return
    except TypeError as error:
        reason = str(error)
    known = [known for known in signature.parameters.values() if known.name not in ("self", "_")]
    names = [parameter.name for parameter in known]
    places = [parameter.name for parameter in known if parameter.kind in _BY_POSITION]
    required = [p.name for p in known if p.default is p.empty and p.kind in _BY_POSITION]
    given = len(args) - ("self" in signature.parameters)
    unknown = [key for key in named if key not in names]
    if unknown:
        raise LayerError(f"{name}: {unknown_name('argument', unknown[0], names)}")
    if given > len(places):
        rest = [parameter.name for parameter in known if parameter.kind is parameter.KEYWORD_ONLY]
        written = ", ".join([*places, *(f"{key}=..." for key in rest[:2]), *(["..."] if len(rest) > 2 else [])])
        by_position = "argument" if len(places) == 1 else "arguments"
        hint = "the others by name" if rest else "no more"
        raise LayerError(
            f"{name} takes {len(places)} {by_position} by position ({', '.join(places)}), got {given}; write {name}({written}), {hint}"
        )
    missing = [key for key in required[given:] if key not in named]
    if missing:
        raise LayerError(
            f"{name}: got no {' and no '.join(missing)}; write {name}({', '.join(required)}), with every argument that has no default"
        )
    raise LayerError(f"{name}: {reason}; write each argument once, by position or by name")


def takes_arguments(function: Any, number: int) -> bool:
    """Whether `function` can be called on `number` arguments by position, as far as it can be seen."""
    try:
        # Not of what it wraps: a wrapper may well take other arguments than what it calls.
        inspect.signature(function, follow_wrapped=False).bind(*range(number))
    except TypeError:
        return False
    except ValueError:  # of some functions written in C it cannot be seen
        return True
    return True
