"""Correlated errors and missing points of curves, beside SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

import sciml_lux as lux

curve_fit = lux.estimation.curve_fit
X = np.linspace(0.0, 4.0, 30)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.1 * np.random.default_rng(0).normal(size=30)
COVARIANCE = 0.01 * scipy.linalg.toeplitz(0.7 ** np.arange(30)) * np.outer(1 + X, 1 + X)


def decay(x, a, b, c):
    return a * jnp.exp(-b * x) + c


def reference(*args, **options):
    return scipy.optimize.curve_fit(lambda x, a, b, c: a * np.exp(-b * x) + c, *args, **options)


@pytest.mark.parametrize("absolute", [True, False])
def test_correlated_errors_are_scipys(absolute):
    popt, pcov = curve_fit(decay, X, Y, (2.0, 1.0, 0.3), COVARIANCE, absolute)
    expected, covariance = reference(X, Y, (2.0, 1.0, 0.3), COVARIANCE, absolute, ftol=1e-14, xtol=1e-14)
    np.testing.assert_allclose(popt, expected, rtol=1e-6)
    np.testing.assert_allclose(pcov, covariance, rtol=1e-5)


@pytest.mark.parametrize("sigma", [None, 0.1 * (1 + X), COVARIANCE], ids=["none", "deviations", "covariance"])
def test_missing_points_are_left_out(sigma):
    x, y = X.copy(), Y.copy()
    x[3], y[[7, 20]] = np.nan, np.nan
    seen = ~(np.isnan(x) | np.isnan(y))
    part = sigma if sigma is None else sigma[np.ix_(seen, seen)] if sigma.ndim == 2 else sigma[seen]
    found = curve_fit(decay, x, y, (2.0, 1.0, 0.3), sigma, nan_policy="omit")
    alone = curve_fit(decay, X[seen], Y[seen], (2.0, 1.0, 0.3), part)
    np.testing.assert_array_equal(found.ps.vector, alone.ps.vector)
    assert found.num_data == 27
    with pytest.raises(ValueError, match="not finite"):
        curve_fit(decay, x, y, (2.0, 1.0, 0.3), sigma)


def test_missing_points_of_several_predictors():
    x = {"time": X, "dose": np.stack([np.ones(30), np.where(X > 3.9, np.nan, 2.0)])}
    y = np.exp(-0.7 * X) * 2.0

    def f(x, a, b):
        return a * jnp.exp(-b * x["time"]) * x["dose"][1] / 2.0

    found = curve_fit(f, x, y, (1.0, 1.0), nan_policy="omit")
    assert found.num_data == 29
    np.testing.assert_allclose([found.values.a, found.values.b], [2.0, 0.7], rtol=1e-6)
