"""A model with constrained parameters, state, parameters of a container and nested chains, which the tests of editing change."""

import jax.numpy as jnp
from helpers import setup
from members import CustomContainer, CustomLayer, array

import sciml_lux as lux


def edited_model():
    return lux.Chain(
        encoder=lux.Chain(lux.Dense(3, 3, jnp.tanh), CustomLayer(3), lux.Dense(3, 3)),
        mixed=CustomContainer(lux.Dense(3, 3), lux.Dense(3, 3, jnp.sin)),
        head=lux.Dense(3, 1),
    )


def made_of(model):
    """Its parameters and state, once called and in test mode."""
    ps, st = setup(model)
    ps = ps.replace(ps.vector + 0.1 * array(ps.layout.size))
    return ps, lux.test_mode(model(array(3), ps, st)[1])  # counted to 1
