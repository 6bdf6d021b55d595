"""A search in a file, from which it goes on to the same bits."""

import hashlib
from pathlib import Path

import jax
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import PyTree

from ..._errors import FileFormatError
from ...flatten.files import write_atomically
from ...solvers.least_squares import Descent

_VERSION = "sciml_lux search 2"

# A search is written after so many steps.
_EVERY = 10


class Checkpoint:
    """`path`, and what the search in it is of: a file of another start, of other bounds or data, is refused."""

    def __init__(self, path: str | Path, of: PyTree) -> None:
        self._path, self._opened = Path(path), False
        digest = hashlib.sha256(_VERSION.encode())
        for leaf in jax.tree.leaves(of):
            array = np.asarray(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        self._of = np.frombuffer(digest.digest(), np.uint8)

    def follow(self, descent: Descent) -> None:
        """After a step: goes on from the file, if there was one when the search began; else writes every ten steps, and at the end."""
        if not self._opened:
            self._opened = True
            kept = self.load((descent.progress, descent.aux))
            if kept is not None:
                (progress, aux), num_steps = kept
                descent.resume(progress, aux, num_steps)
                return
        if descent.num_steps % _EVERY == 0 or descent.done:
            self.save((descent.progress, descent.aux), descent.num_steps)

    def load(self, like: PyTree) -> tuple[PyTree, int] | None:
        """What was saved, a tree like this one, and the number of steps taken; `None` where there is no file.

        **Errors:** `FileFormatError` for a file that is damaged, or of another search.
        """
        if not self._path.exists():
            return None
        leaves, structure = jax.tree.flatten(like)
        try:
            file = safetensors.numpy.load(self._path.read_bytes())
            num_steps, same = int(file["num_steps"]), np.array_equal(file["of"], self._of)
            saved = [file[f"leaf_{i}"] for i in range(len(leaves))] if same else []
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise FileFormatError(f"{self._path} is no checkpoint of a fit, or is damaged: {error}") from error
        shapes = [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves]
        if not same or [(array.shape, array.dtype) for array in saved] != shapes:
            raise FileFormatError(
                f"{self._path} is the checkpoint of another fit: of another start, other bounds, data or sizes; give this one another path"
            )
        return jax.tree.unflatten(structure, saved), num_steps

    def save(self, tree: PyTree, num_steps: int) -> None:
        """Whole or not at all."""
        arrays = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
        file = {"of": self._of, "num_steps": np.asarray(num_steps), **arrays}
        write_atomically(self._path, safetensors.numpy.save(file))
