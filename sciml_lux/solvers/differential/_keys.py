"""Random keys of solves: one for each call, or, of a batch, one for each sample of each call."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..._errors import LayerError, ShapeError


def drawn(key: Array, samples: int | None) -> tuple[Any, Any]:
    """What a solve draws from the key of a state: its own key, or one for each of its `samples`; and the key that goes on."""
    now, later = jax.random.split(key)
    return now if samples is None else jax.random.split(now, samples), later


def check_key(name: str, is_random: bool, key: Any, samples: int | None) -> None:
    """Refuses a key that was given for a solve which takes none, or another number of them."""
    if not is_random:
        raise LayerError(f"{name}: key is for equations that are random, and this one is not; leave it out")
    expected = () if samples is None else (samples,)
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key) or jnp.shape(key) != expected:
        what = "one random key" if samples is None else f"a random key for each of {samples} samples"
        hint = "jax.random.key(0)" if samples is None else f"jax.random.split(jax.random.key(0), {samples})"
        raise ShapeError(
            f"{name}: key is {what}, such as {hint}, got {type(key).__name__ if dtype is None else dtype} of shape {jnp.shape(key)}"
        )
