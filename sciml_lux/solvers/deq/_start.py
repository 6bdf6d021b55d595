"""Where the search for an equilibrium starts."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..._errors import ShapeError
from ...core import AbstractLayer, State, kind_of
from ...flatten import Params
from ._cell import Cell, apply
from ._rows import Rows


def start_of(deq: Any, x: Any, params: Params, state: State) -> tuple[Any, dict[str, Any]]:
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


def zeros_like_input(name: str, x: PyTree) -> Any:
    """Zeros of the shape of `x`. **Errors:** `ShapeError` where `x` is no floating-point array."""
    if not isinstance(x, jax.Array) or not jnp.issubdtype(x.dtype, jnp.inexact):
        got = f"{x.dtype}{list(x.shape)}" if isinstance(x, jax.Array) else kind_of(x)
        raise ShapeError(
            f"{name}: z starts from zeros of the shape of x, a floating-point array, got {got}; "
            "write init=lambda x: jnp.zeros(...), or init=layer"
        )
    return jnp.zeros_like(x)


def finite_start(rows: Rows, z: Float[Array, "samples size"]) -> Any:
    """`z` with zeros for samples that are not finite: a sample that cannot be solved fails by its residual."""
    okay = jnp.all(jnp.isfinite(z), axis=1, keepdims=True)
    return jnp.where(okay, z, jnp.zeros((), rows.dtype))


def isolated(
    cell: Cell, okay: Bool[Array, " samples"], z: Float[Array, "samples size"], inputs: PyTree
) -> tuple[Any, Any]:
    """`z` and `inputs` with the first good sample in place of all bad ones; with zeros, if none is good.

    What a failed sample holds, such as NaN, reaches the gradients that all share even where its own gradient is 0.
    """
    x, params, state = inputs
    leaves, structure = jax.tree.flatten(x)
    changed = [_without_bad(okay, leaf) if _may_count_samples(leaf, cell.rows) else leaf for leaf in leaves]
    pairs = list(zip(leaves, changed, strict=True))
    suspects = [i for i, (old, new) in enumerate(pairs) if old is not new]
    fixed = jax.tree.map(lax.stop_gradient, (okay, z, pairs, params, state))
    if suspects:
        counts = lax.cond(
            jnp.all(okay), lambda: jnp.ones(len(suspects), bool), lambda: _counting(cell, suspects, structure, *fixed)
        )
        for i, counts_samples in zip(suspects, counts, strict=True):
            leaves[i] = jnp.where(counts_samples, changed[i], leaves[i])
    return _without_bad(okay, z), (jax.tree.unflatten(structure, leaves), params, state)


def _may_count_samples(leaf: Any, rows: Rows) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact) and leaf.ndim > 0 and leaf.shape[0] == rows.samples


def _without_bad(okay: Bool[Array, " samples"], leaf: Array) -> Any:
    good = jnp.where(jnp.any(okay), leaf[jnp.argmax(okay)], jnp.zeros((), leaf.dtype))
    return jnp.where(okay.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, good)


def _counting(
    cell: Cell,
    suspects: list[int],
    structure: Any,
    okay: Bool[Array, " samples"],
    z: Float[Array, "samples size"],
    pairs: list[tuple[Array, Array]],
    params: Params,
    state: State,
) -> Any:
    """Which of the suspected arrays have a row for each sample: those whose bad rows can be replaced with no effect on good samples.

    The others, such as a matrix that happens to have as many rows, are shared.
    """

    def images(number: Int[Array, ""]) -> Any:
        leaves = [jnp.where(number == i, new, old) if i in suspects else old for i, (old, new) in enumerate(pairs)]
        return cell(z, (jax.tree.unflatten(structure, leaves), params, state))

    # One program for all, so that equal numbers are rounded equally.
    before, *after = lax.map(images, jnp.asarray([-1, *suspects]))
    return jnp.stack([jnp.all((new == before) | ~okay[:, None]) for new in after])
