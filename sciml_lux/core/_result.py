"""Outcomes of solves: items of `optimistix.RESULTS` and of its subclasses, which adapters put into the state and fits look for there."""

from typing import Any

from jaxtyping import Array, Bool


def type_of(result: Any) -> Any:
    """The enumeration that `result` is an item of: `diffrax.RESULTS`, `optimistix.RESULTS`, ..."""
    return result._enumeration


def is_okay(result: Any) -> Bool[Array, "*samples"]:
    """Whether a solve succeeded, or was ended by an event."""
    kind = type_of(result)
    okay = result == kind.successful
    return okay | (result == kind.event_occurred) if hasattr(kind, "event_occurred") else okay
