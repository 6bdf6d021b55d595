"""Which names a piece of compiled Python reads from outside of itself."""

import dis
import functools
import types
from typing import NamedTuple

_ROOTS = frozenset(
    {
        "LOAD_GLOBAL",
        "LOAD_NAME",
        "LOAD_DEREF",
        "LOAD_CLASSDEREF",
        "LOAD_FROM_DICT_OR_GLOBALS",
        "LOAD_FROM_DICT_OR_DEREF",
    }
)
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
# Instructions that stand between a name and its attribute without doing anything to it.
_NOTHING = frozenset({"PUSH_NULL", "CACHE", "EXTENDED_ARG", "NOP"})


class Names(NamedTuple):
    """`chains`: dotted names from a global or a free variable on, such as `("np", "pi")`; `imports`: modules, and what is taken
    from them; `attributes`: all names of attributes and globals."""

    chains: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[str, tuple[str, ...]], ...]
    attributes: frozenset[str]


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType) -> Names:
    """The names that `code` and the functions inside it read."""
    chains: list[list[str]] = []
    imports: list[tuple[str, list[str]]] = []
    attributes = set(code.co_names)
    extending = False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name in _ROOTS:
            chains.append([instruction.argval])
        elif name in _ATTRIBUTES and extending:
            chains[-1].append(instruction.argval)
        elif name == "IMPORT_NAME":
            imports.append((instruction.argval, []))
        elif name == "IMPORT_FROM":
            imports[-1][1].append(instruction.argval)
        extending = name in _ROOTS or (extending and (name in _ATTRIBUTES or name in _NOTHING))
    own = [tuple(chain) for chain in chains]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = names_in(constant)
            own += inner.chains
            imports += [(name, list(wanted)) for name, wanted in inner.imports]
            attributes |= inner.attributes
    return Names(
        tuple(dict.fromkeys(own)),
        tuple(dict.fromkeys((name, tuple(wanted)) for name, wanted in imports)),
        frozenset(attributes),
    )
