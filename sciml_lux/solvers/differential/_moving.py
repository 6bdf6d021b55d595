"""How what is known at a time of a solution moves with that time."""

from collections.abc import Callable
from typing import Any

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import StateTree


def with_rate(
    condition: Callable[..., Any], field: Callable[..., Any], t: Float[Array, ""], y: StateTree, args: PyTree
) -> tuple[Any, Any]:
    """`g(t, y)` and `dg/dt = g_t + g_y f` along the solution."""
    along = (jnp.ones_like(t), field(t, y, args))
    return jax.jvp(lambda t, y: condition(t, y, args), (t, y), along)


def leading(array: Array, like: Array) -> Any:
    """`array` with as many axes as `like`, whose leading ones it has."""
    return array.reshape(array.shape + (1,) * (like.ndim - array.ndim))


@jax.custom_jvp
def shifted(y: StateTree, slope: StateTree, t: Float[Array, "..."]) -> Any:
    """`y`, whose derivative with respect to `t` is `slope`."""
    return y


@shifted.defjvp
def _(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    y, slope, _ = primals
    dy, _, dt = tangents
    slope = eqxi.nondifferentiable(slope, msg="events and jumps can be differentiated once, not twice")
    return y, jax.tree.map(lambda dy, slope: dy + slope * leading(dt, slope).astype(slope.dtype), dy, slope)
