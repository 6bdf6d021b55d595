"""The layers, each against NumPy and its formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from members import array

import sciml_lux as lux


def call(layer, x, ps=None):
    start, st = lux.setup(jax.random.key(0), layer)
    return layer(x, start if ps is None else ps, st)[0]


# Layers


@pytest.mark.parametrize("leading", [(), (4,), (2, 4)])
@pytest.mark.parametrize(("activation", "reference"), [(None, lambda y: y), (jnp.tanh, np.tanh)])
def test_dense_is_matrix_product_shift_and_activation(leading, activation, reference):
    x, weight, bias = array(*leading, 3), array(3, 2), array(2)
    layer = lux.Dense(3, 2, activation)
    y = call(layer, x, {"weight": weight, "bias": bias})
    expected = reference(np.einsum("...i,io->...o", np.asarray(x), np.asarray(weight)) + np.asarray(bias))
    np.testing.assert_allclose(y, expected, rtol=1e-14)
    np.testing.assert_allclose(
        call(lux.Dense(3, 2, activation, use_bias=False), x, {"weight": weight}),
        reference(np.asarray(x) @ np.asarray(weight)),
        rtol=1e-14,
    )


# A layer, and how many inputs its arrays have.
STARTS = {
    "Dense": (lux.Dense(30, 50), {"weight": 30, "bias": 30}),
    "Dense of no inputs": (lux.Dense(0, 50), {"bias": 1}),
    "MLP": (
        lux.MLP(20, (70, 60), 30),
        {"hidden_0.weight": 20, "hidden_0.bias": 20, "hidden_1.bias": 70, "output.weight": 60, "output.bias": 60},
    ),
    "Bilinear": (lux.Bilinear(5, 8, 50), {"weight": 40, "bias": 40}),
    "TensorProductLayer": (
        lux.TensorProductLayer((lux.bases.Chebyshev(5), lux.bases.Legendre(6)), 50),
        {"weight": 30},
    ),
    "Conv": (lux.Conv(6, 40, (3, 2), groups=2), {"weight": 18, "bias": 18}),
    "ConvTranspose": (lux.ConvTranspose(6, 40, (3, 2)), {"weight": 36, "bias": 36}),
    "PatchEmbedding": (lux.PatchEmbedding(3, 50, (2, 4)), {"weight": 24, "bias": 24}),
}


@pytest.mark.parametrize("name", STARTS)
def test_weights_and_biases_start_uniform_within_one_over_the_root_of_the_number_of_inputs(name):
    layer, inputs = STARTS[name]
    ps, _ = lux.setup(jax.random.key(0), layer)
    for path, number in inputs.items():
        numbers = np.asarray(ps[path]).reshape(-1) * math.sqrt(number)
        assert scipy.stats.kstest(numbers, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3, path


def test_a_dense_layer_without_bias_has_a_weight_only():
    ps, st = lux.setup(jax.random.key(0), lux.Dense(3, 5, use_bias=False))
    assert list(ps) == ["weight"]
    assert len(st) == 0


def test_a_start_that_is_asked_for_is_used():
    zeros = lux.init.zeros()
    layers = (
        lux.Dense(3, 4, init_bias=zeros),
        lux.Bilinear(3, 2, 4, init_bias=zeros),
        lux.Conv(3, 4, (2,), init_bias=zeros),
        lux.PatchEmbedding(3, 4, 2, init_bias=zeros),
    )
    for layer in layers:
        assert not np.any(lux.setup(jax.random.key(0), layer)[0].bias)


def test_dense_of_no_features():
    assert call(lux.Dense(0, 2), jnp.zeros((3, 0))).shape == (3, 2)
    assert call(lux.Dense(2, 0), jnp.zeros((3, 2))).shape == (3, 0)


def test_scale_is_elementwise():
    x, weight, bias = array(2, 3), array(3), array(3) + 1
    y = call(lux.Scale(3, jnp.exp), x, {"weight": weight, "bias": bias})
    np.testing.assert_allclose(y, np.exp(np.asarray(x) * np.asarray(weight) + np.asarray(bias)), rtol=1e-14)
    np.testing.assert_array_equal(call(lux.Scale(3), x), x)
    np.testing.assert_array_equal(call(lux.Scale(3, use_bias=False), x), x)


def test_functions_and_nothing():
    x = {"a": array(2), "b": array(3)}
    assert call(lux.NoOp(), x) is x
    np.testing.assert_array_equal(call(lux.WrappedFunction(lambda x: x["a"] * 2), x), 2 * x["a"])


def test_a_chain_calls_its_layers_in_order():
    chain = lux.Chain(lambda x: x + 1, lambda x: 2 * x, last=lambda x: x - 3)
    assert list(chain.children()) == ["layer_0", "layer_1", "last"]
    assert call(chain, jnp.float64(1.0)) == 1.0
    assert call(lux.Chain(), 5.0) == 5.0


def test_a_chain_hands_each_layer_its_own_parameters_and_state():
    class Counter(lux.AbstractLayer):
        step: int

        def initial_states(self, key):
            return {"count": jnp.zeros((), int)}

        def __call__(self, x, ps, st):
            return x, st.set("count", st.count + self.step)

    chain = lux.Chain(Counter(1), lux.Chain(inner=Counter(10)))
    ps, st = lux.setup(jax.random.key(0), chain)
    for _ in range(2):
        _, st = chain(0.0, ps, st)
    assert (st.layer_0.count, st["layer_1.inner.count"]) == (2, 20)


def test_a_parameter_dict_returns_its_values():
    layer = lux.ParameterDict(a=lux.positive(2.0), b=3, c=lux.fixed(4.0), d=[1, 2], e=np.ones((2, 2)))
    ps, st = lux.setup(jax.random.key(0), layer)
    values, _ = layer(None, ps, st)
    assert ps.vector.shape == (1 + 1 + 2 + 4,)
    np.testing.assert_allclose([values.a, values.b, values.c, *values.d], [2, 3, 4, 1, 2], rtol=1e-15)
    np.testing.assert_array_equal(values.e, np.ones((2, 2)))
    assert layer == lux.ParameterDict(a=lux.positive(2.0), b=3.0, c=lux.fixed(4.0), d=(1.0, 2.0), e=np.ones((2, 2)))
    assert layer != lux.ParameterDict(a=lux.real(2.0), b=3.0, c=lux.fixed(4.0), d=(1.0, 2.0), e=np.ones((2, 2)))


def test_mechanistic_and_network_parameters_are_one_vector():
    class Hybrid(lux.AbstractContainer):
        rates: lux.AbstractLayer
        network: lux.AbstractLayer

        def __call__(self, x, ps, st):
            correction, network = self.network(x, ps.network, st.network)
            return ps.rates.growth * x + correction, st.set("network", network)

    model = Hybrid(lux.ParameterDict(growth=lux.positive(2.0, unit="1/s")), lux.Dense(2, 2))
    ps, st = lux.setup(jax.random.key(0), model)
    assert ps.vector.shape == (1 + 6,)
    gradient = jax.grad(lambda ps: jnp.sum(model(jnp.ones(2), ps, st)[0]))(ps)
    np.testing.assert_allclose(gradient.vector, [4.0, 1, 1, 1, 1, 1, 1], rtol=1e-14)


# Many of one kind


def test_repeated_layers_are_a_chain_of_them():
    many = lux.Repeated(lux.Dense(3, 3, jnp.tanh), 4)
    ps, st = lux.setup(jax.random.key(0), many)
    chain = lux.Chain(*[lux.Dense(3, 3, jnp.tanh) for _ in range(4)])
    chain_ps, chain_st = lux.setup(jax.random.key(1), chain)
    for i in range(4):
        chain_ps = chain_ps.set(f"layer_{i}", jax.tree.map(lambda leaf, i=i: leaf[i], ps.params.layer))
    x = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)
    np.testing.assert_allclose(many(x, ps, st)[0], chain(x, chain_ps, chain_st)[0], rtol=1e-12)
    assert len({float(leaf) for leaf in ps["layer.weight"][:, 0, 0]}) == 4


def test_what_repeated_layers_compile_to_does_not_grow_with_their_number():
    def operations(number):
        many = lux.Repeated(lux.Dense(3, 3, jnp.tanh), number)
        ps, st = lux.setup(jax.random.key(0), many)
        program = jax.jit(jax.grad(lambda ps: jnp.sum(many(jnp.ones(3), ps, st)[0]))).lower(ps).as_text()
        return program.count("stablehlo.")

    assert operations(3) == operations(60)


def test_repeated_layers_must_keep_shapes():
    many = lux.Repeated(lux.Dense(3, 2), 2)
    with pytest.raises(lux.LuxError, match="must keep both"):
        many(jnp.ones(3), *lux.setup(jax.random.key(0), many))
    with pytest.raises(lux.LuxError, match="1 or more, got 0"):
        lux.Repeated(lux.Dense(3, 3), 0)
