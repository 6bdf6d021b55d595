"""Models in debug mode."""

import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array
from .custom import CustomContainer, CustomLayer, custom

LAYERS = [
    Layer("Debug", lambda: lux.tools.Debug(lux.Chain(lux.Dense(3, 2, jnp.tanh), lux.Scale(2))), array(2, 3)),
    Layer(
        "Debug of a user's container, forward",
        lambda: lux.tools.Debug(CustomContainer(CustomLayer(3), lux.BatchNorm(3)), check="forward"),
        array(2, 3),
        names=custom,
        slow=True,
    ),
    Layer(
        "Debug within a scan, backward",
        lambda: lux.Chain(lux.Repeated(lux.tools.Debug(lux.Dense(3, 3, jnp.tanh), check="backward"), 2)),
        array(3),
        slow=True,
    ),
]
