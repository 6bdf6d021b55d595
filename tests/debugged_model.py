"""A model with state and a container of a user's, which the tests of debug mode run."""

import jax.numpy as jnp

import sciml_lux as lux

X = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)


class Averages(lux.AbstractLayer):
    """Keeps the sum of its inputs, and adds it."""

    def initial_states(self, key):
        return {"key": key, "total": jnp.zeros(3), "calls": jnp.zeros((), jnp.int32), "training": lux.Training()}

    def __call__(self, x, ps, st):
        total = st.total + jnp.sum(x, axis=0)
        return x + total[None], {**st, "total": total, "calls": st.calls + 1}


class Weighted(lux.AbstractContainer):
    """Two layers side by side, with a parameter of the container's own, as a user writes it."""

    left: lux.AbstractLayer
    right: lux.AbstractLayer

    def initial_parameters(self, key):
        return {**super().initial_parameters(key), "share": jnp.asarray(0.5)}

    def __call__(self, x, ps, st, scale=1.0):
        left, left_state = self.left(x, ps.left, st.left)
        right, right_state = self.right(x * scale, ps.right, st.right)
        return ps.share * left + jnp.sqrt(1 - ps.share) * right, {"left": left_state, "right": right_state}


def model():
    return lux.Chain(
        lux.Dense(3, 3, jnp.tanh), lux.Dense(3, 3, jnp.tanh), Averages(), inner=Weighted(lux.Dense(3, 3), lux.Scale(3))
    )


def total(layer, x, ps, st):
    return jnp.sum(jnp.sin(layer(x, ps, st)[0]))
