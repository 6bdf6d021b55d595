"""A model without parameters, which is no mistake: everything works with a vector of length 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import PathError


@pytest.mark.parametrize("model", [lux.Chain(), lux.NoOp(), lux.ParameterDict(), lux.Chain(a=lux.Chain(), b=jnp.sin)])
def test_an_empty_model_works(model):
    ps, st = setup(model)
    x = jnp.ones(2)

    def loss(ps):
        y = model(x, ps, st)[0]
        return jnp.sum(y) if isinstance(y, jax.Array) else jnp.zeros(())

    assert ps.vector.shape == (0,)
    assert ps.vector.dtype == jnp.float64
    assert lux.parameter_length(model) == lux.state_length(model) == 0
    assert jax.grad(loss)(ps).vector.shape == (0,)
    np.testing.assert_allclose(jax.jit(loss)(ps), loss(ps))
    many = ps.replace(jnp.zeros((3, 0)))
    np.testing.assert_allclose(jax.vmap(loss, axis_size=3)(many), jnp.stack([loss(ps)] * 3))
    assert jax.tree.structure(many.params) == jax.tree.structure(ps.params)
    assert ps.layout.ravel(ps.params).shape == (0,)
    assert repr(ps.layout).startswith("Layout of 0 numbers, float64, 0 bytes, 0 entries")
    assert repr(ps) == "FlatParams: 0 numbers, float64"
    refused(lambda: ps["a.weight"], PathError, "no path 'a.weight'")
