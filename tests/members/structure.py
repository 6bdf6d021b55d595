"""Layers of `sciml_lux.layers.structure`."""

import jax
import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array


def energy(*hidden: int) -> lux.AbstractLayer:
    """A smooth scalar function of four numbers; wide enough that its second derivatives are of full rank."""
    return lux.MLP(4, hidden, 1, jax.nn.softplus, init_weight=lux.init.normal(std=1.0))


LAYERS = [
    Layer("HamiltonianNN", lambda: lux.HamiltonianNN(energy(5)), array(3, 4)),
    Layer(
        "HamiltonianNN of one sample",
        lambda: lux.HamiltonianNN(lux.Chain(energy(3), lux.Dropout(0.5))),
        array(4),
        mapped=False,  # one key for all inputs draws other numbers than one for each
        slow=True,
    ),
    Layer("LagrangianNN", lambda: lux.LagrangianNN(energy(12)), array(2, 3, 4)),
    Layer(
        "LagrangianNN, regularized",
        lambda: lux.LagrangianNN(lux.Dense(2, 1, jnp.sin), regularization=2.0),
        array(2),
        slow=True,
    ),
    Layer("PositiveDefinite", lambda: lux.PositiveDefinite(lux.Dense(3, 2, jnp.tanh)), array(4, 3)),
    Layer(
        "PositiveDefinite elsewhere",
        lambda: lux.PositiveDefinite(lux.Dense(2, 2, jnp.tanh), equilibrium=(1.0, -0.5), alpha=0.1),
        array(2),
    ),
]
