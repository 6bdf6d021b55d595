"""The stages of steps of an explicit Runge-Kutta method: the one loop over them, for one step or for many side by side.

    k_i = h f(t_0 + c_i h, Y_i),    Y_i = y_0 + sum_{j < i} a_ij k_j,    y_1 = y_0 + sum_i b_i k_i

with `h = t_1 - t_0`, which may be negative. The field is traced once, for a loop over the stages; also its derivative is, if this is
differentiated. All sums are in the full precision of the state on every device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._tableau import Tableau


def weighted(weights: jax.typing.ArrayLike, k: Float[Array, "stages *state"]) -> Float[Array, "..."]:
    """The sum over `i` of `weights[..., i] k[i]`."""
    return jnp.tensordot(jnp.asarray(weights, k.dtype), k, axes=1, precision=lax.Precision.HIGHEST)


def stages(
    field: Callable[[Any, Any], Any],
    tableau: Tableau,
    t0: Float[Array, "*steps"],
    t1: Float[Array, "*steps"],
    y0: Float[Array, "*steps state"],
    first: Float[Array, "*steps state"] | None = None,
) -> tuple[Float[Array, "stages *steps state"], Float[Array, "*steps state"] | None]:
    """`k`, and, if the slope `first` at `(t0, y0)` is known and need not be computed, the slope of the last stage, `k / h`."""
    h = t1 - t0
    steps = h[..., None].astype(y0.dtype)

    def stage(carry: tuple[Array, Array | None], row: tuple[Any, ...]) -> tuple[Any, None]:
        k, last = carry
        i, a_i, c_i = row
        slope = field(_time_of(c_i, t0, t1), y0 + weighted(a_i, k)).astype(k.dtype)
        return (k.at[i].set(steps * slope), None if last is None else slope), None

    number = tableau.b.size
    rows = (np.arange(number, dtype=np.int32), tableau.a.astype(y0.dtype), tableau.c.astype(h.dtype))
    k, last = jnp.zeros((number, *y0.shape), y0.dtype), None
    if first is not None:
        k, last = k.at[0].set(steps * first), first
        rows = tuple(row[1:] for row in rows)
    return lax.scan(stage, (k, last), rows)[0]


def stage_points(
    tableau: Tableau,
    t0: Float[Array, " steps"],
    t1: Float[Array, " steps"],
    y0: Float[Array, "steps state"],
    k: Float[Array, "stages steps state"],
) -> tuple[Any, Any]:
    """The times and states at which the stages `k` evaluate the field, one after the other."""
    times = jnp.stack([_time_of(c_i, t0, t1) for c_i in tableau.c.astype(t0.dtype)])
    return times, y0[None] + weighted(tableau.a, k)


def _time_of(c_i: jax.typing.ArrayLike, t0: Float[Array, "..."], t1: Float[Array, "..."]) -> Any:
    # The end itself, and not what rounding makes of it: the field may not be known beyond.
    return jnp.where(c_i == 1, t1, t0 + c_i * (t1 - t0))
