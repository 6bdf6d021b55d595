"""Telling flax, an extra that is slow to import, about the types of this package once it is there."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

# The type, and how an instance goes into a dictionary, and back from one into an instance like it.
FOR_FLAX: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {}


def register_with_flax() -> None:
    """Tells flax how parameters and state go into its state dictionaries: `flax.serialization.to_bytes(ps)` and its like.

    `lux.setup`, `lux.flatten.flatten` and `lux.load` do this by themselves if flax was imported before. Parameters go in by name, as
    they are stored; random keys as their data. `from_bytes(ps, data)` gives parameters of the layout of `ps`, bit for bit.
    """
    serialization = importlib.import_module("flax.serialization")
    while FOR_FLAX:
        cls, (to_dict, from_dict) = FOR_FLAX.popitem()
        serialization.register_serialization_state(cls, to_dict, from_dict, override=True)


def register_where_flax_is_imported() -> None:
    """`register_with_flax`, if there is something to register and flax was imported."""
    if FOR_FLAX and "flax.serialization" in sys.modules:
        register_with_flax()
