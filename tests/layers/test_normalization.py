"""Normalizing layers: careful statistics, identities between them, running statistics, refusals. PyTorch: `torch_oracle/`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, refused, setup

import sciml_lux as lux

NORMS = [
    pytest.param(lux.BatchNorm(4), (0, 1, 2), id="BatchNorm"),
    pytest.param(lux.LayerNorm(4), (3,), id="LayerNorm"),
    pytest.param(lux.LayerNorm((5, 4)), (2, 3), id="LayerNorm of two axes"),
    pytest.param(lux.GroupNorm(4, 1, 2), (1, 2, 3), id="GroupNorm"),
    pytest.param(lux.InstanceNorm(4, 2), (1, 2), id="InstanceNorm"),
]


def call(layer, x, dtype=None):
    ps, st = setup(layer, dtype=x.dtype if dtype is None else dtype)
    return layer(x, ps, st)


def formula(x, axes, epsilon=1e-5):
    x = np.asarray(x, np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).standard_normal((6, 3, 5, 4)))


# Statistics


@pytest.mark.parametrize(("layer", "axes"), NORMS)
@pytest.mark.parametrize("offset", [1e4, -3e5])
def test_numbers_far_from_zero_keep_their_variance(layer, axes, offset, x):
    far = (x + offset).astype(jnp.float32)  # a millionth of the mean, and less
    y, _ = call(layer, far)
    np.testing.assert_allclose(y, formula(far, axes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("layer", "axes"), NORMS)
def test_statistics_of_halves_are_taken_in_float32(layer, axes, x):
    many = jnp.tile(3.0 + x, (20, 1, 1, 1)).astype(jnp.bfloat16)
    y, _ = call(layer, many)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(float), formula(many.astype(float), axes), rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize(("layer", "axes"), NORMS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e10])
def test_equal_numbers_become_zero_with_finite_gradients(layer, axes, value):
    x = jnp.full((2, 3, 5, 4), value, jnp.float32)
    ps, st = setup(layer, dtype=jnp.float32)
    loss = jax.jit(jax.value_and_grad(lambda x: jnp.sum(layer(x, ps, st)[0] ** 2)))
    y, gradient = loss(x)
    assert jnp.isfinite(y)
    assert jnp.all(jnp.isfinite(gradient))
    assert loss(jnp.zeros_like(x))[0] == 0.0


def test_rms_norm_is_its_formula(x):
    layer = lux.RMSNorm((5, 4), epsilon=1e-3)
    ps, st = setup(layer)
    ps = ps.replace(jnp.arange(20.0))
    y, _ = layer(x, ps, st)
    square = np.mean(np.asarray(x) ** 2, (-2, -1), keepdims=True)
    np.testing.assert_allclose(y, x / np.sqrt(square + 1e-3) * np.arange(20.0).reshape(1, 1, 5, 4), rtol=1e-12)


def test_normalized_twice_is_normalized_once(x):
    layer = lux.LayerNorm(4, epsilon=1e-12)
    once, _ = call(layer, x)
    np.testing.assert_allclose(call(layer, once)[0], once, rtol=1e-9)


def test_scale_and_shift_of_the_input_do_not_matter(x):
    layer = lux.BatchNorm(4, epsilon=1e-12)
    np.testing.assert_allclose(call(layer, 3.0 * x - 7.0)[0], call(layer, x)[0], rtol=1e-9)


def test_instance_and_layer_norm_are_group_norms(x):
    groups = [lux.GroupNorm(4, number, dimensions) for number, dimensions in ((4, 2), (1, 0), (1, 2))]
    others = [lux.InstanceNorm(4, 2), lux.LayerNorm(4), lux.LayerNorm((3, 5, 4))]
    for ours, other in zip(groups, others, strict=True):
        np.testing.assert_allclose(call(ours, x)[0], call(other, x)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layer", [lux.GroupNorm(4, 2, 1), lux.InstanceNorm(4, 1), lux.LayerNorm((5, 4))])
def test_any_number_of_batch_axes_leads(layer, x):
    many, _ = call(layer, x)
    flat, _ = call(layer, x.reshape(18, 5, 4))
    one, _ = call(layer, x[1, 2])
    np.testing.assert_allclose(many, flat.reshape(x.shape), rtol=1e-12)
    np.testing.assert_allclose(many[1, 2], one, rtol=1e-12)


def test_no_samples_are_no_trouble_where_none_are_needed():
    for layer in (lux.LayerNorm(4), lux.RMSNorm(4), lux.GroupNorm(4, 2, 1), lux.InstanceNorm(4, 1)):
        assert call(layer, jnp.zeros((0, 3, 4)))[0].shape == (0, 3, 4)
    layer = lux.BatchNorm(4)
    ps, st = setup(layer)
    assert layer(jnp.zeros((0, 4)), ps, lux.test_mode(st))[0].shape == (0, 4)
    assert layer(jnp.ones((1, 4)), ps, lux.test_mode(st))[0].shape == (1, 4)


# Running statistics


@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0])
def test_running_statistics_approach_those_of_one_batch_geometrically(momentum, x):
    layer = lux.BatchNorm(4, momentum=momentum)
    ps, st = setup(layer)
    for _ in range(3):
        _, st = layer(x, ps, st)
    rest = (1.0 - momentum) ** 3
    np.testing.assert_allclose(st.running_mean, (1 - rest) * np.mean(x, (0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(st.running_var, (1 - rest) * np.var(x, (0, 1, 2), ddof=1) + rest, rtol=1e-12)


def test_the_test_mode_uses_the_running_statistics_and_keeps_them(x):
    layer = lux.BatchNorm(4)
    ps, st = setup(layer)
    st = lux.test_mode(st.set("running_mean", jnp.arange(4.0)).set("running_var", jnp.arange(1.0, 5.0)))
    y, after = layer(x, ps, st)
    np.testing.assert_allclose(y, (np.asarray(x) - np.arange(4.0)) / np.sqrt(np.arange(1.0, 5.0) + 1e-5), rtol=1e-12)
    assert bits(after) == bits(st)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
@pytest.mark.parametrize("layer", [lux.BatchNorm(4), lux.InstanceNorm(4, 2, affine=True, track_running_stats=True)])
def test_the_state_keeps_its_dtype_beside_any_parameters(layer, dtype, x):
    ps, st = setup(layer, dtype=dtype)
    for state in (st, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), st)):
        for mode in (lux.train_mode(state), lux.test_mode(state)):
            y, after = layer(x.astype(dtype), ps, mode)
            assert y.dtype == dtype
            assert after.running_mean.dtype == state.running_mean.dtype
            assert after.running_var.dtype == state.running_var.dtype


def test_each_mapped_batch_has_its_own_statistics(x):
    layer = lux.BatchNorm(4)
    ps, st = setup(layer)
    ys, states = jax.vmap(lambda x: layer(x, ps, st))(x)
    for i, batch in enumerate(x):
        y, state = layer(batch, ps, st)
        np.testing.assert_allclose(ys[i], y, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(states.running_var[i], state.running_var, rtol=1e-12)


def test_no_gradient_reaches_back_through_the_running_statistics(x):
    layer = lux.BatchNorm(4)
    ps, st = setup(layer)

    def later(x):
        _, after = layer(x, ps, st)
        return jnp.sum(layer(jnp.ones((1, 4)), ps, lux.test_mode(after))[0])

    np.testing.assert_array_equal(jax.grad(later)(x), 0.0)


# Refusals


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.BatchNorm(0), ["BatchNorm", "features", "got 0"]),
        (lambda: lux.BatchNorm("4"), ["features", "'4'"]),
        (lambda: lux.BatchNorm(4, momentum=1.5), ["momentum", "1.5"]),
        (lambda: lux.BatchNorm(4, momentum=None), ["momentum", "None"]),
        (lambda: lux.BatchNorm(4, epsilon=0.0), ["epsilon", "positive", "0.0"]),
        (lambda: lux.BatchNorm(4, epsilon=float("nan")), ["epsilon", "nan"]),
        (lambda: lux.BatchNorm(4, affine="yes"), ["affine", "'yes'"]),
        (lambda: lux.BatchNorm(4, track_running_stats=1), ["track_running_stats", "got 1"]),
        (lambda: lux.BatchNorm(4, "relu"), ["activation", "'relu'"]),
        (lambda: lux.LayerNorm(-1), ["LayerNorm", "shape", "-1"]),
        (lambda: lux.LayerNorm(()), ["shape", "()"]),
        (lambda: lux.LayerNorm((3, 2.0)), ["shape", "2.0"]),
        (lambda: lux.LayerNorm(3, epsilon="tiny"), ["epsilon", "'tiny'"]),
        (lambda: lux.RMSNorm(3, epsilon=-1e-5), ["RMSNorm", "epsilon"]),
        (lambda: lux.GroupNorm(6, 4, 2), ["GroupNorm", "groups=4", "features=6"]),
        (lambda: lux.GroupNorm(6, 0, 2), ["groups", "got 0"]),
        (lambda: lux.GroupNorm(6, 2, -1), ["dimensions", "-1"]),
        (lambda: lux.InstanceNorm(6, 0), ["InstanceNorm", "dimensions", "got 0"]),
        (lambda: lux.InstanceNorm(6, 2, use_bias=None), ["use_bias", "None"]),
    ],
)
def test_arguments_that_cannot_be_are_refused(make, parts, unchecked):
    refused(make, lux.LayerError, *parts)


@pytest.mark.parametrize(
    ("layer", "shape", "parts"),
    [
        (lux.BatchNorm(4), (3, 5), ["4 features", "(3, 5)"]),
        (lux.BatchNorm(4), (1, 4), ["at least 2 samples", "(1, 4)", "has 1", "test_mode"]),
        (lux.BatchNorm(4), (4,), ["at least 2 samples", "(4,)"]),
        (lux.BatchNorm(4), (0, 4), ["at least 2 samples", "has 0"]),
        (lux.BatchNorm(4), (2, 0, 4), ["has 0"]),
        (lux.LayerNorm(4), (3, 5), ["last axes of shape (4,)", "(3, 5)"]),
        (lux.LayerNorm((2, 4)), (4,), ["(2, 4)", "(4,)"]),
        (lux.LayerNorm(4), (), ["(4,)", "()"]),
        (lux.RMSNorm(4), (4, 3), ["RMSNorm", "(4, 3)"]),
        (lux.GroupNorm(4, 2, 2), (3, 4), ["2 axes of space", "(3, 4)"]),
        (lux.GroupNorm(4, 4, 1), (3, 1, 4), ["at least 2 numbers", "(3, 1, 4)"]),
        (lux.GroupNorm(4, 2, 1), (3, 0, 4), ["at least 2 numbers"]),
        (lux.InstanceNorm(4, 2), (3, 1, 1, 4), ["at least 2 numbers", "(3, 1, 1, 4)"]),
        (lux.InstanceNorm(4, 1, track_running_stats=True), (0, 3, 4), ["empty batch"]),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_the_path(layer, shape, parts):
    model = lux.Chain(norm=layer)
    ps, st = setup(model)
    refused(lambda: model(jnp.ones(shape), ps, st), lux.ShapeError, "in layer norm", *parts)
    refused(lambda: jax.jit(model)(jnp.ones(shape), ps, st), lux.ShapeError, "in layer norm", *parts)
