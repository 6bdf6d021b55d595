"""The derivative in time of a solve that starts where it ends, which takes no step that could be differentiated.

`y(t) = y0 + (t - t0) f(t0, y0)` near `t = t0`: a solution at its own start moves with the slope there, up with the time it is asked for
and down with the time it starts at.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from .._types import StateTree, TermTree


def start_moved(terms: TermTree, y0: StateTree, args: PyTree, settings: dict[str, Any]) -> Any:
    """`y0`, which moves against where the solve starts if it also ends there."""
    t0 = settings["t0"]
    if not isinstance(t0, Tracer):
        return y0
    slope, is_empty = _slope(terms, y0, args, settings)
    return _moving(y0, jax.tree.map(jnp.negative, slope), jnp.where(is_empty, t0, 0))


def end_moved(
    terms: TermTree, ys: StateTree, ts: Float[Array, " times"], y0: StateTree, args: PyTree, settings: dict[str, Any]
) -> Any:
    """The values `ys` at `ts`, which move with these if the solve ends where it starts."""
    if not isinstance(ts, Tracer):
        return ys
    slope, is_empty = _slope(terms, y0, args, settings)
    return jax.vmap(_moving, (0, None, 0))(ys, slope, jnp.where(is_empty, ts, 0))


def _slope(terms: TermTree, y0: StateTree, args: PyTree, settings: dict[str, Any]) -> tuple[Any, Any]:
    is_empty = settings["t0"] == settings["t1"]
    slope = settings["solver"].func(terms, settings["t0"], y0, args)
    # Elsewhere it may be anything, which is not to reach a derivative as zero times that.
    return jax.tree.map(lambda leaf: jnp.where(is_empty, leaf, jnp.zeros((), leaf.dtype)), slope), is_empty


@jax.custom_jvp
def _moving(y: StateTree, slope: StateTree, t: Float[Array, ""]) -> Any:
    return y


@_moving.defjvp
def _(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    y, slope, _ = primals
    dy, _, dt = tangents
    return y, jax.tree.map(lambda dy, slope: dy + slope * dt.astype(slope.dtype), dy, slope)
