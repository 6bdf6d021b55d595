"""Second opinions, directions that data leave open, effective parameters, tests of residuals, notebooks, screened starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import sciml_lux as lux
from sciml_lux.estimation.fitting._second_opinion import METHODS

est = lux.estimation
TS = np.linspace(0.0, 4.0, 40)
NOISE = np.random.default_rng(1).normal(size=40)


class Polynomial(lux.AbstractLayer):
    """`a + b t + c t^2`."""

    def initial_parameters(self, key):
        return {"a": lux.real(1.0), "b": lux.real(1.0), "c": lux.real(0.5), "sigma": lux.positive(1.0)}

    def __call__(self, ts, ps, st):
        return ps.a + ps.b * ts + ps.c * ts**2, st


def problem_of(noise=0.1, y=1.0 + 2.0 * TS + 0.3 * TS**2 + 0.1 * NOISE, bounds=None, **options):
    bounds = {"sigma": (1.0, 1.0)} | (bounds or {}) if noise != "sigma" else bounds
    data = est.Data([est.Experiment("one", TS, {"y": y})])
    return est.Problem(Polynomial(), data, observe=lambda t, y, ps: {"y": y}, noise=noise, bounds=bounds, **options)


PS, ST = lux.setup(jax.random.key(0), Polynomial())
PROBLEM = problem_of()


@pytest.fixture(scope="module")
def fit():
    return est.fit(PROBLEM, PS, ST)


@pytest.mark.parametrize("method", METHODS)
def test_scipy_finds_the_same_optimum_by_every_method(fit, method):
    theirs = est.fit(PROBLEM, PS, ST, method=method)
    assert theirs.outcome == "converged", theirs.reason
    np.testing.assert_allclose(theirs.objective, fit.objective, rtol=1e-8)
    for name in "abc":
        np.testing.assert_allclose(theirs.values[name], fit.values[name], rtol=1e-3)


@pytest.mark.parametrize("method", ["scipy:trf", "scipy:dogbox"])
def test_a_likelihood_that_is_no_sum_of_squares_is_not_minimised_as_one(method):
    with pytest.raises(ValueError, match=r'write method="scipy:L-BFGS-B"'):
        est.fit(problem_of(noise="sigma"), PS, ST, method=method)


def test_the_spectrum_of_a_line_that_two_parameters_share():
    class Sum(lux.AbstractLayer):
        def initial_parameters(self, key):
            return {"a": lux.real(1.0), "b": lux.real(1.0), "slope": lux.real(1.0)}

        def __call__(self, ts, ps, st):
            return ps.a + ps.b + ps.slope * ts, st

    data = est.Data([est.Experiment("one", TS, {"y": 2.0 + TS + 0.1 * NOISE})])
    problem = est.Problem(Sum(), data, observe=lambda t, y, ps: {"y": y}, noise=0.1)
    spectrum = est.fit(problem, *lux.setup(jax.random.key(0), Sum())).spectrum()
    assert np.isinf(spectrum.stderr[-1])
    assert np.all(spectrum.stderr[:-1] < 0.2)
    np.testing.assert_allclose(np.abs(spectrum.directions[-1]), [np.sqrt(0.5), np.sqrt(0.5), 0.0], atol=1e-6)
    assert spectrum.sloppy in (("+0.71 a -0.71 b",), ("+0.71 b -0.71 a",))
    assert "inf" in str(spectrum)


def test_the_spectrum_is_that_of_the_covariance(fit):
    spectrum = fit.spectrum()
    units = np.array([abs(float(PS[name])) for name in "abc"])
    covariance = spectrum.directions.T @ np.diag(spectrum.stderr**2) @ spectrum.directions
    np.testing.assert_allclose(covariance * np.outer(units, units), fit.covariance[:3, :3], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 1.0, 30.0, 1e6])
def test_effective_parameters_are_the_trace_of_the_hat_matrix(strength):
    problem = problem_of(penalties={"bend": lambda ps: strength * jnp.stack([ps.b, ps.c])})
    design = np.stack([np.ones(40), TS, TS**2], axis=1) / 0.1
    information = design.T @ design
    expected = np.trace(np.linalg.solve(information + strength**2 * np.diag([0.0, 1.0, 1.0]), information))
    np.testing.assert_allclose(est.fit(problem, PS, ST).effective_parameters, expected, rtol=1e-6)


def test_residuals_that_are_noise_and_such_that_are_not(fit):
    tests = fit.residual_tests()["y"]
    residuals = np.asarray(1.0 + 2.0 * TS + 0.3 * TS**2 + 0.1 * NOISE - Polynomial()(TS, fit.ps.params, ST)[0]) / 0.1
    np.testing.assert_allclose(tests.normality, scipy.stats.shapiro(residuals).pvalue, rtol=1e-6)
    assert min(tests[:3]) > 0.01
    assert 1.2 < tests.durbin_watson < 2.8
    trend = est.fit(problem_of(y=np.sin(3 * TS) + 0.1 * NOISE), PS, ST).residual_tests()["y"]
    assert trend.runs < 1e-4
    assert trend.size < 1e-10
    assert trend.durbin_watson < 0.7


def test_the_number_of_runs_of_noise_is_seldom_rare():
    rng = np.random.default_rng(0)
    from sciml_lux.estimation.fitting._residual_tests import _tests

    found = np.array([_tests(rng.normal(size=60)) for _ in range(400)])
    for column in range(3):  # p-values are spread evenly
        assert abs(np.mean(found[:, column] < 0.2) - 0.2) < 0.08


def test_a_notebook_shows_a_table(fit):
    text = fit._repr_html_()
    assert text.count("<tr>") == 5
    assert '<td style="text-align:left">a</td>' in text
    curve = est.curve_fit(lambda x, slope: slope * x, TS, 2 * TS + 0.1 * NOISE)
    assert "slope" in curve._repr_html_()


def test_pairs_are_drawn(fit, tmp_path):
    fit.plot("pairs", names=["a", "b", "c"]).savefig(tmp_path / "pairs.png")
    assert (tmp_path / "pairs.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="two numbers or more"):
        fit.plot("pairs", names=["a"])


def test_screened_starts_are_the_best_of_more():
    problem = problem_of(bounds=dict.fromkeys("abc", (-3.0, 3.0)))
    every = est.sample_starts(jax.random.key(0), problem, 20)
    kept = est.sample_starts(jax.random.key(0), problem, 5, screened=4)
    objectives = np.sort([float(problem.terms(every.replace(row)).objective) for row in every.vector])
    found = [float(problem.terms(kept.replace(row)).objective) for row in kept.vector]
    np.testing.assert_allclose(found, objectives[:5], rtol=1e-12)
    with pytest.raises(lux.ParameterError, match="screened"):
        est.sample_starts(jax.random.key(0), problem, 5, screened=0)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_region_of_a_linear_model_is_its_ellipse(fit, level):
    region = fit.region("a", "c", level=level, points=12)
    away = region.points - np.array([float(fit.values.a), float(fit.values.c)])
    covariance = fit.covariance[np.ix_([0, 2], [0, 2])]
    squares = np.einsum("pi,ij,pj->p", away, np.linalg.inv(covariance), away)
    np.testing.assert_allclose(squares, scipy.stats.chi2.ppf(level, 2), rtol=0.03)
    assert not np.any(region.is_open)


def test_a_region_ends_at_a_bound_where_it_is_open():
    bounded = est.fit(problem_of(bounds={"a": (-3.0, 1.06)}), PS, ST)
    region = bounded.region("a", "b", points=12)
    assert np.max(region.points[:, 0]) <= 1.06
    assert np.any(region.is_open)
    assert not np.all(region.is_open)
    with pytest.raises(lux.ParameterError, match="twice"):
        bounded.region("a", "a")
    with pytest.raises(lux.ParameterError, match="no parameter 'd'"):
        bounded.region("a", "d")
