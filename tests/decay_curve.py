"""Data of a decaying curve with noise, the curve for JAX and for NumPy, and its parameters as a model has them."""

import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

RANDOM = np.random.default_rng(0)
X = np.linspace(0.1, 5.0, 30)
Y = 2.5 * np.exp(-0.7 * X) + 0.3 + 0.02 * RANDOM.normal(size=30)
SIGMA = 0.01 + 0.02 * RANDOM.random(30)


def decay(x, a, b, c):
    return a * jnp.exp(-b * x) + c


def decay_numpy(x, a, b, c):
    return a * np.exp(-b * x) + c


def decay_residual(ps, st, data):
    x, y = data
    return decay(x, ps.a, ps.b, ps.c) - y, st


def numbers(params):
    return np.array([float(value) for value in params.values()])


def model_parameters(**changes):
    declared = {"a": lux.positive(1.0, unit="mg"), "b": lux.positive(1.0, unit="1/h"), "c": lux.real(0.0)}
    return lux.flatten.flatten({**declared, **changes})


DATA = (jnp.asarray(X), jnp.asarray(Y))
