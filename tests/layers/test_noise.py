"""Layers that are random in train mode: expectation and variance, what is exact, keys, refusals."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError

MANY = 200_000
KEPT_ALONG = [lux.Dropout, lux.VariationalDropout]
EVERY = [lux.Dropout(0.5), lux.AlphaDropout(0.5), lux.VariationalDropout(0.5), lux.GaussianNoise(0.5)]

every_layer = pytest.mark.parametrize("layer", EVERY, ids=lambda layer: type(layer).__name__)


def call(layer, x):
    return layer(x, *setup(layer))[0]


def assert_moments(y, mean, variance, fourth):
    """Mean and variance of many numbers, within five standard errors; `fourth`: their central moment, or a bound on it."""
    assert abs(np.mean(y) - mean) < 5 * math.sqrt(variance / y.size)
    assert abs(np.var(y) - variance) < 5 * math.sqrt(fourth / y.size)


# Expectation and variance


@pytest.mark.parametrize("kind", KEPT_ALONG)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_adds_the_known_variance(kind, p):
    y = np.asarray(call(kind(p), jnp.full((MANY,), 3.0)))
    assert set(np.unique(y).tolist()) == {0.0, 3.0 * (1.0 / (1.0 - p))}
    scale = 3.0 / (1.0 - p)
    fourth = scale**4 * p * (1 - p) * (1 - 3 * p * (1 - p))
    assert_moments(y, 3.0, 9.0 * p / (1.0 - p), fourth)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_alpha_dropout_keeps_normal_numbers_normalized(p):
    x = jax.random.normal(jax.random.key(1), (MANY,))
    y = np.asarray(call(lux.AlphaDropout(p), x))
    assert_moments(y, 0.0, 1.0, float(np.mean(y**4)))


def test_alpha_dropout_drops_to_the_lower_limit_of_selu():
    limit = float(jax.nn.selu(-1e9))
    a = (0.8 * (1 + 0.2 * limit**2)) ** -0.5
    x = jax.random.normal(jax.random.key(1), (1000,))
    y = np.asarray(call(lux.AlphaDropout(0.2), x))
    unscaled = (y + a * 0.2 * limit) / a
    dropped = np.isclose(unscaled, limit, rtol=1e-6)
    assert 150 < np.sum(dropped) < 250
    np.testing.assert_allclose(unscaled[~dropped], x[~dropped], rtol=1e-6, atol=1e-7)


def test_gaussian_noise_has_its_standard_deviation():
    y = np.asarray(call(lux.GaussianNoise(0.3), jnp.full((MANY,), 2.0)))
    assert_moments(y, 2.0, 0.09, 3 * 0.3**4)


# What is exact


@pytest.mark.parametrize("kind", [*KEPT_ALONG, lux.AlphaDropout, lux.GaussianNoise])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_no_noise_changes_no_bit(kind, dtype):
    x = jnp.array([1.5, -0.1, 1e-30, 1e30, jnp.inf], dtype)
    assert bits(call(kind(0.0), x)) == bits(x)


@pytest.mark.parametrize("kind", [*KEPT_ALONG, lux.AlphaDropout])
def test_all_noise_leaves_zero_and_no_gradient(kind):
    layer = kind(1.0)
    ps, st = setup(layer)
    x = jnp.array([1.5, -1e300, jnp.inf, jnp.nan])
    assert bits(layer(x, ps, st)[0]) == bits(jnp.zeros(4))
    gradient = jax.grad(lambda x: jnp.sum(layer(x, ps, st)[0]))(x)
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("kind", KEPT_ALONG)
def test_the_gradient_is_that_of_what_is_kept(kind):
    layer = kind(0.25)
    ps, st = setup(layer)
    x = jnp.ones((50,))
    y, pullback = jax.vjp(lambda x: layer(x, ps, st)[0], x)
    np.testing.assert_array_equal(pullback(jnp.ones(50))[0], y)
    assert 0 < jnp.sum(y == 0) < 50


@every_layer
def test_in_test_mode_nothing_happens(layer):
    ps, st = setup(layer)
    st = lux.test_mode(st)
    x = jnp.array([1.0, jnp.nan])
    y, after = layer(x, ps, st)
    assert bits(y) == bits(x)
    assert bits(after) == bits(st)


# Axes along which a mask is shared


@pytest.mark.parametrize("kind", KEPT_ALONG)
@pytest.mark.parametrize(("axes", "shape"), [((-3, -2), (8, 1, 1, 9)), ((0,), (1, 3, 4, 9)), ((1, -3), (8, 1, 4, 9))])
def test_numbers_along_shared_axes_are_kept_or_dropped_as_one(kind, axes, shape):
    y = call(kind(0.5, axes), jnp.ones((8, 3, 4, 9)))
    first = y[tuple(slice(size) for size in shape)]
    np.testing.assert_array_equal(y, jnp.broadcast_to(first, y.shape))
    assert 0.2 < jnp.mean(first == 0) < 0.8
    for axis, size in enumerate(shape):  # and not along the others
        assert size == 1 or not jnp.all(first == jnp.take(first, jnp.array([0]), axis))


# Keys


@every_layer
def test_the_key_alone_decides(layer):
    ps, st = setup(layer)
    x = jnp.ones((30,))
    y, after = layer(x, ps, st)
    again, _ = jax.jit(layer)(x, ps, st)
    np.testing.assert_allclose(y, again, rtol=1e-12)
    if isinstance(layer, lux.VariationalDropout):
        return
    assert not jnp.array_equal(layer(x, ps, after)[0], y)
    assert after.key != st.key


@every_layer
def test_a_mapped_key_gives_each_sample_its_own_noise(layer):
    ps, st = lux.setup_batch(jax.random.key(0), layer, 3)
    x = jnp.ones((3, 30))
    y, _ = jax.vmap(layer)(x, ps, st)
    assert not jnp.array_equal(y[0], y[1])
    for i in range(3):
        own = jax.tree.map(lambda leaf: leaf[i], st)  # noqa: B023
        np.testing.assert_allclose(y[i], layer(x[i], lux.flatten.pick(ps, i), own)[0], rtol=1e-12)


@pytest.mark.parametrize("kind", [*KEPT_ALONG, lux.AlphaDropout])
def test_a_key_gives_one_mask_in_every_precision(kind):
    layer = kind(0.5)
    dropped = [call(layer, jnp.full((100,), 8.0, dtype)) > 7.9 for dtype in (jnp.float32, jnp.float64, jnp.bfloat16)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    np.testing.assert_array_equal(dropped[0], dropped[2])


# The mask that stays


def test_the_mask_stays_until_asked_to_change():
    layer = lux.VariationalDropout(0.5)
    ps, st = setup(layer)
    x = jnp.ones((40,))
    first, st = layer(x, ps, st)
    second, st = jax.jit(layer)(x, ps, st)
    np.testing.assert_array_equal(first, second)
    st = lux.update_state(st, "update_mask", True)
    third, after = jax.jit(layer)(x, ps, st)
    assert not jnp.array_equal(third, first)
    assert not after.update_mask
    fourth, _ = layer(x, ps, after)
    np.testing.assert_array_equal(fourth, third)


def test_a_test_between_leaves_the_request_for_a_new_mask():
    layer = lux.VariationalDropout(0.5)
    ps, st = setup(layer)
    st = lux.update_state(st, "update_mask", True)
    _, after = layer(jnp.ones(4), ps, lux.test_mode(st))
    assert after.update_mask is True


def test_masks_asked_for_in_a_compiled_loop_differ_from_step_to_step():
    layer = lux.VariationalDropout(0.5)
    ps, st = setup(layer)

    def step(st, _):
        y, st = layer(jnp.ones(40), ps, lux.update_state(st, "update_mask", jnp.ones((), bool)))
        again, st = layer(jnp.ones(40), ps, st)
        return st, (y, again)

    _, (first, second) = jax.lax.scan(step, st, length=5)
    np.testing.assert_array_equal(first, second)
    assert len({row.tobytes() for row in np.asarray(first)}) == 5


@pytest.mark.parametrize("ask", [False, True])
def test_a_solver_sees_one_mask_all_along(ask):
    # dy/dt = mask * 2: with one mask, y(1) is 0 or 2 exactly; with several, something between.
    node = lux.NeuralODE(lux.Chain(lambda y: jnp.ones_like(y), lux.VariationalDropout(0.5)))
    ps, st = setup(node)
    st = lux.update_state(st, "update_mask", jnp.array(ask))
    y, after = node(jnp.zeros(40), ps, st)
    np.testing.assert_allclose(np.minimum(abs(y), abs(y - 2.0)), 0.0, atol=1e-12)
    assert 0 < jnp.sum(y > 1.0) < 40
    np.testing.assert_array_equal(node(jnp.zeros(40), ps, after)[0], y)
    before, _ = node(jnp.zeros(40), ps, lux.update_state(st, "update_mask", jnp.array(False)))
    assert jnp.array_equal(before, y) != ask


# Refusals


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.Dropout(1.5), ["Dropout", "p is a number from 0", "1.5"]),
        (lambda: lux.Dropout(-0.1), ["-0.1"]),
        (lambda: lux.Dropout("half"), ["'half'"]),
        (lambda: lux.Dropout(float("nan")), ["nan"]),
        (lambda: lux.Dropout(True), ["True"]),
        (lambda: lux.Dropout(0.5, 1), ["broadcast_axes", "got 1"]),
        (lambda: lux.Dropout(0.5, (1.0,)), ["broadcast_axes", "1.0"]),
        (lambda: lux.VariationalDropout(2), ["VariationalDropout", "got 2"]),
        (lambda: lux.AlphaDropout(None), ["AlphaDropout", "None"]),
        (lambda: lux.GaussianNoise(-1.0), ["GaussianNoise", "-1.0"]),
        (lambda: lux.GaussianNoise(float("inf")), ["inf"]),
        (lambda: lux.GaussianNoise("loud"), ["'loud'"]),
    ],
)
def test_arguments_that_cannot_be_are_refused(make, parts, unchecked):
    refused(make, LayerError, *parts)


@pytest.mark.parametrize("kind", KEPT_ALONG)
def test_an_input_without_the_shared_axes_is_refused(kind):
    model = lux.Chain(drop=kind(0.5, (-3, -2)))
    ps, st = setup(model)
    for mode in (st, lux.test_mode(st)):
        refused(lambda: model(jnp.ones((2, 3)), ps, mode), ShapeError, "(-3, -2)", "(2, 3)", "in layer drop")  # noqa: B023


@every_layer
def test_an_empty_input_is_no_trouble(layer):
    assert call(layer, jnp.zeros((0, 3))).shape == (0, 3)
