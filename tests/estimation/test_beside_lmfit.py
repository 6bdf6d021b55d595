"""Standard errors, correlations, intervals by the F-test and bands, beside lmfit."""

import jax
import jax.numpy as jnp
import lmfit
import numpy as np
import pytest
import scipy.stats

import sciml_lux as lux
from sciml_lux.estimation import curve_fit, least_squares

est = lux.estimation
X = np.linspace(0.0, 4.0, 25)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.1 * np.random.default_rng(0).normal(size=25)
NAMES = ("a", "b", "c")
LEVELS = (0.6826895, 0.95)


def decay(x, a, b, c):
    return a * jnp.exp(-b * x) + c


@pytest.fixture(scope="module")
def ours():
    return curve_fit(decay, X, Y, (2.0, 1.0, 0.3))


@pytest.fixture(scope="module")
def theirs():
    model = lmfit.Model(lambda x, a, b, c: a * np.exp(-b * x) + c)
    return model.fit(Y, x=X, a=2.0, b=1.0, c=0.3, fit_kws={"ftol": 1e-14, "xtol": 1e-14, "gtol": 1e-14})


def test_errors_and_correlations(ours, theirs):
    for i, name in enumerate(NAMES):
        np.testing.assert_allclose(float(ours.values[name]), theirs.params[name].value, rtol=1e-6)
        np.testing.assert_allclose(float(ours.stderr[name]), theirs.params[name].stderr, rtol=1e-4)
        for j, other in enumerate(NAMES):
            if i != j:
                np.testing.assert_allclose(ours.correlation[i, j], theirs.params[name].correl[other], rtol=1e-4)
    np.testing.assert_allclose(ours.residual_std**2, theirs.redchi, rtol=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_intervals_by_the_f_test(ours, theirs, level):
    found = ours.conf_interval(level, "f-test")
    expected = lmfit.conf_interval(theirs, theirs, sigmas=[level])
    assert list(found) == list(NAMES)
    for name in NAMES:
        ends = np.array([expected[name][0][1], expected[name][-1][1]])
        np.testing.assert_allclose(found[name], ends, rtol=1e-4)


@pytest.mark.parametrize("level", LEVELS)
def test_bands(ours, theirs, level):
    x = np.linspace(0.0, 6.0, 7)
    found = ours.predict(x, level)
    width = theirs.eval_uncertainty(x=x, sigma=level, dscale=1e-3)
    np.testing.assert_allclose(found.values, theirs.eval(x=x), rtol=1e-6)
    np.testing.assert_allclose(found.confidence, [found.values - width, found.values + width], rtol=1e-5)
    width = theirs.dely_predicted
    np.testing.assert_allclose(found.prediction, [found.values - width, found.values + width], rtol=1e-5)


# What is known in closed form


def line(x, level, slope):
    return level + slope * x


def test_of_a_line_all_intervals_are_those_of_students_t():
    found = curve_fit(line, X, Y)
    wald, f_test = (found.conf_interval(0.9, method) for method in ("wald", "f-test"))
    width = scipy.stats.t.ppf(0.95, 23)
    for i, name in enumerate(found.names):
        expected = float(found.values[name]) + np.array([-1, 1]) * width * np.sqrt(found.covariance[i, i])
        np.testing.assert_allclose(wald[name], expected, rtol=1e-9)
        np.testing.assert_allclose(f_test[name], expected, rtol=1e-5)
    likelihood = found.conf_interval(0.9, "profile", "slope")["slope"]
    reach = np.sqrt(23 * np.expm1(scipy.stats.chi2.ppf(0.9, 1) / 25) * found.covariance[1, 1])
    np.testing.assert_allclose(likelihood, float(found.values.slope) + np.array([-1, 1]) * reach, rtol=1e-5)


def test_of_a_line_with_known_errors_they_are_those_of_the_normal_density():
    found = curve_fit(line, X, Y, sigma=0.2, absolute_sigma=True)
    reach = scipy.stats.norm.ppf(0.975) * np.sqrt(np.diag(found.covariance))
    for method in ("wald", "f-test", "profile"):
        for i, name in enumerate(found.names):
            ends = float(found.values[name]) + np.array([-1, 1]) * reach[i]
            np.testing.assert_allclose(found.conf_interval(method=method, names=[name])[name], ends, rtol=1e-5)
    band = found.predict(X)
    np.testing.assert_allclose(
        (band.prediction[1] - band.values) ** 2,
        (band.confidence[1] - band.values) ** 2 + (scipy.stats.norm.ppf(0.975) * 0.2) ** 2,
    )


def test_an_end_that_is_not_reached_is_infinite():
    found = curve_fit(decay, X, Y, (2.0, 1.0, 0.5), bounds=((0.0, 0.0, 0.45), (2.52, 1.4, 9.0)))
    for name, upper in (("a", 2.52), ("b", 1.4)):
        lower, end = found.conf_interval(0.95, "f-test", name)[name]
        assert end == np.inf
        assert np.isfinite(lower)
        assert lower < float(found.values[name]) <= upper


def test_rates_are_held_in_their_own_units():
    start = {"a": lux.positive(2.0), "b": lux.bounded(1.0, 0.0, 9.0), "c": 0.3}
    plain = curve_fit(decay, X, Y, (2.0, 1.0, 0.3)).conf_interval(method="f-test")
    mapped = curve_fit(decay, X, Y, start).conf_interval(method="f-test")
    for name in NAMES:
        np.testing.assert_allclose(mapped[name], plain[name], rtol=1e-5)


def test_holding_compiles_nothing():
    traces = []

    def counted(x, a, b, c):
        traces.append(1)
        return decay(x, a, b, c)

    found = curve_fit(counted, X, Y, (2.0, 1.0, 0.3))
    first = len(traces)
    found.conf_interval(method="f-test")
    assert len(traces) == first


def test_a_wall_is_an_end_and_no_open_one():
    """The root is not finite below 0."""
    ps = lux.flatten.flatten({"a": 0.04})
    residual = lambda ps, st, data: (jnp.sqrt(ps.params.a) - data, st)  # noqa: E731
    found = least_squares(residual, ps, data=jnp.array([0.0, 0.1, 0.5]))
    lower, upper = found.conf_interval(method="f-test")["a"]
    np.testing.assert_allclose(lower, 0.0, atol=1e-6)
    assert 0.1 < upper < 4.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "bootstrap"}, 'by method="wald", "profile" or "f-test"'),
        ({"level": 95.0}, "level is between 0 and 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_interval_is_refused(ours, options, message):
    with pytest.raises(ValueError, match=message):
        ours.conf_interval(**options)


def test_a_robust_loss_has_intervals_by_its_standard_errors_alone():
    found = curve_fit(decay, X, Y, (2.0, 1.0, 0.3), loss="huber", f_scale=0.1)
    assert set(found.conf_interval()) == set(NAMES)
    assert np.all(np.isnan(found.predict(X).prediction))
    with pytest.raises(ValueError, match='write method="wald"'):
        found.conf_interval(method="f-test")


# The same of a fit whose standard deviation is estimated


class Decay(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"a": lux.real(2.0), "b": lux.real(1.0), "c": lux.real(0.3), "sigma": lux.positive(0.2)}

    def __call__(self, ts, ps, st):
        return decay(ts, ps.a, ps.b, ps.c), st


def fitted(noise):
    data = est.Data([est.Experiment("one", X, {"y": Y})])
    problem = est.Problem(Decay(), data, observe={"y": lambda t, y, ps: y}, noise=noise)
    return est.fit(problem, lux.setup(jax.random.key(0), Decay())[0])


def test_the_f_test_of_a_fit_is_that_of_least_squares(ours):
    found, expected = fitted("sigma").conf_interval(method="f-test"), ours.conf_interval(method="f-test")
    assert list(found) == list(NAMES)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3)  # by interpolation


def test_a_fit_without_one_deviation_that_is_estimated_has_no_f_test():
    with pytest.raises(ValueError, match='which is estimated, and without priors; here write method="profile"'):
        fitted(0.1).conf_interval(method="f-test")
