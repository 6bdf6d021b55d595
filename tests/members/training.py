"""Layers of training strategies."""

import jax.numpy as jnp

import sciml_lux as lux
from sciml_lux.training.strategies import MultipleShooting, series, windows

from .base import Layer, array
from .solvers import accurate, ode_dtypes


def shooting():
    return MultipleShooting(lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), **accurate), 2, 2, penalty=2.0)


SEGMENTS = windows(series([0.0, 0.1, 0.3, 0.4, 0.5], array(5, 2)), 3)

LAYERS = [
    Layer(
        "MultipleShooting",
        shooting,
        SEGMENTS,
        mapped=False,
        dtypes=ode_dtypes,
        names={"MultipleShooting": MultipleShooting},
        slow=True,
    ),
]
