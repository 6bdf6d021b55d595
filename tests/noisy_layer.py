"""A layer with random state, which the tests of custom layers put into others."""

import jax
import jax.numpy as jnp

import sciml_lux as lux


class Noise(lux.AbstractLayer):
    """Adds noise while training, and counts its calls."""

    def initial_states(self, key):
        return {"key": key, "calls": jnp.zeros((), jnp.int32), "training": lux.Training()}

    def __call__(self, x, ps, st):
        if not st.training:
            return x, st
        now, later = jax.random.split(st.key)
        new = {"key": later, "calls": st.calls + 1, "training": st.training}
        return x + jax.random.normal(now, x.shape, x.dtype), new
