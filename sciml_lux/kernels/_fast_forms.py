"""Fast forms: methods that compute what another method computes, in another way, and are called in its place.

A fast form stands for exact functions, not for whatever is called like them. A subclass that overrides one of these computes something
else, which its base's fast form knows nothing of.
"""

from collections.abc import Callable
from typing import Any

# For each fast form the sets of functions that it stands for: one for each class that has written these anew and keeps the form.
FAST_FORMS: dict[Callable[..., Any], list[tuple[Callable[..., Any], ...]]] = {}


def stands_for(fast: Callable[..., Any], *exact: Callable[..., Any]) -> None:
    """Declares that the method `fast` gives what the methods `exact` give; `class.method`, as they are found on the class."""
    FAST_FORMS.setdefault(fast, []).append(exact)


def may_stand_in(fast: Callable[..., Any], instance: Any) -> bool:
    """Whether `instance` itself runs the very functions that `fast` stands for."""
    return any(
        all(getattr(type(instance), function.__name__, None) is function for function in exact)
        for exact in FAST_FORMS.get(fast, ())
    )
