"""Layers whose call runs a solver."""

import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array


def append_time(t_and_y):
    t, y = t_and_y
    return jnp.append(y, t)


def controlled_field():
    return lux.Chain(append_time, lux.Dense(3, 2, jnp.tanh))


# Tolerances at which finite differences do not see the choice of the steps.
accurate = {"t1": 0.5, "rtol": 1e-9, "atol": 1e-9}
ode_dtypes = (jnp.float32, jnp.float64)  # times are sums of many small steps

LAYERS = [
    Layer("NeuralODE", lambda: lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), **accurate), array(2), dtypes=ode_dtypes),
    Layer(
        "NeuralODE with time",
        lambda: lux.NeuralODE(controlled_field(), time=True, **accurate),
        array(2),
        dtypes=ode_dtypes,
        names={"append_time": append_time},
    ),
]
