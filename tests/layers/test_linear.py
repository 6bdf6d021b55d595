"""Layers on the last axis: two inputs, whole numbers, several layers in one, positions; against NumPy and what they are for."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from members import array

import sciml_lux as lux

LayerError, ShapeError = lux.LayerError, lux.ShapeError


def call(layer, x, ps=None):
    start, st = setup(layer)
    return layer(x, start if ps is None else ps, st)[0]


def close(got, expected, rtol=1e-12, atol=1e-13):
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


# Bilinear


@pytest.mark.parametrize("leading", [(), (1,), (0,), (2, 4)])
def test_bilinear_is_a_sum_over_pairs(leading):
    layer = lux.Bilinear(3, 2, 4, jnp.tanh)
    a, b, weight, bias = array(*leading, 3), array(*leading, 2), array(3, 2, 4), array(4)
    expected = np.tanh(np.einsum("...i,...j,ijo->...o", a, b, weight) + np.asarray(bias))
    close(call(layer, (a, b), {"weight": weight, "bias": bias}), expected)


def test_one_input_of_a_bilinear_layer_stands_for_two():
    ps, st = setup(layer := lux.Bilinear(3, 3, 2))
    close(layer(array(4, 3), ps, st)[0], layer((array(4, 3), array(4, 3)), ps, st)[0])


def test_a_bilinear_layer_of_no_inputs():
    assert call(lux.Bilinear(0, 2, 3), (jnp.ones((4, 0)), jnp.ones((4, 2)))).shape == (4, 3)


@pytest.mark.parametrize(
    "x",
    [array(3), (array(3), array(3)), (array(3), array(4, 2)), (array(3), array(2), array(1)), (array(3), 1.0), array()],
)
def test_other_inputs_of_a_bilinear_layer_are_refused(x):
    refused(lambda: call(lux.Bilinear(3, 2, 4), x), ShapeError, "(..., 3) and (..., 2) with the same leading axes, got")


# Embedding


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32, jnp.uint32, jnp.int64])
def test_an_embedding_picks_rows_and_nan_where_there_is_none(dtype):
    layer = lux.Embedding(200, 3)
    ps, st = setup(layer)
    numbers = {jnp.int8: [0, 5, 127, -1, -128], jnp.uint8: [0, 199, 200, 255], jnp.int32: [199, 200, -1, 2**31 - 1]}
    numbers |= {jnp.uint32: [7, 2**31 + 5, 2**32 - 1], jnp.int64: [1, 2**32 + 1, -(2**32) + 1, 2**62]}
    x = np.array(numbers[dtype], dtype)
    table = np.asarray(ps.weight)
    expected = np.stack([table[int(n)] if 0 <= int(n) < 200 else np.full(3, np.nan) for n in x])
    np.testing.assert_array_equal(layer(jnp.asarray(x), ps, st)[0], expected)
    np.testing.assert_array_equal(jax.jit(layer)(jnp.asarray(x), ps, st)[0], expected)


def test_an_embedding_of_nothing():
    assert call(lux.Embedding(3, 2), jnp.zeros((0, 4), int)).shape == (0, 4, 2)
    assert call(lux.Embedding(3, 0), jnp.array(1)).shape == (0,)


def test_an_embedding_learns_the_rows_that_it_was_asked_for():
    ps, st = setup(layer := lux.Embedding(4, 2))
    gradient = jax.grad(lambda ps: jnp.sum(layer(jnp.array([1, 3, 1]), ps, st)[0]))(ps)
    np.testing.assert_array_equal(gradient.weight, [[0, 0], [2, 2], [0, 0], [1, 1]])


@pytest.mark.parametrize(("x", "shown"), [(array(2), "float64[2]"), (jnp.array([True]), "bool[1]")])
def test_an_embedding_takes_integers(x, shown):
    refused(lambda: call(lux.Embedding(3, 2), x), ShapeError, "Embedding takes integers, 0 to 2, got", shown)


# MLP


def test_an_mlp_is_the_chain_of_its_layers_and_compiles_to_the_same_program():
    mlp = lux.MLP(3, (4, 5), 2, jax.nn.silu)
    chain = lux.Chain(lux.Dense(3, 4, jax.nn.silu), lux.Dense(4, 5, jax.nn.silu), lux.Dense(5, 2))
    ps, st = setup(mlp)
    chain_ps, chain_st = setup(chain)
    chain_ps = chain_ps.replace(ps.vector)

    def gradient(layer, st, x):
        return jax.jit(jax.grad(lambda ps: jnp.sum(layer(x, ps, st)[0] ** 2)))

    for samples in (7, 300):  # 300: on columns
        ours, theirs = gradient(mlp, st, array(samples, 3)), gradient(chain, chain_st, array(samples, 3))
        np.testing.assert_array_equal(ours(ps).vector, theirs(chain_ps).vector)
        assert ours.lower(ps).as_text() == theirs.lower(chain_ps).as_text()


def test_an_mlp_names_its_layers():
    mlp = lux.MLP(3, (4, 4), 2, norm=lux.LayerNorm, dropout=0.5)
    hidden = ["hidden_{}", "norm_{}", "activation_{}", "dropout_{}"]
    assert list(mlp.children()) == [name.format(i) for i in (0, 1) for name in hidden] + ["output"]
    assert mlp["norm_1"] == lux.LayerNorm(4)
    assert mlp["hidden_1"] == lux.Dense(4, 4)
    assert list(lux.MLP(3, (4,), 2).children()) == ["hidden_0", "output"]
    assert list(lux.MLP(3, (), 2).children()) == ["output"]
    assert lux.MLP(3, (4,), 2)["hidden_0"] == lux.Dense(3, 4, jnp.tanh)


def test_an_mlp_with_another_layer_is_a_chain():
    mlp = lux.MLP(3, (4,), 2)
    other = mlp.with_children(mlp.children() | {"output": lux.Dense(4, 5)})
    assert other == lux.Chain(hidden_0=lux.Dense(3, 4, jnp.tanh), output=lux.Dense(4, 5))
    residual = lux.MLP(3, (3,), 2, residual=True)
    refused(lambda: residual.with_children(residual.children()), LayerError, "write a lux.Chain of lux.SkipConnection")


def test_a_hidden_layer_is_norm_activation_dropout():
    mlp = lux.MLP(3, (4, 4), 2, jnp.sin, norm=lux.LayerNorm, dropout=0.5, residual=True)
    ps, st = setup(mlp)
    y, after = mlp(array(5, 3), ps, st)
    x, parts = array(5, 3), {}
    for i in (0, 1):
        h = x
        for name in ("hidden", "norm", "activation", "dropout"):
            h, parts[f"{name}_{i}"] = mlp[f"{name}_{i}"](h, ps[f"{name}_{i}"], st[f"{name}_{i}"])
        x = h if i == 0 else x + h  # the first changes the size
    close(y, mlp["output"](x, ps.output, st.output)[0])
    for name, state in parts.items():
        assert jax.tree.all(jax.tree.map(lambda a, b: a == b, after[name], state))
    assert after.dropout_0.key != st.dropout_0.key


def test_in_test_mode_nothing_is_dropped():
    mlp = lux.MLP(3, (4,), 2, dropout=0.5)
    ps, st = setup(mlp)
    y, after = mlp(array(5, 3), ps, lux.test_mode(st))
    close(y, call(lux.MLP(3, (4,), 2), array(5, 3), ps))
    assert jax.tree.all(jax.tree.map(lambda a, b: a == b, after, lux.test_mode(st)))


def test_an_mlp_passes_its_initializers_on():
    ps, _ = setup(lux.MLP(3, (4,), 2, init_weight=lux.init.ones(), init_bias=lux.init.constant(2.0)))
    assert set(np.asarray(ps.vector)) == {1.0, 2.0}
    assert "hidden_0.bias" not in setup(lux.MLP(3, (4,), 2, use_bias=False))[0].params


def test_errors_within_an_mlp_name_the_layer():
    refused(lambda: call(lux.MLP(3, (4,), 2), array(5, 2)), ShapeError, "MLP expects 3 features", "(5, 2)")
    broken = lux.MLP(3, (4,), 2, norm=lambda size: lux.LayerNorm(size + 1))
    refused(lambda: call(broken, array(5, 3)), lux.LuxError, "in layer norm_0: LayerNorm(5")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lux.MLP(3, [4], 2), "hidden is a tuple of sizes such as (64, 64), got [4]"),
        (lambda: lux.MLP(3, 4, 2), "hidden is a tuple of sizes"),
        (lambda: lux.MLP(3, (4, -1), 2), "MLP: hidden[1] is a number of features, 0 or more, got -1"),
        (lambda: lux.MLP(3.0, (4,), 2), "MLP: in_features is a number of features, 0 or more, got 3.0"),
        (lambda: lux.MLP(3, (4,), 2, "relu"), "MLP: activation is a function such as jnp.tanh, or None, got 'relu'"),
        (lambda: lux.MLP(3, (4,), 2, norm=lux.LayerNorm(4)), "norm is a function of the size that makes a layer"),
        (lambda: lux.MLP(3, (4,), 2, norm="layer"), "norm is a function of the size"),
        (lambda: lux.MLP(3, (4,), 2, norm=lambda size: 3)["norm_0"], "norm_0 is neither a layer nor a function, got 3"),
        (lambda: lux.MLP(3, (4,), 2, dropout=1.5), "MLP: dropout is a number from 0.0 to 1.0, got 1.5"),
        (lambda: lux.MLP(3, (4,), 2, residual=1), "MLP: residual is True or False, got 1"),
        (lambda: lux.MLP(3, (4, 5), 2, residual=True), "no hidden layer keeps its size: (3, 4, 5)"),
        (lambda: lux.MLP(3, (), 2, residual=True), "no hidden layer keeps its size: (3,)"),
        (lambda: lux.Bilinear(3, 2.5, 1), "Bilinear: in_features_2 is a number of features, 0 or more, got 2.5"),
        (lambda: lux.Bilinear(3, 2, 1, use_bias=None), "Bilinear: use_bias is True or False, got None"),
        (lambda: lux.Embedding(0, 2), "Embedding: num_embeddings is a whole number, 1 or more, got 0"),
        (lambda: lux.Maxout(), "Maxout takes at least one layer, got none"),
        (lambda: lux.PeriodicEmbedding([0], (1.0,)), "indices is a tuple of numbers from 0, such as (0, 2), got [0]"),
        (lambda: lux.PeriodicEmbedding((-1,), (1.0,)), "indices is a tuple of numbers from 0"),
        (lambda: lux.PeriodicEmbedding((1, 1), (1.0, 2.0)), "indices must differ from each other, got (1, 1)"),
        (lambda: lux.PeriodicEmbedding((0, 1), (1.0,)), "periods is a tuple of 2 positive numbers, one for each index"),
        (lambda: lux.PeriodicEmbedding((0,), (0.0,)), "periods is a tuple of 1 positive numbers"),
        (lambda: lux.RandomFourierFeatures(3, 0), "RandomFourierFeatures: number is a whole number, 1 or more, got 0"),
        (lambda: lux.RandomFourierFeatures(3, 2, scale=-1.0), "scale is a positive number, got -1.0"),
        (
            lambda: lux.SinusoidalEmbedding(5),
            "features is an even number, a sine and a cosine of each frequency, got 5",
        ),
        (lambda: lux.PositionalEncoding(0), "PositionalEncoding: features is a whole number, 1 or more, got 0"),
        (lambda: lux.RotaryEmbedding(4, max_period=1.0), "RotaryEmbedding: max_period is a number above 1, got 1.0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused(make, message):
    refused(make, LayerError, message)


# Maxout


def test_maxout_is_the_largest():
    layer = lux.Maxout(lux.Dense(3, 4), lux.Dense(3, 4), third=lux.Dense(3, 4))
    ps, st = setup(layer)
    expected = np.max([np.asarray(layer[i](array(5, 3), ps[name], st[name])[0]) for i, name in enumerate(ps)], axis=0)
    np.testing.assert_array_equal(layer(array(5, 3), ps, st)[0], expected)
    np.testing.assert_array_equal(call(lux.Maxout(jnp.sin), array(3)), jnp.sin(array(3)))
    np.testing.assert_array_equal(call(lux.Maxout(lambda x: x, lambda x: -x), array(3)), jnp.abs(array(3)))


def test_a_gradient_goes_to_the_largest_and_is_shared_among_equals():
    layer = lux.Maxout(lambda x: x, lambda x: 2 * x)
    gradient = jax.grad(lambda x: jnp.sum(call(layer, x)))(jnp.array([1.0, -1.0, 0.0]))
    close(gradient, [2.0, 1.0, 1.5])


def test_maxout_keeps_the_states_and_passes_nan_on():
    layer = lux.Maxout(lux.Dropout(0.5), lambda x: x)
    ps, st = setup(layer)
    _, after = layer(array(3), ps, st)
    assert after.layer_0.key != st.layer_0.key
    assert np.isnan(call(lux.Maxout(lambda x: x, lambda x: 0 * x), jnp.array([jnp.nan]))[0])


def test_results_of_two_shapes_have_no_largest():
    layer = lux.Maxout(lux.Dense(3, 4), small=lux.Dense(3, 1))
    refused(lambda: call(layer, array(3)), ShapeError, "arrays of one shape, got {'layer_0': (4,), 'small': (1,)}")
    refused(lambda: call(lux.Maxout(lambda x: (x, x)), array(3)), ShapeError, "arrays of one shape")


# Periodic and random features


def test_a_periodic_embedding_replaces_features():
    x = np.asarray(array(4, 3))
    y = call(lux.PeriodicEmbedding((2, 0), (1.5, 3.0)), jnp.asarray(x))
    angles = 2 * np.pi * x[:, [2, 0]] / [1.5, 3.0]
    close(y, np.concatenate([x[:, [1]], np.sin(angles), np.cos(angles)], axis=1))
    np.testing.assert_array_equal(call(lux.PeriodicEmbedding((), ()), array(2, 3)), array(2, 3))


def test_what_follows_a_periodic_embedding_is_periodic():
    model = lux.Chain(lux.PeriodicEmbedding((1,), (0.25,)), lux.Dense(4, 5, jnp.tanh), lux.Dense(5, 1))
    ps, st = setup(model)
    x = array(6, 3)
    moved = x + jnp.asarray([[0.0, 0.25 * 4096, 0.0]])
    close(model(moved, ps, st)[0], model(x, ps, st)[0], rtol=1e-9)
    assert np.max(np.abs(model(x + 0.1, ps, st)[0] - model(x, ps, st)[0])) > 1e-3


def test_a_periodic_embedding_needs_its_features():
    refused(
        lambda: call(lux.PeriodicEmbedding((0, 3), (1.0, 1.0)), array(2, 3)), ShapeError, "features (0, 3)", "(2, 3)"
    )


def test_random_fourier_features_estimate_a_gaussian_kernel():
    layer = lux.RandomFourierFeatures(3, 4000, scale=0.7)
    ps, st = setup(layer)
    assert ps.vector.size == 0
    x = jax.random.normal(jax.random.key(3), (6, 3))
    y, _ = layer(x, ps, st)
    distances = np.sum((np.asarray(x)[:, None] - np.asarray(x)[None]) ** 2, axis=-1)
    close(np.diag(y @ y.T), np.ones(6))
    close(y @ y.T, np.exp(-0.49 * distances / 2), rtol=0, atol=5 / math.sqrt(2 * 4000))
    angles = np.asarray(x) @ np.asarray(st.frequencies)
    close(y, np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / math.sqrt(4000), atol=1e-12)


# Positions


def test_a_sinusoidal_embedding_has_the_formula_of_the_paper():
    x = np.array([[0.0, 1.0], [17.0, 2.5]])
    y = np.asarray(call(lux.SinusoidalEmbedding(6, max_period=100.0), jnp.asarray(x)))
    for i in range(3):
        close(y[..., i], np.sin(x / 100.0 ** (2 * i / 6)))
        close(y[..., 3 + i], np.cos(x / 100.0 ** (2 * i / 6)))
    integers = call(lux.SinusoidalEmbedding(6, max_period=100.0), jnp.array([17, 0]))
    close(integers, y[[1, 0], [0, 0]])
    assert call(lux.SinusoidalEmbedding(2), jnp.float64(3.0)).shape == (2,)


def test_positions_are_exact_in_half_precision_too():
    layer = lux.SinusoidalEmbedding(4)
    half = call(layer, jnp.asarray(250.0, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    close(half.astype(float), call(layer, jnp.asarray(250.0)), rtol=0, atol=4e-3)


def test_a_positional_encoding_adds_the_embedding_of_the_position():
    x = array(2, 5, 4)
    expected = np.asarray(x) + np.asarray(call(lux.SinusoidalEmbedding(4), jnp.arange(5)))
    close(call(lux.PositionalEncoding(4), x), expected)
    refused(lambda: call(lux.PositionalEncoding(4), array(2, 5, 3)), ShapeError, "(..., length, 4)", "(2, 5, 3)")


@pytest.mark.usefixtures("unchecked")
def test_a_positional_encoding_needs_a_sequence():
    refused(lambda: call(lux.PositionalEncoding(4), array(4)), ShapeError, "(..., length, 4)", "(4,)")


def rotated(x, position, max_period=10000.0):
    """One head, as complex numbers."""
    half = x.shape[-1] // 2
    angles = position * max_period ** (-np.arange(half) / half)
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag], axis=-1)


def test_a_rotary_embedding_turns_pairs():
    x = np.asarray(array(2, 5, 3, 4))
    y = call(lux.RotaryEmbedding(4, max_period=50.0), jnp.asarray(x))
    for t in range(5):
        close(y[:, t], rotated(x[:, t], t, 50.0))
    close(lux.rotary_embedding(jnp.asarray(x), max_period=50.0), y)


def test_scalar_products_after_a_rotary_embedding_depend_on_differences_of_positions():
    q, k = array(1, 1, 6), array(2, 1, 6)[1:]

    def product(i, j):
        return jnp.sum(lux.rotary_embedding(q, jnp.array([i])) * lux.rotary_embedding(k, jnp.array([j])))

    close(product(3, 1), product(12, 10))
    close(product(0, 0), jnp.sum(q * k))
    assert abs(product(3, 1) - product(3, 2)) > 1e-3


def test_a_rotary_embedding_takes_positions():
    layer, x = lux.RotaryEmbedding(4), array(2, 3, 2, 4)
    close(call(layer, (x, jnp.arange(3))), call(layer, x))
    close(call(layer, (x, jnp.array([0.0, 1.0, 2.0]))), call(layer, x))
    shifted = jnp.array([[0, 1, 2], [7, 8, 9]])
    close(call(layer, (x, shifted))[1, 2], rotated(np.asarray(x[1, 2]), 9))
    for x, positions, message in [
        (array(2, 3, 2, 5), None, "(..., length, heads, 4), got an input of shape (2, 3, 2, 5)"),
        (array(3, 4), None, "got an input of shape (3, 4)"),
        (
            array(2, 3, 2, 4),
            jnp.arange(4),
            "positions of shape (3,) or (2, 3) beside an input of shape (2, 3, 2, 4), got (4,)",
        ),
    ]:
        refused(lambda: call(layer, x if positions is None else (x, positions)), ShapeError, message)  # noqa: B023
