"""Layers and containers that a user writes."""

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

from .base import Layer, array


class CustomLayer(lux.AbstractLayer):
    """What a user writes: constrained parameters, a counter, a key and a flag."""

    features: int

    def initial_parameters(self, key):
        return {"scale": lux.positive(0.5), "nested": {"shift": 0.1 * jax.random.normal(key, (self.features,))}}

    def initial_states(self, key):
        return {"key": key, "calls": jnp.zeros((), jnp.int32), "training": lux.Training()}

    def __call__(self, x, ps, st):
        now, later = jax.random.split(st.key)
        noise = jax.random.normal(now, x.shape, x.dtype) if st.training else jnp.zeros_like(x)
        y = ps.scale * x + jnp.broadcast_to(ps.nested.shift, x.shape) + noise
        return y, {"key": later, "calls": st.calls + 1, "training": st.training}


class CustomContainer(lux.AbstractContainer):
    """Two layers side by side, weighted by a parameter of the container's own."""

    left: lux.AbstractLayer
    right: lux.AbstractLayer

    def initial_parameters(self, key):
        return {**super().initial_parameters(key), "share": lux.bounded(0.3, 0.0, 1.0)}

    def __call__(self, x, ps, st):
        left, left_state = self.left(x, ps.left, st.left)
        right, right_state = self.right(x, ps.right, st.right)
        return ps.share * left + (1 - ps.share) * right, {"left": left_state, "right": right_state}


@lux.compact(
    inner=CustomLayer(3),
    w=lux.parameter(lux.init.normal(std=0.5), (3, 2)),
    shift=np.array([0.1, 0.2]),
    gain=lux.positive(0.5),
    calls=lux.state(lux.init.zeros(), (), int),
    key=lux.state(),
    training=lux.Training(),
    power=2,
)
def compact_layer(self, x):
    """Everything that a compact layer may declare; its sub-layer is called twice."""
    self.calls = self.calls + 1
    now, self.key = jax.random.split(self.key)
    x = x + jax.random.normal(now, x.shape, x.dtype) if self.training else x
    y = self.inner(self.inner(x)) @ self.w
    return self.gain * y**self.power + jnp.broadcast_to(self.shift, y.shape)


@lux.compact(encoder=lux.Dense(4, 8, jnp.tanh), w=lux.parameter(lux.init.orthogonal(), (8, 8)))
def net(self, x):
    return self.encoder(x) @ self.w


custom = {"CustomLayer": CustomLayer, "CustomContainer": CustomContainer, "compact_layer": compact_layer, "net": net}

LAYERS = [
    Layer("a user's layer", lambda: CustomLayer(3), array(2, 3), names=custom),
    Layer(
        "a user's container",
        lambda: CustomContainer(lux.Chain(CustomLayer(3), jnp.tanh), right=lux.Dense(3, 3)),
        array(3),
        names=custom,
    ),
    Layer("compact", lambda: net, array(2, 4), names=custom),
    Layer(
        "compact with other declarations",
        lambda: lux.compact(net, encoder=lux.Chain(lux.Dense(4, 8), jnp.sin)),
        array(4),
        names=custom,
    ),
    Layer("compact with state", lambda: lux.compact(compact_layer), array(2, 3), names=custom),
]
