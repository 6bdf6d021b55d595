"""Containers, and layers without parameters."""

import jax
import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array

shared = ("layer_0", "layer_1")

LAYERS = [
    Layer("NoOp", lux.NoOp, array(3)),
    Layer("WrappedFunction", lambda: lux.WrappedFunction(jnp.sin), array(3)),
    Layer("Chain", lambda: lux.Chain(lux.Dense(3, 4, jax.nn.gelu), jnp.tanh, out=lux.Scale(4)), array(2, 3)),
    Layer("empty Chain", lux.Chain, array(3)),
    Layer("Share", lambda: lux.Share(lux.Chain(lux.Dense(3, 3, jnp.tanh), lux.Dense(3, 3)), *shared), array(2, 3)),
    Layer("Repeated", lambda: lux.Repeated(lux.Dense(3, 3, jnp.tanh), 4), array(2, 3)),
    Layer("Frozen", lambda: lux.Frozen(lux.Dense(3, 2, jnp.tanh)), array(2, 3), dtypes=(jnp.float64,)),
    Layer(
        "ParameterDict",
        lambda: lux.ParameterDict(
            a=lux.positive(0.5), b=lux.bounded([0.1, 0.4], 0.0, 1.0), c=lux.fixed(2.0), d=lux.real(0.0)
        ),
        None,
        mapped=False,
    ),
]
