"""Layers of `sciml_lux.layers.normalization`."""

import jax
import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array

two_layers = ("layer_0.weight", "layer_1.layer_0.weight")


def nested():
    return lux.Chain(lux.Dense(3, 4, jnp.tanh), lux.Chain(lux.Dense(4, 2)))


LAYERS = [
    Layer("BatchNorm", lambda: lux.BatchNorm(3), array(4, 3)),
    Layer("BatchNorm of images", lambda: lux.BatchNorm(2, jnp.tanh, epsilon=0.1, momentum=0.3), array(2, 3, 3, 2)),
    Layer("BatchNorm without bias", lambda: lux.BatchNorm(3, use_bias=False), array(5, 3), slow=True),
    Layer("BatchNorm not affine", lambda: lux.BatchNorm(3, affine=False), array(4, 3)),
    Layer("BatchNorm of the batch", lambda: lux.BatchNorm(3, track_running_stats=False), array(4, 3)),
    Layer("LayerNorm", lambda: lux.LayerNorm(4), array(2, 4)),
    Layer(
        "LayerNorm over two axes", lambda: lux.LayerNorm((2, 3), jax.nn.gelu, epsilon=0.1), array(2, 2, 3), slow=True
    ),
    Layer("LayerNorm without bias", lambda: lux.LayerNorm(4, use_bias=False), array(4), slow=True),
    Layer("LayerNorm not affine", lambda: lux.LayerNorm(4, affine=False), array(2, 4)),
    Layer("GroupNorm", lambda: lux.GroupNorm(4, 2, 1, jnp.sin), array(2, 3, 4)),
    Layer("GroupNorm of images", lambda: lux.GroupNorm(2, 2, 2, affine=False), array(3, 2, 2), slow=True),
    Layer("GroupNorm without space", lambda: lux.GroupNorm(6, 2, 0, use_bias=False), array(2, 6), slow=True),
    Layer("InstanceNorm", lambda: lux.InstanceNorm(2, 2), array(2, 3, 3, 2)),
    Layer("InstanceNorm affine", lambda: lux.InstanceNorm(3, 1, jnp.sin, affine=True, epsilon=0.1), array(4, 3)),
    Layer(
        "InstanceNorm tracking",
        lambda: lux.InstanceNorm(2, 1, affine=True, use_bias=False, track_running_stats=True, momentum=0.5),
        array(2, 4, 2),
    ),
    Layer("RMSNorm", lambda: lux.RMSNorm(4), array(2, 4)),
    Layer("RMSNorm not affine", lambda: lux.RMSNorm((2, 3), affine=False, epsilon=0.1), array(2, 3)),
    Layer("WeightNorm", lambda: lux.WeightNorm(lux.Dense(3, 2, jnp.tanh)), array(4, 3)),
    Layer("WeightNorm of nested layers", lambda: lux.WeightNorm(nested(), two_layers), array(3), slow=True),
    # Many steps, so that the vectors are those at which the derivative of the norm does not depend on them.
    Layer("SpectralNorm", lambda: lux.SpectralNorm(lux.Dense(3, 2, jnp.tanh), iterations=200), array(4, 3)),
    Layer(
        "SpectralNorm of nested layers",
        lambda: lux.SpectralNorm(nested(), two_layers, iterations=300),
        array(3),
        slow=True,
    ),
]
