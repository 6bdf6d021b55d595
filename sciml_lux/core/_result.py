"""Outcomes of solves: items of `optimistix.RESULTS` and of its subclasses, which adapters put into the state and fits look for there.

The one place that knows how equinox stores an item: its number, which may be traced and may have axes, and the enumeration it is of.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree


def type_of(result: Any) -> Any:
    """The enumeration that `result` is an item of: `diffrax.RESULTS`, `optimistix.RESULTS`, ..."""
    return result._enumeration


def is_item_of(value: object, enumeration: type[eqx.Enumeration]) -> bool:
    """Whether `value` is an item of this enumeration or of a subclass."""
    return hasattr(value, "_enumeration") and issubclass(type_of(value), enumeration)


def number_of(result: Any) -> Any:
    """The number of an item in its enumeration, or those of many: NumPy's where it is known, and no work of a device's."""
    return result._value


def item_of(enumeration: Any, number: jax.typing.ArrayLike) -> Any:
    """The item with this number, which may be traced."""
    return jax.tree.map(lambda _: jnp.asarray(number, jnp.int32), enumeration.successful)


def name_of(enumeration: type[eqx.Enumeration], number: int) -> str:
    """The name of the item with this number."""
    [name] = [name for name, item in enumeration._name_to_item.items() if int(item._value) == number]
    return name


def message_of(enumeration: type[eqx.Enumeration], number: int) -> str:
    """What the enumeration says of its item with this number."""
    return enumeration._index_to_message[number]


def is_known(result: PyTree, item: PyTree) -> bool:
    """Whether an outcome that is known is this one of the same enumeration: by numbers, and no work of a device's."""
    return int(number_of(result)) == int(number_of(item))


def is_okay(result: Any) -> Bool[Array, "*samples"]:
    """Whether a solve succeeded, or was ended by an event."""
    kind = type_of(result)
    okay = result == kind.successful
    return okay | (result == kind.event_occurred) if hasattr(kind, "event_occurred") else okay
