"""The figures of losses: formulas in NumPy, the examples of Lux.jl's manual, theorems, extremes. PyTorch's: torch_oracle/losses.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import directional_difference
from hypothesis import given, settings
from hypothesis import strategies as st
from members import array

import sciml_lux as lux

losses = lux.losses

# Formulas


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


P, T = np.asarray(array(3, 4)), np.cos(3 * np.asarray(array(3, 4)))
YES_NO, SIGNS = (T > 0).astype(float), np.sign(T)
Q, LABELS = softmax(T), np.array([3, 0, 1])
OWN = np.take_along_axis(softmax(P), LABELS[:, None], 1)[:, 0]

FORMULAS = {
    "log_cosh": (losses.log_cosh, {}, 3 * P, T, np.log(np.cosh(3 * P - T))),
    "quantile": (losses.quantile, {"level": 0.2}, P, T, np.where(T > P, 0.2 * (T - P), 0.8 * (P - T))),
    "squared logarithmic error": (
        losses.squared_logarithmic_error,
        {},
        np.exp(P),
        np.exp(T),
        (np.log(1 + np.exp(P)) - np.log(1 + np.exp(T))) ** 2,
    ),
    "squared logarithmic error near 0": (
        losses.squared_logarithmic_error,
        {"offset": 1e-6},
        np.exp(5 * P),
        np.exp(5 * T),
        np.log((np.exp(5 * P) + 1e-6) / (np.exp(5 * T) + 1e-6)) ** 2,
    ),
    "focal of labels": (losses.focal, {}, P, LABELS, -((1 - OWN) ** 2) * np.log(OWN)),
    "focal": (
        losses.focal,
        {"gamma": 0.5},
        P,
        Q,
        -np.sum(Q * (1 - softmax(P)) ** 0.5 * np.log(softmax(P)), -1),
    ),
    "focal of probabilities": (
        losses.focal,
        {"gamma": 3.0, "logits": False},
        softmax(P),
        LABELS,
        -((1 - OWN) ** 3) * np.log(OWN),
    ),
    "binary focal": (
        losses.binary_focal,
        {"alpha": 0.3},
        P,
        YES_NO,
        -np.where(
            YES_NO == 1,
            0.3 * (1 - sigmoid(P)) ** 2 * np.log(sigmoid(P)),
            0.7 * sigmoid(P) ** 2 * np.log(1 - sigmoid(P)),
        ),
    ),
    "binary cross-entropy, smoothed": (
        losses.binary_cross_entropy,
        {"label_smoothing": 0.2},
        P,
        YES_NO,
        -(0.8 * YES_NO + 0.1) * np.log(sigmoid(P)) - (0.9 - 0.8 * YES_NO) * np.log(1 - sigmoid(P)),
    ),
    "hinge": (losses.hinge, {}, 2 * P, SIGNS, np.maximum(0, 1 - 2 * P * SIGNS)),
    "squared hinge": (losses.squared_hinge, {}, 2 * P, SIGNS, np.maximum(0, 1 - 2 * P * SIGNS) ** 2),
    "dice": (
        losses.dice,
        {"smoothing": 0.1},
        sigmoid(P),
        YES_NO,
        1 - (2 * (sigmoid(P) * YES_NO).sum(1) + 0.1) / ((sigmoid(P) ** 2).sum(1) + (YES_NO**2).sum(1) + 0.1),
    ),
    "dice of channels": (
        losses.dice,
        {"axes": (0,)},
        sigmoid(P),
        YES_NO,
        1 - (2 * (sigmoid(P) * YES_NO).sum(0) + 1) / ((sigmoid(P) ** 2).sum(0) + (YES_NO**2).sum(0) + 1),
    ),
    "Kullback-Leibler": (losses.kl_divergence, {}, P, Q, (Q * np.log(Q / softmax(P))).sum(-1)),
    "Kullback-Leibler of probabilities": (
        losses.kl_divergence,
        {"logits": False},
        softmax(P),
        Q,
        (Q * np.log(Q / softmax(P))).sum(-1),
    ),
    "contrastive": (
        losses.siamese_contrastive,
        {"margin": 0.7},
        np.abs(P),
        YES_NO,
        np.where(YES_NO == 1, np.maximum(0, 0.7 - np.abs(P)) ** 2, P**2),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_it_is_the_formula_and_its_gradient(name):
    loss, options, predictions, targets, expected = FORMULAS[name]
    predictions = jnp.asarray(predictions)
    np.testing.assert_allclose(loss(predictions, targets, agg="none", **options), expected, rtol=1e-11)

    def mean(p):
        return loss(p, targets, **options)

    direction = jnp.cos(jnp.arange(predictions.size, dtype=float)).reshape(predictions.shape)
    difference = directional_difference(mean, predictions, direction)
    np.testing.assert_allclose(jnp.sum(jax.grad(mean)(predictions) * direction), difference, rtol=1e-6, atol=1e-9)


# The examples in Lux.jl's manual; its batch is the last axis.

ONE_HOT = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0]], float).T
MODEL = softmax(np.arange(-7.0, 8.0).reshape(5, 3))
BINARY, BINARY_MODEL = np.array([1.0, 0, 1]), np.array([2, -1, np.pi])
FOCAL, FOCAL_MODEL = np.array([[0, 1, 0], [1, 0, 1]]), np.array([[0.268941, 0.5, 0.268941], [0.731059, 0.5, 0.731059]])
COUNTS = np.array([1.0, 2, 3])
EYE, EVEN = np.eye(2), np.full((2, 2), 0.5)
MACHINE = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (lambda: losses.binary_cross_entropy(BINARY_MODEL, BINARY), 0.160832),
        (lambda: losses.binary_cross_entropy(sigmoid(BINARY_MODEL), BINARY, logits=False), 0.16083185),
        (lambda: losses.binary_focal(np.log(FOCAL_MODEL / (1 - FOCAL_MODEL)), FOCAL), 0.0728675615927385),
        (lambda: losses.cross_entropy(MODEL, ONE_HOT, logits=False), 1.6076053),
        (lambda: losses.cross_entropy(MODEL, ONE_HOT, logits=False, agg="sum"), 5 * 1.6076053),
        (lambda: losses.cross_entropy(MODEL, ONE_HOT, logits=False, label_smoothing=0.15), 1.5776052),
        (lambda: losses.dice(np.array([1.1, 2.1, 3.1]), COUNTS), 0.000992391663909964),
        (lambda: losses.focal(MODEL, ONE_HOT, logits=False), 1.1277556),
        (lambda: losses.hinge(np.array([0.1, 0.3, 1, 1.5]), np.array([1, -1, 1, 1])), 0.55),
        (lambda: losses.squared_hinge(np.array([0.1, 0.3, 1, 1.5]), np.array([1, -1, 1, 1])), 0.625),
        (lambda: losses.huber(np.array([1.1, 2.1, 3.1]), COUNTS), 0.005),
        (lambda: losses.huber(np.array([1.1, 2.1, 3.1]), COUNTS, delta=0.05), 0.00375),
        (lambda: losses.kl_divergence(EVEN, EYE, logits=False), np.log(2)),
        (lambda: losses.kl_divergence(EVEN, EVEN, logits=False), 0.0),
        (lambda: losses.absolute_error(np.array([1.1, 1.9, 3.1]), COUNTS), 0.1),
        (lambda: losses.squared_error(np.array([1.1, 1.9, 3.1]), COUNTS), 0.01),
        (
            lambda: losses.squared_logarithmic_error(np.array([1.1, 2.2, 3.3]), COUNTS, offset=MACHINE),
            0.009084041,
        ),
        (lambda: losses.poisson(np.array([1.0, 3, 3]), COUNTS), 0.502312852219817),
        (lambda: losses.siamese_contrastive(np.array([0.5, 1.5, 2.5]), COUNTS), -4.833333333333333),
        (lambda: losses.siamese_contrastive(np.array([0.5, 1.5, 2.5]), COUNTS, margin=2.0), -4.0),
    ],
)
def test_it_is_what_lux_says(got, expected):
    np.testing.assert_allclose(got(), expected, rtol=2e-6)


# Theorems

numbers = st.floats(-1e3, 1e3)
pairs = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=3).map(lambda rows: np.array(rows).T)


@settings(max_examples=20)
@given(pairs)
def test_distances_are_positive_and_zero_only_at_the_target(pair):
    predictions, targets = pair
    positive, positive_targets = np.exp(pair / 100)
    distribution, wanted = jax.nn.softmax(pair / 100)
    for loss, p, t in (
        (losses.squared_error, predictions, targets),
        (losses.absolute_error, predictions, targets),
        (losses.huber, predictions, targets),
        (losses.log_cosh, predictions, targets),
        (losses.quantile, predictions, targets),
        (losses.squared_logarithmic_error, positive, positive_targets),
        (losses.dice, np.abs(predictions), np.abs(targets)),
    ):
        assert (loss(p, t, agg="none") >= 0).all(), loss
        np.testing.assert_allclose(loss(t, t, agg="none"), 0, atol=1e-15)
    assert losses.kl_divergence(distribution, wanted, logits=False) >= -1e-15
    np.testing.assert_allclose(losses.kl_divergence(jnp.log(wanted), wanted), 0, atol=1e-15)


@settings(max_examples=20)
@given(pairs)
def test_the_divergence_is_the_cross_entropy_less_the_entropy(pair):
    logits, targets = pair[0], jax.nn.softmax(pair[1] / 100)
    cross = losses.cross_entropy(logits, targets)
    entropy = losses.cross_entropy(jnp.log(targets), targets)
    np.testing.assert_allclose(losses.kl_divergence(logits, targets), cross - entropy, rtol=1e-12, atol=1e-12)


@settings(max_examples=20)
@given(pairs, st.integers(0, 2), st.sampled_from([0.0, 0.1, 1.0]))
def test_a_label_is_its_one_hot_row_and_probabilities_are_softmax_of_logits(pair, label, smoothing):
    logits, one_hot = pair[0] / 10, np.eye(3)[label]
    options = {"label_smoothing": smoothing}
    of_label = losses.cross_entropy(logits, np.array(label), **options)
    np.testing.assert_allclose(of_label, losses.cross_entropy(logits, one_hot, **options), rtol=1e-13)
    of_probabilities = losses.cross_entropy(jax.nn.softmax(logits), np.array(label), logits=False, **options)
    np.testing.assert_allclose(of_label, of_probabilities, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(losses.focal(logits, np.array(label)), losses.focal(logits, one_hot), rtol=1e-12)
    np.testing.assert_allclose(
        losses.focal(logits, one_hot, gamma=0.0), losses.cross_entropy(logits, one_hot), rtol=1e-13
    )


@settings(max_examples=20)
@given(pairs, st.sampled_from([0.0, 1.0, 0.3]))
def test_two_classes_are_yes_and_no(pair, target):
    logits, targets = pair[0], np.full(3, target)
    of_two = losses.cross_entropy(np.stack([logits, 0 * logits], 1), np.stack([targets, 1 - targets], 1), agg="none")
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, targets, agg="none"), of_two, rtol=1e-12, atol=1e-12)
    focal = losses.binary_focal(logits, targets, gamma=0.0, agg="none")
    np.testing.assert_allclose(focal, of_two, rtol=1e-12, atol=1e-12)


def test_the_quantile_is_where_the_expected_loss_is_smallest():
    sample = np.arange(101.0)
    for level in (0.1, 0.5, 0.9):
        means = [float(losses.quantile(np.full(101, guess), sample, level=level)) for guess in sample]
        assert np.argmin(means) == round(100 * level)


def test_the_poisson_loss_is_smallest_at_the_target():
    gradient = jax.grad(lambda p: losses.poisson(p, p_fixed, epsilon=0.0))
    p_fixed = jnp.array([0.5, 2.0, 100.0])
    np.testing.assert_allclose(gradient(p_fixed), 0, atol=1e-16)


# Extremes, in float32

FAR = (-1e4, -100.0, 0.0, 100.0, 1e4)


@pytest.mark.parametrize("z", FAR)
def test_logits_far_from_zero_have_finite_losses_and_gradients(z):
    zero = jnp.zeros((), jnp.float32)
    single, double = jnp.float32(z), jnp.stack([jnp.float32(z), zero])
    for target in (0.0, 1.0, 0.3):
        t, exact = np.float32(target), max(z, 0.0) - z * target  # where |z| is large
        both = np.array([t, 1 - t])
        for value, gradient in (
            jax.value_and_grad(losses.binary_cross_entropy)(single, t),
            jax.value_and_grad(losses.cross_entropy)(double, both),
        ):
            if z:
                np.testing.assert_allclose(value, exact, rtol=1e-6)
            assert np.isfinite(gradient).all()
        for gamma in (0.0, 0.5, 1.0, 2.0):
            for loss, p, targets in ((losses.binary_focal, single, t), (losses.focal, double, both)):
                value, gradient = jax.value_and_grad(lambda p: loss(p, targets, gamma=gamma))(p)  # noqa: B023
                assert np.isfinite(value)
                assert np.isfinite(gradient).all()
    for label in (0, 1):
        for loss in (losses.cross_entropy, losses.focal):
            value, gradient = jax.value_and_grad(loss)(double, np.array(label))
            np.testing.assert_allclose(value, (max(z, 0.0) - z * (1 - label)) if z else value, rtol=1e-6)
            assert np.isfinite(gradient).all()


def test_large_logits_that_are_nearly_equal_lose_no_digits():
    logits = jnp.array([1e4, 1e4], jnp.float32)
    for targets in (np.array(0), np.array([1.0, 0.0], np.float32)):
        np.testing.assert_allclose(losses.cross_entropy(logits, targets), np.log(2), rtol=1e-7)


def test_small_errors_keep_their_digits():
    e = jnp.array([1e-18, 1e-6, 1e-4, 1e-2], jnp.float32)
    zeros = jnp.zeros(4, jnp.float32)
    np.testing.assert_allclose(losses.log_cosh(e, zeros, agg="none"), np.asarray(e, float) ** 2 / 2, rtol=2e-5)
    tiny = losses.squared_logarithmic_error(e, zeros, agg="none")
    np.testing.assert_allclose(tiny, np.log1p(np.asarray(e, float)) ** 2, rtol=1e-6)


@pytest.mark.parametrize("e", [0.0, 1e-6, 0.5, 1.0, 1.0 + 1e-6, 30.0, 1e4, -1e4, 1e30])
def test_log_cosh_has_the_hyperbolic_tangent_for_its_derivative(e):
    def loss(p):
        return losses.log_cosh(p, jnp.zeros(()))

    np.testing.assert_allclose(jax.grad(loss)(e), np.tanh(e), rtol=1e-13)
    np.testing.assert_allclose(jax.grad(jax.grad(loss))(e), 1 - np.tanh(e) ** 2, rtol=1e-12, atol=1e-15)


def test_the_derivative_at_a_kink_lies_between_those_on_its_sides():
    zero = jnp.zeros(())
    assert jax.grad(losses.absolute_error)(zero, zero) == 0
    assert -0.9 <= jax.grad(lambda p: losses.quantile(p, zero, level=0.9))(zero) <= 0.1
    assert -1 <= jax.grad(losses.hinge)(zero + 1, zero + 1) <= 0
    assert jax.grad(losses.squared_hinge)(zero + 1, zero + 1) == 0
    assert jax.grad(losses.huber)(zero + 1, zero) == 1
    assert jax.grad(losses.siamese_contrastive)(zero + 1, zero + 1) == 0


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.focal, losses.kl_divergence])
def test_an_impossible_class_that_is_no_target_costs_nothing(loss):
    logits, targets = jnp.array([1.0, -jnp.inf, 0.0]), jnp.array([0.25, 0.0, 0.75])
    finite = loss(logits[::2], targets[::2])
    value, tangent = jax.jvp(lambda z: loss(z, targets), (logits,), (jnp.ones(3),))
    np.testing.assert_allclose(value, finite, rtol=1e-14)
    np.testing.assert_allclose(tangent, 0, atol=1e-15)  # the same added to all logits changes nothing
    gradient = jax.grad(loss)(logits, targets)
    np.testing.assert_allclose(gradient[::2], jax.grad(loss)(logits[::2], targets[::2]), rtol=1e-14)
    assert gradient[1] == 0
    if loss is not losses.kl_divergence:
        assert np.isfinite(jax.grad(loss)(logits, np.array(2))).all()


def test_probabilities_of_zero_and_one_have_finite_losses_and_gradients():
    sure = jnp.array([0.0, 1.0], jnp.float32)
    for loss, targets in (
        (losses.binary_cross_entropy, 1 - sure),
        (losses.binary_cross_entropy, sure),
        (losses.cross_entropy, 1 - sure),
        (losses.cross_entropy, sure),
        (losses.focal, 1 - sure),
        (losses.kl_divergence, 1 - sure),
    ):
        value, gradient = jax.value_and_grad(lambda p: loss(p, targets, logits=False))(sure)  # noqa: B023
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    value, gradient = jax.value_and_grad(losses.poisson)(sure, 1 - sure)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.focal])
@pytest.mark.parametrize("label", [-1, 3, -100])
def test_a_label_that_is_no_class_gives_nan(loss, label):
    value, gradient = jax.value_and_grad(loss)(array(2, 3), np.array([0, label]))
    assert np.isnan(value)
    assert np.isnan(gradient).any()
