"""What the tests of layers from other libraries share: JAX's usual rules of promotion, and what every such layer promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits

import sciml_lux as lux


@pytest.fixture(scope="module", autouse=True)
def usual_promotion():
    """Other libraries, and those who write for them, rely on JAX's usual rules."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def loss(y):
    return jnp.sum(jnp.sin(y))


def assert_works(layer, ps, st, x, expected):
    """What every foreign layer promises; `expected` is the gradient of the model itself by path."""
    y, new = layer(x, ps, st)
    assert jax.tree.structure(new) == jax.tree.structure(st)
    np.testing.assert_allclose(jax.jit(layer)(x, ps, st)[0], y, rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda ps: loss(layer(x, ps, st)[0])))(ps)
    assert set(expected) == set(lux.flatten.leaf_paths(gradient.params))
    for path, value in expected.items():
        np.testing.assert_allclose(gradient[path], value, rtol=1e-10, atol=1e-13, err_msg=path)
    assert bits(ps.layout.ravel(ps.params)) == bits(ps.vector)
    assert lux.layout_of(layer) is ps.layout
    assert lux.parameter_length(layer) == ps.vector.size
    many = ps.replace(jnp.stack([ps.vector, 0.5 * ps.vector]))
    mapped = jax.jit(jax.vmap(lambda ps: layer(x, ps, st)[0]))(many)
    np.testing.assert_allclose(mapped[1], layer(x, ps.replace(0.5 * ps.vector), st)[0], rtol=1e-10)
    assert hash(layer) == hash(layer)
    assert type(layer).__name__ in repr(layer)
