"""Running statistics: the state of `BatchNorm` and `InstanceNorm`."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ...core import State, Training
from ...flatten import Parameters
from ...kernels import widened
from ._statistics import across, finished


def initial_running(layer: Any) -> dict[str, Any]:
    """Mean and variance of standard normal numbers, and the training flag; nothing if the layer does not track them."""
    if not layer.track_running_stats:
        return {}
    return {"running_mean": jnp.zeros(layer.features), "running_var": jnp.ones(layer.features), "training": Training()}


def by_running(layer: Any, x: Float[Array, "..."], ps: Parameters, st: State) -> Float[Array, "..."]:
    """`x` normalized by the running statistics."""
    numbers = widened(x)
    deviation = numbers - across(st.running_mean, numbers)
    variance = across(st.running_var, numbers)
    # A variance that is no number of the state's dtype would make everything 0.
    inverse_std = jnp.where(jnp.isinf(variance), jnp.nan, lax.rsqrt(variance + layer.epsilon))
    return finished(layer, deviation, 0.0, inverse_std, ps, x.dtype)


def advanced(
    st: State, momentum: float | int, mean: Float[Array, " features"], var: Float[Array, " features"]
) -> State:
    """The state with its running statistics moved towards new ones, of which they take the share `momentum`."""
    for name, new in (("running_mean", mean), ("running_var", var)):
        old = st[name]
        # They are for later calls, whose gradients shall not reach back into this one.
        new = lax.stop_gradient(new).astype(old.dtype)
        st = st.set(name, (1.0 - momentum) * old + momentum * new)
    return st
