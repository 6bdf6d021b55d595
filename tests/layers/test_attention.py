"""Attention beside PyTorch's figures: masks that leave nothing, grouped heads, axes, numbers of few digits; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from members import array

import sciml_lux as lux

attend = lux.scaled_dot_product_attention


def heads(length=3, number=4, features=2, leading=(2,)):
    return array(*leading, length, number, features)


def direct(query, key, value, mask, scale):
    """The formula, head by head and query by query, in NumPy."""
    query, key, value = map(np.asarray, (query, key, value))
    y = np.zeros((*query.shape[:-1], value.shape[-1]))
    share = query.shape[-2] // key.shape[-2]
    for *batch, i, h in np.ndindex(query.shape[:-1]):
        allowed = np.asarray(mask)[(*batch, h, i)]
        if allowed.any():
            scores = scale * key[(*batch, slice(None), h // share)][allowed] @ query[(*batch, i, h)]
            weights = np.exp(scores - scores.max())
            y[(*batch, i, h)] = weights / weights.sum() @ value[(*batch, slice(None), h // share)][allowed]
    return y


@pytest.mark.parametrize("leading", [(), (2,), (2, 1, 3)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_the_formula(leading, groups):
    query, key = heads(leading=leading), heads(5, groups, leading=leading)
    value = jnp.cos(heads(5, groups, 3, leading=leading))
    mask = np.random.default_rng(0).random((*leading, 4, 3, 5)) < 0.5
    mask[..., 1, :] = False  # a query that may look at nothing
    y = attend(query, key, value, jnp.asarray(mask), scale=0.7)
    np.testing.assert_allclose(y, direct(query, key, value, mask, 0.7), rtol=1e-12, atol=1e-14)


def test_grouped_heads_are_repeated_ones():
    query, key, value = heads(), heads(5, 2), jnp.sin(heads(5, 2))
    repeated = (jnp.repeat(x, 2, axis=-2) for x in (key, value))
    np.testing.assert_allclose(attend(query, key, value), attend(query, *repeated), rtol=1e-12)


def test_a_query_that_may_look_at_nothing_gets_zeros_and_no_gradient():
    query, key, value = heads(), heads(), jnp.cos(heads())
    mask = jnp.ones((2, 1, 3, 3), bool).at[0, 0, 1].set(False)

    def total(*inputs):
        return jnp.sum(jnp.sin(attend(*inputs, mask)))

    np.testing.assert_array_equal(attend(query, key, value, mask)[0, 1], 0.0)
    gradients = jax.grad(total, argnums=(0, 1, 2))(query, key, value)
    assert all(jnp.all(jnp.isfinite(gradient)) for gradient in gradients)
    np.testing.assert_array_equal(gradients[0][0, 1], 0.0)


def test_a_query_that_may_look_at_nothing_gets_zeros_whatever_stands_there():
    query, key, value = heads(), heads(), jnp.cos(heads())
    mask = jnp.ones((2, 1, 3, 3), bool).at[0, 0, 1].set(False)
    expected = attend(query, key, value, mask)
    for bad in (jnp.nan, jnp.inf):
        np.testing.assert_array_equal(attend(query.at[0, 1].set(bad), key, value, mask), expected)


def test_what_is_masked_out_does_not_matter():
    query, key, value = heads(), heads(5), jnp.cos(heads(5))
    valid = jnp.array([[True, True, False, True, False], [False, True, True, True, True]])
    mask = valid[:, None, None, :]

    def gradients(key, value):
        return jax.grad(lambda *inputs: jnp.sum(jnp.sin(attend(*inputs, mask))), argnums=(0, 1, 2))(query, key, value)

    garbage = (jnp.where(valid[..., None, None], x, 1e30) for x in (key, value))
    for got, expected in zip(gradients(*garbage), gradients(key, value), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


def test_causal_and_masked_is_both():
    query, key, value = heads(), heads(4), jnp.cos(heads(4))
    mask = np.random.default_rng(1).random((2, 4, 3, 4)) < 0.6
    both = jnp.asarray(mask & np.tri(3, 4, dtype=bool))
    np.testing.assert_allclose(
        attend(query, key, value, jnp.asarray(mask), causal=True), attend(query, key, value, both), rtol=1e-12
    )


def test_a_bias_is_added_to_the_scores_and_masks_where_it_is_infinite():
    query, key, value = heads(), heads(5, 2), jnp.cos(heads(5, 2))
    bias = (
        jnp.asarray(np.random.default_rng(2).standard_normal((2, 4, 3, 5)))
        .at[..., 1, 2:]
        .set(-jnp.inf)
        .at[0, 0, 2]
        .set(-jnp.inf)
    )
    # A bias is one more feature of the queries for each key, where that feature is 1.
    own = jnp.moveaxis(jnp.where(jnp.isinf(bias), 0.0, bias), 1, 2)
    wide = jnp.concatenate([0.7 * query, own], -1)
    keys = jnp.concatenate([key, jnp.broadcast_to(jnp.eye(5)[:, None], (2, 5, 2, 5))], -1)

    def total(bias):
        y = attend(query, key, value, bias=bias, scale=0.7)
        return jnp.sum(jnp.sin(y)), (y, attend(wide, keys, value, ~jnp.isinf(bias), scale=1.0))

    gradient, (y, expected) = jax.jit(jax.grad(total, has_aux=True))(bias)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(y[0, 2, 0], 0.0)
    assert jnp.all(jnp.isfinite(gradient))
    np.testing.assert_array_equal(gradient[jnp.isinf(bias)], 0.0)


@pytest.mark.parametrize(("window", "before", "after"), [(1, 1, 1), ((2, 9), 2, 9), (0, 0, 0)])
def test_a_window_is_a_mask_of_neighbours(window, before, after):
    query, key, value = heads(6), heads(4), jnp.cos(heads(4))  # the last query may see nothing
    difference = np.arange(4) - np.arange(6)[:, None]
    mask = (difference >= -before) & (difference <= after)
    valid = np.random.default_rng(1).random((2, 1, 1, 4)) < 0.7
    expected = direct(query, key, value, np.broadcast_to(mask & valid & (difference <= 0), (2, 4, 6, 4)), 0.5)
    y = jax.jit(lambda mask: attend(query, key, value, mask, causal=True, window=window, scale=0.5))(valid)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)


def test_a_window_without_a_mask_may_leave_nothing():
    y = jax.jit(lambda: attend(heads(6), heads(4), heads(4), window=(0, 1)))()
    assert jnp.all(jnp.isfinite(y))
    np.testing.assert_array_equal(y[:, 4:], 0.0)


@pytest.mark.slow
def test_layers_take_windows_and_biases():
    def alibi(length, key_length):
        return -jnp.abs(jnp.arange(length)[:, None] - jnp.arange(key_length)[None]).astype(float)[None]

    near = lux.MultiHeadAttention(4, 2, window=(1, 0), attention_bias=alibi, dropout=0.2)
    ps, st = setup(near)
    x, st = array(5, 4), lux.test_mode(st)
    jacobian = jax.jit(jax.jacobian(lambda x: near(x, ps, st)[0]))(x)
    reached = np.any(np.asarray(jacobian) != 0, (1, 3))
    np.testing.assert_array_equal(reached, np.tri(5, dtype=bool) & ~np.tri(5, k=-2, dtype=bool))
    training, _ = near(x, ps, lux.train_mode(st))
    assert training.shape == (5, 4)
    other = lux.MultiHeadAttention(4, 2, window=(1, 0))
    assert not np.allclose(near(x, ps, st)[0], other(x, ps, st)[0])


@pytest.mark.parametrize("window", [-1, (1,), (1, -1), 1.5, "all", True])
def test_windows_that_are_none_are_refused(window, unchecked):
    refused(lambda: lux.MultiHeadAttention(4, 2, window=window), lux.LayerError, "window", repr(window), "None")
    refused(lambda: attend(heads(), heads(), heads(), window=window), lux.LayerError, "window", repr(window))


def test_biases_that_do_not_fit_are_refused(unchecked):
    refused(lambda: attend(heads(), heads(), heads(), bias=jnp.ones(2)), lux.ShapeError, "bias", "(2,)")
    refused(lambda: lux.MultiHeadAttention(4, 2, attention_bias=jnp.ones(2)), lux.LuxError, "attention_bias")


def test_later_positions_do_not_reach_earlier_ones():
    layer = lux.TransformerEncoderBlock(4, 2, causal=True, position=lux.rotary_embedding)
    ps, st = setup(layer)
    jacobian = jax.jacobian(lambda x: layer(x, ps, st)[0])(array(3, 4))
    for i in range(3):
        np.testing.assert_array_equal(jacobian[i, :, i + 1 :], 0.0)
        assert jnp.any(jacobian[i, :, i] != 0)


def test_without_positions_the_order_does_not_matter():
    layer = lux.MultiHeadAttention(4, 2)
    ps, st = setup(layer)
    x = array(3, 4)
    order = jnp.array([2, 0, 1])
    np.testing.assert_allclose(layer(x[order], ps, st)[0], layer(x, ps, st)[0][order], rtol=1e-10)
    rotary = lux.MultiHeadAttention(4, 2, position=lux.rotary_embedding)
    assert not np.allclose(rotary(x[order], ps, st)[0], rotary(x, ps, st)[0][order])


def test_huge_scores_choose_one_key():
    query = jnp.array([1e20, 0.0])[None, None, :]
    key, value = jnp.array([[1.0, 0.0], [2.0, 0.0]])[:, None, :], jnp.array([3.0, 4.0])[:, None, None]
    np.testing.assert_array_equal(attend(query, key, value), 4.0)


def test_no_keys_and_no_queries():
    assert attend(heads(0), heads(3), heads(3)).shape == (2, 0, 4, 2)
    np.testing.assert_array_equal(attend(heads(3), heads(0), heads(0)), jnp.zeros((2, 3, 4, 2)))


def test_weights_of_few_digits_are_computed_in_more():
    # 300 equal keys: a sum in bfloat16, which has 8 bits, would stop at 256.
    query, key = jnp.zeros((1, 1, 8), jnp.bfloat16), jnp.zeros((300, 1, 8), jnp.bfloat16)
    y = attend(query, key, jnp.ones((300, 1, 8), jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), 1.0, atol=1e-2)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="a GPU's fused attention")
@pytest.mark.parametrize("causal", [False, True])
def test_the_fused_one_is_the_plain_one(causal):
    query, key, value = (jax.random.normal(jax.random.key(i), (2, 64, 4, 32), jnp.float32) for i in range(3))

    def total(*inputs):
        return jnp.sum(jnp.sin(attend(*inputs, causal=causal).astype(jnp.float32)))

    expected = jax.grad(total, argnums=(0, 1, 2))(query, key, value)
    halves = (x.astype(jnp.bfloat16) for x in (query, key, value))
    for got, wanted in zip(jax.grad(total, argnums=(0, 1, 2))(*halves), expected, strict=True):
        np.testing.assert_allclose(got.astype(jnp.float32), wanted, atol=0.05)


# Dropout


def test_dropout_acts_in_train_mode_only_and_keeps_the_mean():
    layer, plain = lux.MultiHeadAttention(4, 2, dropout=0.5), lux.MultiHeadAttention(4, 2)
    ps, st = setup(layer)
    x = array(3, 4)
    expected = plain(x, ps, setup(plain)[1])[0]
    np.testing.assert_allclose(layer(x, ps, lux.test_mode(st))[0], expected, rtol=1e-12)
    keys = jax.random.split(jax.random.key(1), 4000)
    many = jax.jit(jax.vmap(lambda key: layer(x, ps, st.set("dropout.key", key))[0]))(keys)
    error = 5 * jnp.std(many, axis=0) / np.sqrt(len(keys))
    assert jnp.all(jnp.std(many, axis=0) > 0)
    assert jnp.all(jnp.abs(jnp.mean(many, axis=0) - expected) < error)


def test_a_block_drops_at_four_places():
    st = setup(lux.TransformerEncoderBlock(4, 2, dropout=0.1))[1]
    places = ["attention.dropout", "attention_dropout", "hidden_dropout", "output_dropout"]
    assert all(f"{place}.key" in st for place in places)
    assert len(jax.tree.leaves(st)) == len(places)


# Patches


def test_patches_are_a_convolution():
    layer = lux.PatchEmbedding(3, 5, (2, 1))
    ps, st = setup(layer)
    ps = ps.replace(ps.vector + 0.1 * array(ps.layout.size))
    x = array(2, 4, 3, 3)
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, ps.weight, (2, 1), "VALID", dimension_numbers=numbers)
    y = y.reshape(2, 6, 5) + ps.bias[None, None]
    np.testing.assert_allclose(layer(x, ps, st)[0], y, rtol=1e-12)


# What is refused


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.MultiHeadAttention(4, 3), ("heads divides features", "3 heads for 4")),
        (lambda: lux.MultiHeadAttention(6, 3, key_value_heads=2), ("key_value_heads divides heads", "2 for 3")),
        (lambda: lux.MultiHeadAttention(4, 0), ("heads", "1 or more")),
        (lambda: lux.MultiHeadAttention(4, 2, dropout=1.5), ("dropout", "1.5")),
        (lambda: lux.MultiHeadAttention(4, 2, position="rotary"), ("position", "lux.rotary_embedding")),
        (lambda: lux.MultiHeadAttention(4, 2, causal="yes"), ("causal", "'yes'")),
        (lambda: lux.TransformerEncoderBlock(4, 3), ("heads divides features",)),
        (lambda: lux.TransformerEncoderBlock(4, 2, activation="gelu"), ("activation", "'gelu'")),
        (lambda: lux.TransformerEncoderBlock(4, 2, -1), ("hidden_features", "-1")),
        (lambda: lux.PatchEmbedding(3, 4, (2, 0)), ("patch_size", "1 or more")),
        (lambda: lux.PatchEmbedding(3, 4, (2, 2, 2)), ("patch_size", "(2, 2, 2)")),
        (lambda: lux.PatchEmbedding("3", 4, 2), ("in_channels", "'3'")),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_it_cannot_be_built(make, parts):
    refused(make, lux.LayerError, *parts)


x = array(2, 3, 4)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (array(2, 3, 5), ("4 features", "(2, 3, 5)")),
        (array(4), ("(..., length, features)",)),
        ((x, jnp.ones((2, 3), bool)), ("(2, 2, 3, 3)", "valid[..., None, None, :]")),
        ((x, jnp.ones((3, 3))), ("boolean", "mask != 0")),
        ((x, x, array(2, 4, 4)), ("do not go together",)),
        ((x, x[:1], x[:1]), ("same leading axes",)),
        ((x,) * 5, ("(query, key, value, mask)", "5 parts")),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_several_heads_refuse_what_does_not_fit(given, parts):
    model = lux.Chain(attention=lux.MultiHeadAttention(4, 2))
    ps, st = setup(model)
    refused(lambda: model(given, ps, st), lux.ShapeError, *parts, "in layer attention")


@pytest.mark.usefixtures("unchecked")
def test_the_function_refuses_heads_that_do_not_divide():
    refused(lambda: attend(heads(), heads(3, 3), heads(3, 3)), lux.ShapeError, "heads", "3 and 4")
    refused(lambda: attend(array(3, 2), array(3, 2), array(3, 2)), lux.ShapeError, "head_features")


@pytest.mark.usefixtures("unchecked")
def test_patches_refuse_images_that_do_not_divide():
    layer = lux.PatchEmbedding(3, 4, 2)
    refused(lambda: layer(array(5, 4, 3), *setup(layer)), lux.ShapeError, "multiples of 2", "(5, 4, 3)")
    refused(lambda: layer(array(4, 4, 1), *setup(layer)), lux.ShapeError, "(4, 4, 1)")
