"""Runs of dense layers with the samples on the last axis: the same numbers, for the layers and inputs that they are meant for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import message_of, setup
from members import array

import sciml_lux as lux
from sciml_lux.layers._columns import length_of_run


def chain(*activations):
    return lux.Chain(lux.Dense(3, 8, activations[0]), lux.Dense(8, 5, activations[1]), lux.Dense(5, 2, use_bias=False))


def in_rows(model, x, ps):
    """The same chain, layer by layer."""
    for name, layer in model.children().items():
        x = layer(x, ps.params[name], lux.State())[0]
    return x


samples = array(200, 3)


@pytest.mark.parametrize(
    "x",
    [samples, pytest.param(array(2, 100, 3), marks=pytest.mark.slow), jnp.zeros((200, 3))],
    ids=["matrix", "two leading axes", "zeros"],
)
@pytest.mark.parametrize(
    "activations", [(jnp.tanh, jax.nn.relu), (jax.nn.gelu, None)], ids=["tanh, relu", "gelu, none"]
)
def test_values_and_gradients_are_those_of_rows(x, activations):
    model = chain(*activations)
    assert length_of_run(list(model), x) == 3
    ps, st = setup(model)

    def loss(call):
        return lambda vector, x: jnp.sum(jnp.sin(call(x, ps.replace(vector))))

    functions = [loss(lambda x, ps: model(x, ps, st)[0]), loss(lambda x, ps: in_rows(model, x, ps))]
    direction = jnp.cos(jnp.arange(ps.vector.size, dtype=float))
    for compare in (
        lambda f: f(ps.vector, x),
        lambda f: jax.grad(f, argnums=(0, 1))(ps.vector, x),
        lambda f: jax.jvp(lambda vector: f(vector, x), (ps.vector,), (direction,)),
        lambda f: jax.vmap(jax.grad(f), (0, None))(jnp.stack([ps.vector, 0.5 * ps.vector]), x),
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), *map(compare, functions))


def test_only_elementwise_activations_run_on_columns():
    model = chain(jax.nn.softmax, jnp.tanh)
    assert length_of_run(list(model), samples) == 0
    assert length_of_run(list(model)[1:], array(200, 8)) == 2
    ps, st = setup(model)
    np.testing.assert_allclose(model(samples, ps, st)[0], in_rows(model, samples, ps), rtol=1e-12)


@pytest.mark.parametrize(
    "x",
    [array(3), array(100, 3), array(200, 4), samples.astype(int), samples.tolist()],
    ids=["one sample", "few samples", "other features", "whole numbers", "a list"],
)
def test_other_inputs_run_in_rows(x):
    assert length_of_run(list(chain(jnp.tanh, jnp.tanh)), x) == 0


def test_layers_as_wide_as_there_are_samples_run_in_rows():
    assert length_of_run([lux.Dense(3, 150), lux.Dense(150, 3)], samples) == 0


def test_the_run_ends_where_another_layer_begins():
    layers = [lux.Dense(3, 4), lux.Dense(4, 4, jnp.tanh), lux.Scale(4), lux.Dense(4, 4), lux.Dense(4, 2)]
    assert length_of_run(layers, samples) == 2
    model = lux.Chain(*layers)
    ps, st = setup(model)
    np.testing.assert_allclose(model(samples, ps, st)[0], in_rows(model, samples, ps), rtol=1e-12)


def test_errors_name_the_layer():
    model = chain(jnp.tanh, jnp.tanh)
    ps, st = setup(model)
    with pytest.raises(Exception, match="expects 3 features") as caught:
        model(jnp.ones((128, 4)), ps, st)
    assert "in layer layer_0: Dense(3, 8, jnp.tanh)" in message_of(caught.value)
