"""Vectors for whole numbers."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..._errors import ShapeError
from ...core import AbstractLayer, State, as_input, is_numbers
from ...flatten import Parameters
from .. import init
from .._checks import check_positive, check_sizes


class Embedding(AbstractLayer):
    """A vector for each of the numbers `0 ... num_embeddings - 1`, such as words or classes: `y = weight[x]`.

    A number outside that range, a negative one included, gives NaN: a compiled program cannot raise an error, and the vector of
    another number would go unnoticed.

    **Arguments:** `num_embeddings`, 1 or more; `features`: size of the vectors; `init_weight`: normal with standard deviation 1 by default.

    **Call:** `x` of integers, of any shape `(...)`, gives `(..., features)`.

    **Parameters:** `weight` `(num_embeddings, features)`. **States:** none.

    **Errors:** `LayerError` for sizes that are not whole numbers; `ShapeError` for an input that is not of integers.
    """

    num_embeddings: int
    features: int
    init_weight: Callable[..., Any] = init.normal(std=1.0)

    def __post_init__(self) -> None:
        check_positive(self, num_embeddings=self.num_embeddings)
        check_sizes(self, features=self.features)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"weight": self.init_weight(key, (self.num_embeddings, self.features))}

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Float[Array, "... features"], State]:
        x = jnp.asarray(x if is_numbers(x) else as_input(self, x))
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ShapeError(f"Embedding takes integers, 0 to {self.num_embeddings - 1}, got {x.dtype}{list(x.shape)}")
        # Compared here, in enough bits: indexing takes 64-bit numbers modulo 2**32 and counts negative ones from the end.
        x = x.astype(jnp.int32) if x.dtype.itemsize <= 4 else x.astype(jnp.int64)
        known = (x >= 0) & (x < self.num_embeddings)
        rows = ps.weight[jnp.where(known, x, 0).astype(jnp.int32)]
        return jnp.where(known[..., None], rows, jnp.nan), st
