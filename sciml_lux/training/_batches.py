"""Where a step's batch comes from: the same data at every step, or the next of an iterator."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..flatten import LayerError, ShapeError

STREAMED = 32  # batches sent to the device at once


class Batches:
    """Data for a fit. `data` is any tree of arrays, given whole to every step, or an iterator of such trees, one a step."""

    def __init__(self, data: Any) -> None:
        self.streamed = isinstance(data, Iterator)
        self._iterator = data if self.streamed else None
        self._pending: list[Any] = [] if self.streamed else [jax.tree.map(_as_array, data)]
        if self.streamed:
            self._refill(1)
            if not self._pending:
                raise ValueError("data is an iterator that is already exhausted; pass a fresh one")
        self.first = self._pending[0]  # for its shapes
        self.latest = self._pending[:1]  # what was taken last, to look for the cause of a failure

    def _refill(self, number: int) -> None:
        assert self._iterator is not None
        self._pending += islice(self._iterator, number - len(self._pending))

    def take(self, number: int) -> tuple[Any, int]:
        """The data for up to `number` steps, and for how many it is: 0 when an iterator has ended.

        Streamed batches come stacked on a leading axis of length `STREAMED`, the last repeated, so that one compilation serves.
        """
        if not self.streamed:
            return self._pending[0], number
        self._refill(min(number, STREAMED))
        taken, self._pending = self._pending[:number], self._pending[number:]
        if not taken:
            return None, 0
        self.latest = taken
        padded = taken + [taken[-1]] * (STREAMED - len(taken))
        expected = _describe(self.first)
        for batch in taken:
            if (got := _describe(batch)) != expected:
                raise ShapeError(
                    f"batches of one shape make one compiled program; the iterator gave {got} after {expected}; drop or pad the last batch"
                )
        return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *padded), len(taken)


def _as_array(leaf: Any) -> Any:
    try:
        return jnp.asarray(leaf)
    except TypeError:
        raise LayerError(
            f"data is a tree of arrays, or an iterator of such trees, and holds a {type(leaf).__name__}; "
            "write iter(loader) for something to loop over"
        ) from None


def _describe(batch: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{np.asarray(leaf).dtype}{list(np.shape(leaf))}", batch))
