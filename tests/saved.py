"""What the tests of files share: parameters to save, and what it means that they came back."""

import jax.numpy as jnp
from helpers import bits

import sciml_lux as lux


def small() -> lux.FlatParams:
    return lux.flatten.flatten({"a": {"weight": jnp.arange(6.0).reshape(2, 3)}, "rate": lux.positive(2.0)})


def assert_same(got, expected):
    assert got.layout is expected.layout
    assert bits(got) == bits(expected)
