"""Where the search for an equilibrium starts."""

from typing import Any

import jax
import jax.numpy as jnp

from ...core import AbstractLayer, State
from ...flatten import ShapeError
from ._cell import apply
from ._rows import Rows


def start_of(deq: Any, x: Any, params: Any, state: State) -> tuple[Any, dict[str, Any]]:
    """The first `z`, differentiable, as `deq.init` says, and the advanced state of a layer that predicts it."""
    init = deq.init
    if isinstance(init, AbstractLayer):
        z, advanced = init(x, params["init"], state["init"])
        return z, {"init": advanced}
    if callable(init):
        return init(x), {}
    zeros = deq.zeros(x)
    if init == "zeros":
        return zeros, {}
    return apply(deq.model, zeros, x, params["model"], state["model"])[0], {}


def zeros_like_input(name: str, x: Any) -> Any:
    """Zeros of the shape of `x`. **Errors:** `ShapeError` where `x` is no floating-point array."""
    if not isinstance(x, jax.Array) or not jnp.issubdtype(x.dtype, jnp.inexact):
        got = f"{x.dtype}{list(x.shape)}" if isinstance(x, jax.Array) else str(jax.tree.structure(x))
        raise ShapeError(
            f"{name}: z starts from zeros of the shape of x, a floating-point array, got {got}; "
            "write init=lambda x: jnp.zeros(...), or init=layer"
        )
    return jnp.zeros_like(x)


def finite_start(rows: Rows, z: Any) -> Any:
    """`z` with zeros for samples that are not finite: a sample that cannot be solved fails by its residual."""
    okay = jnp.all(jnp.isfinite(z), axis=1, keepdims=True)
    return jnp.where(okay, z, jnp.zeros((), rows.dtype))


def isolated(okay: Any, samples: int, tree: Any) -> Any:
    """`tree` with the first good sample in place of all bad ones, whatever array has a leading axis of samples.

    What a failed sample holds, such as NaN, reaches the gradients that all share even where its own gradient is 0.
    """
    first = jnp.argmax(okay)

    def chosen(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact) or leaf.ndim == 0 or leaf.shape[0] != samples:
            return leaf
        return jnp.where(okay.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, leaf[first][None])

    return jax.tree.map(chosen, tree)
