"""What the cases of several subjects are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from helpers import setup

import sciml_lux as lux

KEY = jax.random.key(0)
DENSE = lux.Dense(2, 2)
PS, ST = setup(DENSE)
X = jnp.ones(2)
PAIR = (jnp.ones(2), jnp.ones(2))
TS, YS = np.linspace(0.0, 1.0, 5), np.ones((5, 2))
NODE = lux.NeuralODE(DENSE)
DRUG = lux.JumpODE(DENSE)
SGD = optax.sgd(0.1)


def run(layer, x, **given):
    """A call of a layer, traced but not compiled."""
    ps, st = setup(layer)
    return jax.eval_shape(lambda x, ps, st: layer(x, ps, st, **given)[0], x, ps, st)


def called(layer, x):
    """A call for numbers, as what is no array cannot be traced."""
    return layer(x, *setup(layer))


def function_of_two(a, b):
    return -b


class Declares(lux.AbstractLayer):
    value: object

    def initial_parameters(self, key):
        return {"a": self.value()}


class Tensor:
    """What a tensor of PyTorch looks like from outside."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.values


def squares(ps, st, batch):
    return jnp.sum(ps.vector**2), st
