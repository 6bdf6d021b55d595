"""The initializers, against their formulas; the gains of the activations, by quadrature."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import refused

import sciml_lux as lux
from sciml_lux.layers import activations

init = lux.init

# Spread


@pytest.mark.parametrize(
    ("initializer", "shape", "mean", "variance"),
    [
        (init.uniform(), (60000,), 0.5, 1 / 12),
        (init.uniform(lower=-3.0, upper=1.0), (200, 300), -1.0, 16 / 12),
        (init.normal(), (200, 300), 0, 0.01**2),
        (init.normal(std=2.0, mean=-5.0), (60000,), -5, 4.0),
        (init.truncated_normal(), (200, 300), 0, 0.01**2),
        (init.truncated_normal(std=2.0, mean=3.0, lower=-1.0, upper=3.0), (200, 300), 3, 4.0),
        (init.truncated_normal(std=1.0, lower=1.0, upper=1.5), (200, 300), 0, 1.0),
        (init.sparse(0.25, std=2.0), (200, 300), 0, 0.75 * 4),
        (init.sparse(0.5, std=1.0), (3, 67, 300), 0, 1 - 101 / 201),
        (init.orthogonal(), (200, 300), 0, 1 / 300),
        (init.orthogonal(gain=3.0), (3, 100, 200), 0, 9 / 300),
        (init.glorot_uniform(), (200, 300), 0, 2 / 500),
        (init.glorot_uniform(gain=3.0), (200, 300), 0, 9 * 2 / 500),
        (init.glorot_normal(), (200, 300), 0, 2 / 500),
        (init.glorot_normal(gain=0.5), (3, 5, 40, 100), 0, 0.25 * 2 / (15 * 140)),
        (init.kaiming_uniform(), (200, 300), 0, 2 / 200),
        (init.kaiming_uniform(gain=1.0), (5, 40, 300), 0, 1 / 200),
        (init.kaiming_uniform(mode="fan_out"), (5, 40, 300), 0, 2 / 1500),
        (init.kaiming_normal(), (200, 300), 0, 2 / 200),
        (init.kaiming_normal(gain=5 / 3, mode="fan_avg"), (200, 300), 0, 25 / 9 / 250),
        (init.lecun_uniform(), (200, 300), 0, 1 / 200),
        (init.lecun_normal(gain=2.0), (2, 100, 300), 0, 4 / 200),
    ],
    ids=lambda value: repr(value).replace("init.", ""),
)
def test_an_initializer_has_the_mean_and_variance_of_its_formula(initializer, shape, mean, variance, key):
    sample = np.asarray(initializer(key, shape)).reshape(-1)
    assert sample.dtype == np.float64
    # Five standard errors of the mean and of the variance of a normal sample; a sparse one has the kurtosis 3 / (kept share).
    kurtosis = 3 / (variance / initializer.std**2) if isinstance(initializer, init.sparse) else 3
    assert abs(sample.mean() - mean) < 5 * math.sqrt(variance / sample.size)
    assert abs(sample.var() / variance - 1) < 5 * math.sqrt((kurtosis - 1) / sample.size)
    far = np.max(np.abs(sample - mean))
    if "uniform" in type(initializer).__name__:
        assert far <= math.sqrt(3 * variance)
    elif type(initializer).__name__.endswith("_normal") and "truncated" not in type(initializer).__name__:
        assert far > 3 * math.sqrt(variance)


@pytest.mark.parametrize(("lower", "upper"), [(-2.0, 2.0), (-1.0, 3.0), (0.0, 0.5)])
def test_a_truncated_normal_is_one(lower, upper, key):
    sample = np.asarray(init.truncated_normal(std=1.0, lower=lower, upper=upper)(key, (4000,)))
    reference = scipy.stats.truncnorm(lower, upper)
    shifted = sample * reference.std() + reference.mean()
    assert lower <= shifted.min() + 1e-9
    assert shifted.max() <= upper + 1e-9
    assert scipy.stats.kstest(shifted, reference.cdf).pvalue > 1e-3


# Exact properties


def test_constants(key):
    np.testing.assert_array_equal(init.zeros()(key, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(init.ones()(key, (2, 3)), np.ones((2, 3)))
    np.testing.assert_array_equal(init.constant(-2.0)(key, (2,)), [-2.0, -2.0])
    assert init.constant(-2.0)(key, ()).dtype == np.float64


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (2, 3, 4), (3, 3, 2, 40), (1, 6), (0, 3), (3, 0)])
def test_orthogonal_weights_are_orthonormal(shape, key):
    matrix = np.asarray(init.orthogonal(gain=2.0)(key, shape)).reshape(math.prod(shape[:-1]), shape[-1])
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    np.testing.assert_allclose(matrix.T @ matrix, 4 * np.eye(matrix.shape[1]), atol=1e-12)


def test_orthogonal_weights_are_uniform(key):
    angles = jax.vmap(lambda key: init.orthogonal()(key, (2, 2))[0, 0])(jax.random.split(key, 2000))
    # The first entry of a rotation by a uniform angle; without the signs of R, it would never be positive.
    assert scipy.stats.kstest(np.arccos(np.asarray(angles)) / np.pi, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("shape", "zeros"), [((10, 7), 3), ((2, 5, 7), 3), ((1, 4), 1)])
def test_each_output_of_a_sparse_weight_has_the_same_number_of_zeros(shape, zeros, key):
    weight = np.asarray(init.sparse(0.3)(key, shape)).reshape(-1, shape[-1])
    np.testing.assert_array_equal(np.sum(weight == 0, axis=0), zeros)
    assert len({tuple(column) for column in (weight == 0).T}) > 1 or zeros == len(weight)


@pytest.mark.parametrize(("shape", "expected"), [((3, 3), np.eye(3)), ((2, 4), np.eye(2, 4)), ((4, 2), np.eye(4, 2))])
def test_an_identity_is_one(shape, expected, key):
    np.testing.assert_array_equal(init.identity()(key, shape), expected)
    np.testing.assert_array_equal(init.identity(gain=3.0)(key, shape), 3 * expected)


@pytest.mark.parametrize("window", [(3,), (4,), (5, 2), (1, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_with_an_identity_returns_its_input(window, groups, key):
    x = jax.random.normal(key, (2, *[6] * len(window), 4))
    weight = init.identity(groups=groups)(key, (*window, 4 // groups, 4))
    letters = "HW"[: len(window)]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    ones = (1,) * len(window)
    y = jax.lax.conv_general_dilated(x, weight, ones, "SAME", dimension_numbers=numbers, feature_group_count=groups)
    np.testing.assert_allclose(y, x, rtol=1e-15)


def test_an_identity_within_groups_is_dirac_of_torch(key):
    # torch.nn.init.dirac_(torch.empty(4, 2, 3), groups=2), its axes in our order
    expected = np.zeros((3, 2, 4))
    expected[1] = [[1, 0, 1, 0], [0, 1, 0, 1]]
    np.testing.assert_array_equal(init.identity(groups=2)(key, (3, 2, 4)), expected)


def test_fans_multiply_the_window():
    assert init.fans((3, 5)) == (3, 5)
    assert init.fans((2, 7, 3, 5)) == (42, 70)


# Gains


def torch_table():
    return {
        None: 1.0,
        jax.nn.sigmoid: 1.0,
        jnp.tanh: 5 / 3,
        jax.nn.tanh: 5 / 3,
        jax.nn.relu: math.sqrt(2),
        jax.nn.leaky_relu: math.sqrt(2 / (1 + 0.01**2)),
        jax.nn.selu: 3 / 4,
    }


def test_gains_are_those_of_torch():
    assert {activation: init.gain(activation) for activation in torch_table()} == torch_table()
    assert init.gain(jax.nn.leaky_relu, negative_slope=0.2) == math.sqrt(2 / 1.04)
    assert init.gain(test_constants) == 1.0


@pytest.mark.parametrize(
    "activation",
    [f for f in [*vars(activations).values(), jnp.sin, jnp.cos] if callable(f) and f not in torch_table()],
    ids=lambda f: f.__name__,
)
def test_other_gains_keep_the_mean_square(activation):
    if activation in (activations.glu, activations.softmax, activations.log_softmax):
        assert init.gain(activation) == 1.0  # they act on an axis, not on numbers
        return
    z, step = np.linspace(-12, 12, 480_000, retstep=True)
    mean_square = (
        np.sum(np.asarray(activation(jnp.asarray(z))) ** 2 * np.exp(-(z**2) / 2)) * step / math.sqrt(2 * math.pi)
    )
    np.testing.assert_allclose(init.gain(activation), 1 / math.sqrt(mean_square), rtol=1e-6)


def test_the_table_of_the_activations_shows_their_gains():
    rows = re.findall(r"^    (\w+)  .* ([\d.]+)(\*?)$", activations.__doc__, re.MULTILINE)
    elementwise = {name for name, f in vars(activations).items() if callable(f)} - {"glu", "softmax", "log_softmax"}
    assert {name for name, _, _ in rows} == elementwise
    for name, gain, star in rows:
        activation = getattr(activations, name)
        assert f"{init.gain(activation):.4f}" == gain
        assert bool(star) == (activation in torch_table())


def test_the_right_gain_keeps_a_signal_through_many_layers(key):
    x = jax.random.normal(key, (20, 300))
    start = init.kaiming_normal(gain=init.gain(jax.nn.relu))
    for i in range(10):
        x = jax.nn.relu(x @ start(jax.random.fold_in(key, i), (300, 300)))
    assert 0.3 < float(jnp.mean(x**2)) < 3  # with a gain of 1 it would be a thousand times less


# Values


@pytest.mark.parametrize(
    "text",
    [
        "init.zeros()",
        "init.constant(value=2.0)",
        "init.identity(groups=2)",
        "init.uniform(lower=-1.0)",
        "init.normal(std=2.0)",
        "init.normal()",
        "init.truncated_normal(upper=3.0)",
        "init.orthogonal()",
        "init.orthogonal(gain=2.0)",
        "init.sparse(sparsity=0.1)",
        "init.glorot_normal(gain=2.0)",
        "init.kaiming_uniform()",
        "init.kaiming_normal(gain=1.0, mode='fan_out')",
        "init.lecun_uniform()",
        "init.lecun_normal()",
    ],
)
def test_an_initializer_is_a_value_that_is_shown_as_it_is_written(text, key):
    made = eval(text, vars(lux))
    assert repr(made) == text
    assert made == eval(text, vars(lux))
    assert hash(made) == hash(eval(text, vars(lux)))
    np.testing.assert_array_equal(made(key, (2, 2)), made(key, (2, 2)))
    assert made(key, (0, 2)).shape == (0, 2)


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: init.normal(std=-1.0), "init.normal: std is a number from 0.0 to inf, got -1.0"),
        (lambda: init.normal(std="1"), "init.normal: std is a number, got '1'"),
        (lambda: init.normal(mean=None), "init.normal: mean is a number, got None"),
        (lambda: init.constant(True), "init.constant: value is a number, got True"),
        (lambda: init.uniform(lower=1.0), "init.uniform: lower must be below upper, got 1.0 and 1.0"),
        (lambda: init.uniform(lower="a"), "init.uniform: lower is a number, got 'a'"),
        (lambda: init.truncated_normal(lower=2.0, upper=-2.0), "lower must be below upper"),
        (lambda: init.truncated_normal(upper=math.inf), "upper is a number from -8.0 to 8.0, got inf"),
        (lambda: init.truncated_normal(lower=7.0, upper=8.0), "hardly anything of a normal distribution"),
        (lambda: init.sparse(1.5), "init.sparse: sparsity is a number from 0.0 to 1.0, got 1.5"),
        (lambda: init.sparse(0.5, std=-1.0), "init.sparse: std is a number from 0.0 to inf, got -1.0"),
        (lambda: init.identity(groups=0), "init.identity: groups is a whole number, 1 or more, got 0"),
        (lambda: init.orthogonal(gain="relu"), "init.orthogonal: gain is a number, got 'relu'"),
        (lambda: init.glorot_uniform(gain=jnp.tanh), "init.glorot_uniform: gain is a number, got"),
        (lambda: init.kaiming_normal(mode="fan"), "mode is one of fan_in, fan_out, fan_avg, got 'fan'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_that_cannot_be_are_refused(make, message):
    refused(make, lux.LayerError, message)


@pytest.mark.parametrize(
    "initializer",
    [init.glorot_uniform(), init.kaiming_normal(), init.lecun_uniform(), init.orthogonal(), init.sparse(0.5)],
)
def test_a_vector_is_no_weight(initializer, key):
    refused(lambda: initializer(key, (3,)), lux.ShapeError, "(3,)", "at least two axes, (..., in, out)")


def test_an_identity_needs_groups_that_divide(key):
    refused(lambda: init.identity(groups=2)(key, (2, 3)), lux.ShapeError, "out a multiple of groups, got (2, 3)")
    refused(lambda: init.identity()(key, (3,)), lux.ShapeError, "(..., in, out)")
