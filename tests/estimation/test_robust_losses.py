"""Robust losses, beside SciPy; derivatives that are given."""

import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
import scipy.optimize

import sciml_lux as lux
from sciml_lux.estimation import curve_fit, least_squares

LOSSES = ["huber", "soft_l1", "cauchy", "arctan"]
X = np.linspace(0.0, 4.0, 40)
SIGMA = 0.05 * (1 + 0.5 * X)
START = (1.0, 1.0, 0.2)
TIGHT = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 2000}


def decay(x, a, b, c):
    return a * jnp.exp(-b * x) + c


def decay_numpy(x, a, b, c):
    return a * np.exp(-b * x) + c


def with_outliers(seed):
    """A decay with one point in seven far off."""
    random = np.random.default_rng(seed)
    y = decay_numpy(X, 2.5, 1.3, 0.5) + SIGMA * random.normal(size=40)
    y[random.choice(40, 6, replace=False)] += random.normal(size=6) * 2
    return y


def scipys(y, loss, f_scale, **options):
    """SciPy's, started anew where it ended until it stays there: it is content a little too early."""
    point = START
    for _ in range(3):
        point, covariance = scipy.optimize.curve_fit(
            decay_numpy, X, y, point, method="trf", loss=loss, f_scale=f_scale, **(TIGHT | options)
        )
    return point, covariance


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("options", "f_scale"),
    [
        ({}, 0.1),
        ({"sigma": SIGMA, "absolute_sigma": True}, 1.5),
        ({"sigma": SIGMA, "bounds": ([0.0, 0.0, -1.0], [9.0, 9.0, 9.0])}, 1.5),
    ],
    ids=["plain", "known sigma", "bounds"],
)
def test_estimate_and_covariance_are_scipys(loss, options, f_scale):
    for seed in range(3):
        y = with_outliers(seed)
        result = curve_fit(decay, X, y, START, loss=loss, f_scale=f_scale, **options)
        expected, covariance = scipys(y, loss, f_scale, **options)
        popt, pcov = result
        np.testing.assert_allclose(popt, expected, rtol=1e-6)
        np.testing.assert_allclose(pcov, covariance, rtol=1e-5)
        assert result.successful


@pytest.mark.parametrize("loss", LOSSES)
def test_the_cost_is_scipys_and_has_no_slope(loss):
    y = with_outliers(5)
    result = curve_fit(decay, X, y, START, loss=loss, f_scale=0.1)
    there = scipy.optimize.least_squares(
        lambda p: decay_numpy(X, *p) - y, np.array(result.ps.vector), loss=loss, f_scale=0.1, max_nfev=1
    )
    np.testing.assert_allclose(result.cost, there.cost, rtol=1e-12)
    assert there.optimality < 1e-7
    np.testing.assert_allclose(result.chi_square, np.sum(there.fun**2), rtol=1e-12)
    assert np.isnan(result.aic)
    assert f"{loss} loss with f_scale=0.1: cost {result.cost:.6g}" in str(result)
    assert "AIC" not in str(result)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_well_explained_is_fitted_by_squares(loss):
    """Far within `f_scale` every loss is the square."""
    y = decay_numpy(X, 2.5, 1.3, 0.5) + 1e-3 * np.cos(5 * X)
    robust, plain = curve_fit(decay, X, y, START, loss=loss, f_scale=1e3), curve_fit(decay, X, y, START)
    np.testing.assert_allclose(robust.ps.vector, plain.ps.vector, rtol=1e-9)
    np.testing.assert_allclose(robust.covariance, plain.covariance, rtol=1e-7)
    np.testing.assert_allclose(robust.cost, 0.5 * plain.chi_square, rtol=1e-7)
    assert plain.cost == 0.5 * plain.chi_square


def test_outliers_however_far_change_nothing_that_matters():
    y = decay_numpy(X, 2.5, 1.3, 0.5) + 0.01 * np.cos(17 * X)
    clean = curve_fit(decay, X, y, START)
    for size in (10.0, 1e8):
        wrong = y.copy()
        wrong[[3, 18, 31]] += size * np.array([1.0, -1.0, 1.0])
        found = curve_fit(decay, X, wrong, START, loss="cauchy", f_scale=0.02)
        np.testing.assert_allclose(found.ps.vector, clean.ps.vector, rtol=0.02)


def test_another_loss_compiles_nothing():
    traces = []

    def counted(x, a, b, c):
        traces.append(1)
        return decay(x, a, b, c)

    y = with_outliers(0)
    curve_fit(counted, X, y, START)
    first = len(traces)
    curve_fit(counted, X, y, START, loss="cauchy", f_scale=0.1)
    curve_fit(counted, X, y, START, loss="huber", f_scale=0.2)
    assert len(traces) == first


def test_a_point_without_slope_is_judged_by_the_loss():
    """At `a = 0` squares have a minimum, which an outlier makes, and the loss, to which that counts little, a maximum."""
    ps = lux.flatten.flatten({"a": 0.0})
    residual = lambda ps, st, data: (data[0] + data[1] * ps.params.a**2, st)  # noqa: E731
    data = jnp.array([[-1.0, 100.0], [1.0, 0.05]])
    squares = least_squares(residual, ps, data=data, throw=False)
    robust = least_squares(residual, ps, data=data, loss="soft_l1", throw=False)
    assert float(squares.values.a) ** 2 < 1e-6
    assert abs(float(robust.values.a)) > 0.5 or robust.outcome == "stalled"
    assert robust.cost <= 0.5 * 2 * (np.sqrt(2.0) + np.sqrt(10001.0) - 2.0)


# Derivatives that are given


def slopes(x, a, b, c):
    return jnp.stack([jnp.exp(-b * x), -a * x * jnp.exp(-b * x), jnp.ones_like(x)], axis=-1)


def test_a_derivative_that_is_given_is_used():
    y = with_outliers(1)
    calls = []

    def counted(x, a, b, c):
        calls.append(1)
        return slopes(x, a, b, c)

    expected = curve_fit(decay, X, y, START, SIGMA)
    found = curve_fit(decay, X, y, START, SIGMA, jac=counted)
    np.testing.assert_allclose(found.ps.vector, expected.ps.vector, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-7)
    assert calls


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "tukey"}, ValueError, "loss is one of linear, huber, soft_l1, cauchy, arctan, got 'tukey'"),
        ({"loss": "huber", "f_scale": 0.0}, ValueError, "f_scale.* is above 0, got 0.0"),
        ({"loss": "huber", "f_scale": np.inf}, ValueError, "f_scale.* is above 0, got inf"),
        ({"jac": "2-point"}, lux.ParameterError, "derivatives are exact without it"),
        ({"jac": 3.0}, lux.ParameterError, "or None, got float"),
        ({"jac": lambda x, *p: slopes(x, *p).T}, lux.ShapeError, r"shape \(3, 40\), expected .* \(40, 3\)"),
        ({"jac": lambda x, a, b, c: np.array([x, x, x]).T}, lux.LayerError, "jac, the derivative of f,"),
        (
            {"loss": "huber", "solver": optimistix.Dogleg(1e-6, 1e-6)},
            lux.ParameterError,
            "LevenbergMarquardt, and not by Dogleg; write solver=None",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        curve_fit(decay, X, with_outliers(0), START, **options)
