"""Curves with closed bounds, against SciPy; what a parameter on a bound, or fixed by its bounds, is said to be."""

import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
import scipy.optimize

import sciml_lux as lux
from sciml_lux.estimation import curve_fit, least_squares
from sciml_lux.estimation._uncertainty import uncertainty

X = np.linspace(0.0, 4.0, 40)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + np.random.default_rng(0).normal(scale=0.05, size=X.size)


def decay(x, a, b, c):
    return a * jnp.exp(-b * x) + c


def decay_numpy(x, a, b, c):
    return a * np.exp(-b * x) + c


def numbers(values) -> np.ndarray:
    return np.array([float(value) for value in values.values()])


@pytest.mark.parametrize(
    "bounds", [None, (0.0, 5.0), ([0.0, -np.inf, -1.0], [np.inf, 4.0, np.inf])], ids=["none", "both", "one side"]
)
def test_without_a_start_it_is_scipys(bounds):
    kept = {} if bounds is None else {"bounds": bounds}
    expected, covariance = scipy.optimize.curve_fit(decay_numpy, X, Y, ftol=1e-14, xtol=1e-14, gtol=1e-14, **kept)
    popt, pcov = curve_fit(decay, X, Y, bounds=bounds)
    np.testing.assert_allclose(popt, expected, rtol=1e-6)
    np.testing.assert_allclose(pcov, covariance, rtol=1e-5)


def test_the_arguments_are_in_scipys_order():
    sigma = np.full(X.size, 0.05)
    expected, covariance = scipy.optimize.curve_fit(decay_numpy, X, Y, (1.0, 1.0, 0.0), sigma, True)
    popt, pcov = curve_fit(decay, X, Y, (1.0, 1.0, 0.0), sigma, True)
    np.testing.assert_allclose(popt, expected, rtol=1e-5)
    np.testing.assert_allclose(pcov, covariance, rtol=1e-4)


def test_other_bounds_compile_nothing():
    traces = []

    def counted(x, a, b, c):
        traces.append(1)
        return decay(x, a, b, c)

    for upper in (5.0, 4.0, 1.5):
        curve_fit(counted, X, Y, (1.0, 1.0, 0.0), bounds=((0.0, 0.0, 0.0), (upper, 3.0, 1.0)))
    first = len(traces)
    curve_fit(counted, X, Y, (1.0, 1.0, 0.0), bounds=((0.0, 1.0, 0.0), (3.0, 1.0, 1.0)))
    assert len(traces) == first


@pytest.mark.parametrize("upper", [2.0, 1.0], ids=["a start within", "a start on the bound"])
def test_a_minimum_on_a_bound_is_that_of_the_others_with_it_held(upper):
    result = curve_fit(decay, X, Y, (1.0, 1.0, 0.0), bounds=(-np.inf, (upper, np.inf, np.inf)))
    held = curve_fit(lambda x, b, c: decay(x, upper, b, c), X, Y, (1.0, 0.0))
    assert result.outcome == "converged"
    assert result.active == {"a": "upper"}
    np.testing.assert_allclose(numbers(result.values), [upper, *numbers(held.values)], rtol=1e-8)
    # One more number was estimated, so that there is one degree of freedom less.
    ratio = np.sqrt((X.size - 2) / (X.size - 3))
    np.testing.assert_allclose(numbers(result.stderr)[1:], ratio * numbers(held.stderr), rtol=1e-6)
    assert np.isnan(result.stderr.a)
    assert "at a bound: a (upper)" in str(result)


@pytest.mark.parametrize(("side", "own"), [(-1, np.nan), (1, np.nan), (2, 0.0)], ids=["lower", "upper", "fixed"])
def test_what_is_held_is_a_constant_to_the_others(side, own):
    """Of a slope beside a level that is held, the standard error is that of a line through one point."""
    design = np.stack([X, np.ones_like(X)], axis=1)
    found = uncertainty(design, np.eye(2), 0.25, 1e-16, np.array([0, side]))
    np.testing.assert_allclose(found.stderr, [0.5 / np.linalg.norm(X), own])


def test_equal_bounds_fix_a_parameter():
    result = curve_fit(decay, X, Y, (1.0, 1.3, 0.0), bounds=((-9.0, 1.3, -9.0), (9.0, 1.3, 9.0)))
    without = curve_fit(lambda x, a, c: decay(x, a, 1.3, c), X, Y, (1.0, 0.0))
    assert result.active == {"b": "fixed"}
    assert result.stderr.b == 0
    assert result.degrees_of_freedom == without.degrees_of_freedom
    np.testing.assert_allclose(result.aic, without.aic)
    np.testing.assert_allclose(numbers(result.stderr)[[0, 2]], numbers(without.stderr), rtol=1e-6)
    assert "fixed" in str(result)
    assert "bound" not in str(result)


def test_the_wrong_side_of_a_bounded_sine():
    """The example of lmfit's documentation, from a period of 2 instead of 5.4."""
    x = np.linspace(0.0, 250.0, 1500)

    def model(x, amplitude, period, shift, decay, sin=jnp.sin, exp=jnp.exp):
        return amplitude * sin(shift + x / period) * exp(-x * x * decay * decay)

    y = model(x, 14.0, 5.4321, 0.12345, 0.01, np.sin, np.exp) + np.random.default_rng(0).normal(scale=2.8, size=x.size)
    bounds = ((0.0, -np.inf, -np.pi / 2, 0.0), (20.0, 10.0, np.pi / 2, 0.1))
    result = curve_fit(lambda x, a, p, s, d: model(x, a, p, s, d), x, y, (13.0, 2.0, 0.0, 0.02), bounds=bounds)
    expected, _ = scipy.optimize.curve_fit(
        lambda x, a, p, s, d: model(x, a, p, s, d, np.sin, np.exp), x, y, (14.0, 5.4, 0.1, 0.01)
    )
    assert result.outcome == "converged"
    assert result.active == {}
    np.testing.assert_allclose(numbers(result.values), expected, rtol=1e-5)


def test_bounds_by_path_on_arrays_beside_maps():
    ps = lux.flatten.flatten(
        {"level": jnp.zeros(2), "rate": lux.positive(0.5), "shares": lux.flatten.simplex([0.5, 0.5])}
    )

    def residual(ps, st, data):
        level, rate = ps.params.level, ps.params.rate
        return jnp.concatenate([level - jnp.array([3.0, -3.0]), (rate - data)[None], ps.params.shares - 0.5]), st

    result = least_squares(
        residual, ps, data=jnp.array(2.0), bounds=({"level": jnp.array([-1.0, -np.inf])}, {"level": 1.0})
    )
    np.testing.assert_allclose(result.values.level, [1.0, -3.0], rtol=1e-9)
    np.testing.assert_allclose(result.values.rate, 2.0, rtol=1e-9)
    assert result.active == {"level[0]": "upper"}
    for bounds, error, message in [
        (({"shares": 0.0}, {}), lux.ParameterError, "shares is stored through Simplex, whose numbers have no bounds"),
        (({"levle": 0.0}, {}), lux.ParameterError, "no parameter 'levle'; nearest: level"),
        (({"level": np.zeros(3)}, {}), lux.ShapeError, r"one for each of its \(2,\)"),
        (({"level": 1.0}, {"level": 2.0}), ValueError, r"the start \[0.0, 0.0\] is outside"),
        (({"rate": 1.0}, {}), ValueError, "the start 0.5 is outside"),
    ]:
        with pytest.raises(error, match=message):
            least_squares(residual, ps, data=jnp.array(2.0), bounds=bounds)
    with pytest.raises(lux.ParameterError, match="shares is stored through Simplex"):  # one number is for all
        least_squares(residual, ps, data=jnp.array(2.0), bounds=(-1.0, np.inf))
    with pytest.raises(lux.ParameterError, match="LevenbergMarquardt, and not by Dogleg"):
        least_squares(residual, ps, data=jnp.array(2.0), bounds=(-1.0, 1.0), solver=optimistix.Dogleg(1e-6, 1e-6))


def test_what_has_not_converged_is_not_said_to_be_at_the_edge_of_a_map():
    start = {"a": lux.positive(30.0), "b": lux.positive(5.0), "c": 0.0}
    result = curve_fit(decay, X, Y, start, max_steps=2, throw=False)
    assert result.outcome == "stalled"
    assert "at a bound" not in str(result)
