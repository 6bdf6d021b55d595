"""Where a step's batch comes from: the same data at every step, or the next of something to loop over."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import LayerError, ShapeError
from ..flatten import as_dtype

STREAMED = 32  # batches sent to the device at once


class Batches:
    """Data for a fit: any tree of arrays, given whole to every step, or batches that are such trees, one a step.

    Batches come from an iterator, or from a loader that can be looped over again and again, such as PyTorch's `DataLoader`. What
    belongs to others is copied when it is received: loaders use their buffers again.
    """

    def __init__(self, data: Any) -> None:
        self._loader = data if _is_loader(data) else None
        self.streamed = isinstance(data, Iterator) or self._loader is not None
        self._iterator = iter(data) if self.streamed else None
        self._pending: list[Any] = [] if self.streamed else [jax.tree.map(jnp.asarray, _received(data))]
        self._failure: Exception | None = None
        if self.streamed:
            self._refill(1, again=False)
            if not self._pending and self._failure is not None:
                raise self._failure
            if not self._pending:
                if self._loader is not None:
                    raise LayerError(f"data is a {type(data).__name__} that holds no batch")
                raise ValueError("data is an iterator that is already exhausted; pass a fresh one")
        self.first = self._pending[0]  # for its shapes
        self.latest = self._pending[:1]  # what was taken last, to look for the cause of a failure

    def _refill(self, number: int, again: bool) -> None:
        empty_pass = False
        while len(self._pending) < number and self._failure is None:
            assert self._iterator is not None
            try:
                self._pending.append(_received(next(self._iterator)))
                empty_pass = False
            except StopIteration:
                if self._loader is None or not again or empty_pass:
                    return
                self._iterator, empty_pass = iter(self._loader), True
            except Exception as error:  # raised once what came before it has been used
                self._failure = error

    def take(self, number: int, again: bool = False) -> tuple[Any, int]:
        """The data for up to `number` steps, and for how many it is: 0 when the batches have ended.

        Streamed batches come stacked on a leading axis of length `STREAMED`, the last repeated, so that one compilation serves.
        `again`: whether a loader starts anew where it ends. What an iterator raised is raised when its turn comes.
        """
        if not self.streamed:
            return self._pending[0], number
        self._refill(min(number, STREAMED), again)
        if not self._pending:
            if self._failure is not None:
                raise self._failure
            return None, 0
        taken = self._pending[:number]
        kinds = [_kind(batch) for batch in taken]
        alike = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), len(taken))
        self._check(taken[alike % len(taken)] if self._loader is None else taken[0])
        taken, self._pending = taken[:alike], self._pending[alike:]
        self.latest = taken
        padded = taken + [taken[-1]] * (STREAMED - len(taken))
        return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *padded), len(taken)

    def _check(self, batch: Any) -> None:
        """Raises `ShapeError` for a batch of another shape, but for the number of rows of a loader's last."""
        kind, expected = _kind(batch), _kind(self.first)
        if kind != expected and (self._loader is None or _kind(batch, rows=False) != _kind(self.first, rows=False)):
            raise ShapeError(
                f"batches of one shape make one compiled program; the iterator gave {_describe(batch)} after {_describe(self.first)}; "
                "drop or pad the last batch"
            )

    def same_again(self, data: Any, taken: int) -> Any:
        """The last batch of `data`, what `take` returned for `taken` steps, in place of all."""
        if not self.streamed:
            return data
        return jax.tree.map(lambda leaf: np.repeat(leaf[taken - 1 : taken], len(leaf), axis=0), data)


def _is_loader(data: Any) -> bool:
    """Whether `data` is to be looped over: neither a tree (of lists, mappings, ...) nor an array."""
    if isinstance(data, Iterator | str | bytes) or not isinstance(data, Iterable) or _is_array(data):
        return False
    return jax.tree_util.default_registry.flatten_one_level(data) is None


def _received(batch: Any) -> Any:
    """A copy of what others may write into, as arrays of the precision that JAX has."""
    return jax.tree_util.tree_map_with_path(_as_array, batch, is_leaf=_is_array)


def _is_array(node: Any) -> bool:
    return hasattr(node, "__array__")


def _as_array(path: Any, leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return leaf
    name = f"data{jax.tree_util.keystr(path)}"
    # A tensor of PyTorch, perhaps on a device, perhaps one that asks for gradients; its own conversion knows no copies.
    if hasattr(leaf, "detach") and hasattr(leaf, "cpu"):
        leaf = leaf.detach().cpu()
        leaf = np.asarray(leaf.float() if str(leaf.dtype) == "torch.bfloat16" else leaf)
    try:
        array = np.array(leaf)
    except ValueError:
        raise LayerError(f"{name} is no array: rows of different lengths") from None
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise LayerError(
            f"data is a tree of arrays, or something to loop over that gives such trees; {name} is a {type(leaf).__name__}; "
            "write np.asarray(...) for numbers, and leave texts and objects out"
        )
    return as_dtype(array, np.dtype(jax.dtypes.canonicalize_dtype(array.dtype)), name, LayerError)


def _kind(batch: Any, rows: bool = True) -> Any:
    leaves, structure = jax.tree.flatten(batch)
    return structure, [(np.shape(leaf)[not rows :], leaf.dtype) for leaf in leaves]


def _describe(batch: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(np.shape(leaf))}", batch))
