"""Layers on the last axis."""

import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array

LAYERS = [
    Layer("Dense", lambda: lux.Dense(3, 2, jnp.tanh), array(4, 3)),
    Layer("Dense without bias", lambda: lux.Dense(3, 2, use_bias=False), array(3)),
    Layer("Dense of another start", lambda: lux.Dense(2, 2, init_bias=lux.init.normal(std=1.0)), array(2, 3, 2)),
    Layer("Scale", lambda: lux.Scale(3, jnp.sin), array(2, 3)),
    Layer("Scale without bias", lambda: lux.Scale(3, use_bias=False), array(3)),
]
