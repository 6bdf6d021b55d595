"""What stands for a function in the keys of compiled programs: the same object as long as the function would trace to the same program."""

import collections
import functools
from typing import Any

from ..flatten import Layout
from ._fingerprint import Fingerprint

_MOST_KEPT = 64
_cache: "collections.OrderedDict[Any, CachedFunction]" = collections.OrderedDict()


class CachedFunction:
    """A static argument of compiled functions, in place of the functions that a user passed.

    Programs that are keyed by it are found again by `cached_function` while the fingerprint of what they stand for is the same: code, and
    all data that it reaches. They read it through `use`, at the time of tracing.
    """

    def __init__(self, value: Any, key: Any) -> None:
        self._value, self._key, self._traced = value, key, False

    def use(self) -> Any:
        """What was passed to `cached_function` last. To be called while tracing."""
        self._traced = True
        return self._value

    def __enter__(self) -> "CachedFunction":
        return self

    def __exit__(self, *_: object) -> None:
        """After use: what functions change themselves while they are traced, such as a counter, is no change."""
        if self._traced and self._key is not None and _cache.get(self._key) is self:
            del _cache[self._key]
            self._key = Fingerprint(self._value).key
            if self._key is not None:
                _cache[self._key] = self
        self._traced = False


@functools.lru_cache(maxsize=256)
def ravel_maps(layout: Layout) -> tuple[Any, ...]:
    """The maps of a layout, each once: parameters are read through them, so that they belong to what is kept."""
    return tuple({id(entry.ravel_map): entry.ravel_map for entry in layout.entries}.values())


def cached_function(value: Any) -> CachedFunction:
    """The `CachedFunction` of `value`, a function or a tuple of them: that of an earlier call if nothing in its reach has changed since."""
    fingerprint = Fingerprint(value)
    found = _cache.get(fingerprint.key) if fingerprint.key is not None else None
    if found is not None:
        _cache.move_to_end(fingerprint.key)
        found._value = value  # another function may be equal: what is traced later is what was passed now
        return found
    for compiled in fingerprint.compiled:
        compiled.clear_cache()  # what `jax.jit` read of the globals when it traced before
    made = CachedFunction(value, fingerprint.key)
    if fingerprint.key is not None:
        _cache[fingerprint.key] = made
        if len(_cache) > _MOST_KEPT:
            _cache.popitem(last=False)
    return made
