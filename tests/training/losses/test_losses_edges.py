"""Values, gradients and Hessians of every loss, in float32, against closed forms where these are finite but their parts are not."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused

import sciml_lux as lux

losses = lux.losses
INF = np.inf
TINY = 1e-25  # whose square is no number of float32

# One number each: the loss, and (prediction, target): (value, first derivative, second derivative). NaN: not looked at.
NUMBERS = {
    "squared_error": (losses.squared_error, {(2.0, 2.0): (0, 0, 2), (0.0, 3.0): (9, -6, 2)}),
    "absolute_error": (
        losses.absolute_error,
        {(2.0, 2.0): (0, 0, 0), (-INF, 0.0): (INF, -1, 0), (3.0, 1.0): (2, 1, 0)},
    ),
    "huber": (
        partial(losses.huber, delta=0.5),
        {(2.0, 2.0): (0, 0, 1), (0.3, 0.0): (0.045, 0.3, 1), (-3.0, 0.0): (1.375, -0.5, 0), (INF, 0.0): (INF, 0.5, 0)},
    ),
    "smooth_l1": (
        partial(losses.smooth_l1, beta=0.5),
        {(2.0, 2.0): (0, 0, 2), (0.3, 0.0): (0.09, 0.6, 2), (-3.0, 0.0): (2.75, -1, 0), (INF, 0.0): (INF, 1, 0)},
    ),
    "smooth_l1 that is not smooth": (partial(losses.smooth_l1, beta=0.0), {(2.0, 2.0): (0, 0, 0), (3.0, 1.0): (2, 1, 0)}),
    "log_cosh": (
        losses.log_cosh,
        {(2.0, 2.0): (0, 0, 1), (0.5, 0.0): (0.1201145, 0.4621172, 0.7864477), (INF, 0.0): (INF, 1, 0)},
    ),
    "squared_logarithmic_error": (
        losses.squared_logarithmic_error,
        {(0.0, 0.0): (0, 0, 2), (0.0, 1.0): (np.log(2) ** 2, -2 * np.log(2), 2 + 2 * np.log(2))},
    ),
    "squared_logarithmic_error, tiny offset": (
        partial(losses.squared_logarithmic_error, offset=TINY),
        {(2.0, 2.0): (0, 0, 0.5), (2.0, 1.0): (np.log(2) ** 2, np.log(2), (1 - np.log(2)) / 2)},
    ),
    "poisson": (
        partial(losses.poisson, epsilon=0.0),
        {(0.0, 0.0): (0, 1, 0), (TINY, 0.0): (TINY, 1, 0), (2.0, 2.0): (2 - 2 * np.log(2), 0, 0.5), (0.0, 1.0): (INF,)},
    ),
    "poisson of logarithms": (
        partial(losses.poisson, log_rates=True),
        {(-INF, 0.0): (0, 0, 0), (0.0, 1.0): (1, 0, 1), (-INF, 2.0): (INF, -2, 0)},
    ),
    "quantile": (partial(losses.quantile, level=0.9), {(-INF, 0.0): (INF, -0.9, 0), (3.0, 1.0): (0.2, 0.1, 0)}),
    "binary_cross_entropy": (
        losses.binary_cross_entropy,
        {
            (0.0, 0.3): (np.log(2), 0.2, 0.25),
            (INF, 1.0): (0, 0, 0),
            (INF, 0.0): (INF, 1, 0),
            (-INF, 0.0): (0, 0, 0),
            (-INF, 1.0): (INF, -1, 0),
            (-INF, 0.3): (INF, -0.3, 0),
            (20.0, 1.0): (2.0611536e-9, -2.0611536e-9, 2.0611536e-9),
        },
    ),
    "binary_cross_entropy of probabilities": (
        partial(losses.binary_cross_entropy, logits=False),
        {(0.0, 0.0): (0, 1, 1), (1.0, 1.0): (0, -1, 1), (TINY, 0.0): (0, 1, 1), (0.5, 0.5): (np.log(2), 0, 4)},
    ),
    **{
        f"binary_focal, {gamma}": (
            partial(losses.binary_focal, gamma=gamma),
            {
                (INF, 1.0): (0, 0, 0),
                (INF, 0.0): (INF, 1, 0),
                (-INF, 0.0): (0, 0, 0),
                (-INF, 1.0): (INF, -1, 0),
                (-200.0, 1.0): (200, -1, 0),
                (200.0, 1.0): (0, 0, 0),
                (-INF, 0.25): (INF, -0.25, 0),
            },
        )
        for gamma in (0.0, 0.5, 1.0, 2.0)
    },
    "binary_focal in the middle": (
        losses.binary_focal,
        {(0.0, 1.0): (np.log(2) / 4, -(1 + 2 * np.log(2)) / 8, 0.3125 + np.log(2) / 8)},
    ),
    "hinge": (losses.hinge, {(INF, 1.0): (0, 0, 0), (-INF, 1.0): (INF, -1, 0), (0.0, -1.0): (1, 1, 0)}),
    "squared_hinge": (losses.squared_hinge, {(INF, 1.0): (0, 0, 0), (-1.0, 1.0): (4, -4, 2)}),
    "siamese_contrastive": (
        losses.siamese_contrastive,
        {(0.0, 0.0): (0, 0, 2), (0.0, 1.0): (1, -2, 2), (1e30, 1.0): (0, 0, 0)},
    ),
    "gaussian_nll": (
        lambda p, t: losses.gaussian_nll(p, t, 1e-10 * jnp.ones_like(p)),
        {(2.0, 2.0): (-5 * np.log(10), 0, 1e10), (TINY, 0.0): (-5 * np.log(10), 1e-15, 1e10)},
    ),
    "gaussian_nll of variances": (
        lambda p, t: losses.gaussian_nll(t, jnp.zeros_like(t), p),
        {(1.0, 0.0): (0, 0.5, -0.5), (TINY, 0.0): (np.log(TINY) / 2, 0.5 / TINY), (4.0, 2.0): (np.log(2) + 0.5, 0, 0.03125)},
    ),
    "gaussian_nll of logarithms": (
        lambda p, t: losses.gaussian_nll(t, jnp.zeros_like(t), p, log_variances=True),
        {(0.0, 1.0): (0.5, 0, 0.5), (-120.0, 0.0): (-60, 0.5, 0), (200.0, 1.0): (100, 0.5, 0)},
    ),
}  # fmt: skip


@functools.cache
def figures_of_numbers():
    """Of every loss in one program: values, gradients, second derivatives."""

    def each(loss, points):
        p, t = jnp.asarray(list(points), jnp.float32).T
        both = jax.vmap(lambda p, t: jax.jvp(lambda p: jax.value_and_grad(loss)(p, t), (p,), (jnp.ones_like(p),)))
        return both(p, t)

    return jax.jit(lambda: {name: each(*case) for name, case in NUMBERS.items()})()


@pytest.mark.parametrize("name", NUMBERS)
def test_of_one_number_it_is_the_closed_form_and_its_derivatives(name):
    (value, first), (forward, second) = figures_of_numbers()[name]
    for i, expected in enumerate(NUMBERS[name][1].values()):
        for got, wanted in zip((value, first, second), expected, strict=False):
            np.testing.assert_allclose(got[i], wanted, rtol=1e-5, atol=1e-12, err_msg=str(i))
        if len(expected) == 3:
            np.testing.assert_allclose(forward[i], first[i], rtol=1e-6, atol=1e-12)


# Of classes: probabilities, targets and gamma; the gradient and Hessian in the probabilities, or in logits.


def one_hot(label):
    return np.eye(3)[label]


SURE = [
    ([0.6, 0.4, 0.0], one_hot(0)),
    ([1.0, 0.0, 0.0], one_hot(0)),
    ([1 - 1e-7, 1e-7, TINY], one_hot(0)),
    ([0.5, 0.5, 0.0], [0.25, 0.75, 0.0]),
    ([0.5, 0.5, TINY], [0.25, 0.75, 0.0]),
]


def cross_entropy_of(p, t):
    """Value, gradient and Hessian in the probabilities, where a class that is no target counts for nothing."""
    p, t = (np.asarray(x, float) for x in (p, t))
    safe = np.where(t == 0, 1, p)
    return -np.sum(t * np.log(safe)), -t / safe, np.diag(t / safe**2)


def cross_entropy_of_logits(z, t):
    z, t = (np.asarray(x, float) for x in (z, t))
    p = np.exp(z - np.max(z)) / np.sum(np.exp(z - np.max(z))) if np.max(z) < INF else (z == INF).astype(float)
    with np.errstate(divide="ignore"):
        return -np.sum(t * np.where(t == 0, 0, np.log(p))), p - t, np.diag(p) - np.outer(p, p)


LOGITS = [
    ([1.0, -INF, 0.0], one_hot(0)),
    ([1.0, -INF, 0.0], [0.25, 0.0, 0.75]),
    ([INF, 1.0, -INF], one_hot(0)),
    ([INF, 1.0, 0.0], one_hot(1)),
    ([1e4, 1e4, 0.0], [0.5, 0.5, 0.0]),
    ([0.0, -200.0, -200.0], one_hot(0)),
    ([0.0, -INF, 0.0], one_hot(1)),
]


def all_three(loss, points):
    """Value, gradient, and Hessian, forward over reverse."""
    p, t = (jnp.asarray([point[i] for point in points], jnp.float32) for i in (0, 1))

    def one(p, t):
        along = lambda row: jax.jvp(lambda p: jax.value_and_grad(loss)(p, t), (p,), (row,))  # noqa: E731
        (value, gradient), (_, hessian) = jax.vmap(along)(jnp.eye(3, dtype=p.dtype))
        return value[0], gradient[0], hessian

    return jax.vmap(one)(p, t)


def labelled(loss):
    """With the label in place of its one-hot row."""
    return lambda p, t: loss(p, jnp.argmax(t))


@functools.cache
def figures_of_classes():
    names = {"cross_entropy": losses.cross_entropy, "kl_divergence": losses.kl_divergence}
    names["focal"] = partial(losses.focal, gamma=0.5)
    labels = {"cross_entropy of labels": labelled(losses.cross_entropy)}
    label_points = {
        key: [point for point in points if max(point[1]) == 1] for key, points in (("sure", SURE), ("logits", LOGITS))
    }
    probabilities = {name: partial(loss, logits=False) for name, loss in names.items()}
    label_probabilities = {
        "cross_entropy of labels": labelled(probabilities["cross_entropy"]),
        "focal of labels": labelled(probabilities["focal"]),
    }

    @jax.jit
    def program():
        return {
            "logits": {name: all_three(loss, LOGITS) for name, loss in names.items()}
            | {name: all_three(loss, label_points["logits"]) for name, loss in labels.items()},
            "sure": {name: all_three(loss, SURE) for name, loss in probabilities.items()}
            | {name: all_three(loss, label_points["sure"]) for name, loss in label_probabilities.items()},
        }

    return program(), label_points


@pytest.mark.parametrize("kind", ["logits", "sure"])
def test_of_classes_it_is_the_closed_form_and_its_derivatives(kind):
    figures, label_points = figures_of_classes()
    closed = cross_entropy_of_logits if kind == "logits" else cross_entropy_of
    for name, got in figures[kind].items():
        points = label_points[kind] if "labels" in name else {"logits": LOGITS, "sure": SURE}[kind]
        for i, (p, t) in enumerate(points):
            value, gradient, hessian = closed(p, t)
            finite = [np.isfinite(got[1][i]).all(), np.isfinite(got[2][i]).all()]
            assert finite == [True, True], (name, p, t, got[1][i], got[2][i])
            if name.startswith("focal"):
                continue
            value += np.sum(t * np.log(np.where(np.equal(t, 0), 1, t))) if name == "kl_divergence" else 0
            for what, wanted in zip(got, (value, gradient, hessian), strict=True):
                np.testing.assert_allclose(what[i], wanted, rtol=2e-6, atol=1e-6, err_msg=f"{name} {p} {t}")


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_of_two_classes_is_that_of_yes_and_no_where_it_is_saturated(gamma):
    z = jnp.asarray([-INF, -300.0, -30.0, -1.0, 0.0, 2.0, 30.0, 300.0, INF], jnp.float32)
    t = jnp.asarray(0.25, jnp.float32)

    def of_two(z):
        return losses.focal(jnp.stack([z, 0 * jnp.where(jnp.isinf(z), 0, z)]), jnp.stack([t, 1 - t]), gamma=gamma)

    def of_one(z):
        return losses.binary_focal(z, t, gamma=gamma)

    @jax.jit
    def both(z):
        return [[jax.vmap(each)(z) for each in (f, jax.grad(f), jax.grad(jax.grad(f)))] for f in (of_two, of_one)]

    for two, one in zip(*both(z), strict=True):
        np.testing.assert_allclose(two, one, rtol=2e-5, atol=1e-6)


# What a weight of 0 leaves out


@pytest.mark.parametrize("bad", [np.nan, INF, -INF, 1e30])
def test_a_weight_of_zero_leaves_out_whatever_stands_there(bad):
    weights = jnp.asarray([1.0, 0.0, 2.0], jnp.float32)

    @jax.jit
    def program(p, t):
        cases = {
            "poisson": lambda p, w: losses.poisson(p, t, log_rates=True, weights=w),
            "focal": lambda p, w: losses.focal(
                jnp.stack([p, 0.5 + 0 * p], 1), jnp.stack([t, t], 1), weights=w, agg="sum"
            ),
            "normal": lambda p, w: losses.gaussian_nll(p, t, t, weights=w, agg="sum"),
        }
        return {name: jax.value_and_grad(f, argnums=(0, 1))(p, weights) for name, f in cases.items()}

    p, t = (jnp.asarray(x, jnp.float32) for x in ([0.5, bad, -1.0], [1.0, bad, 0.25]))
    plain = program(p.at[1].set(0.0), t.at[1].set(1.0))
    for name, (value, gradients) in program(p, t).items():
        np.testing.assert_array_equal(value, plain[name][0])
        np.testing.assert_array_equal(gradients[0], plain[name][1][0])
        assert np.isfinite(gradients[1]).all()


def test_the_gradient_of_a_weight_is_its_loss_at_a_weight_of_zero_too():
    p, t = jnp.asarray([1.0, 2.0]), jnp.asarray([0.0, 5.0])
    gradient = jax.grad(lambda w: losses.squared_error(p, t, weights=w, agg="sum"))(jnp.asarray([1.0, 0.0]))
    np.testing.assert_array_equal(gradient, [1.0, 9.0])


def test_the_gradient_of_a_target_is_what_it_multiplies_at_a_target_of_zero_too():
    """Every one of these losses is linear in its targets."""
    p, t = np.array([0.0, 1.0, -2.0]), jnp.asarray([1.0, 0.0, 0.0])
    logarithms = p - np.log(np.sum(np.exp(p)))
    cases = {
        "cross_entropy": -logarithms,
        "focal": -((1 - np.exp(logarithms)) ** 2) * logarithms,
        "binary_cross_entropy": -p,
        "poisson": -p,
    }
    for name, expected in cases.items():
        options = {"log_rates": True} if name == "poisson" else {}
        gradient = jax.grad(lambda t: getattr(losses, name)(jnp.asarray(p), t, agg="sum", **options))(t)  # noqa: B023
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14, err_msg=name)


# Variances


@pytest.mark.usefixtures("unchecked")
def test_variances_are_checked_and_masked_like_the_rest():
    p, t, v = jnp.ones(3), jnp.zeros(3), jnp.asarray([1.0, 2.0, jnp.nan])
    mask = jnp.asarray([True, True, False])
    value, gradient = jax.jit(jax.value_and_grad(lambda v: losses.gaussian_nll(p, t, v, full=True, mask=mask)))(v)
    wanted = 0.5 * np.mean(np.log(2 * np.pi * np.array([1.0, 2.0])) + 1 / np.array([1.0, 2.0]))
    np.testing.assert_allclose(value, wanted, rtol=1e-14)
    np.testing.assert_allclose(gradient, [0.0, 0.0625, 0.0], atol=1e-15)
    refused(lambda: losses.gaussian_nll(p, t, v[:1]), lux.ShapeError, "gaussian_nll", "variances", "(1,)", "(3,)")
    refused(lambda: losses.gaussian_nll(p, t, v.astype(complex)), lux.LayerError, "variances", "complex128")
