"""Intervals, profiles, derived quantities, bands and bootstraps beside what is known of them in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import sciml_lux as lux

est = lux.estimation
TS = np.linspace(-1.0, 2.0, 15)
SIGMA = 0.3


class Line(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"level": lux.real(0.0), "slope": lux.real(1.0)}

    def __call__(self, ts, ps, st):
        return ps.level + ps.slope * ts, st


class Rate(lux.AbstractLayer):
    """One positive number, seen as it is."""

    def initial_parameters(self, key):
        return {"rate": lux.positive(1.0), "unseen": lux.positive(1.0)}

    def __call__(self, ts, ps, st):
        return ps.rate * jnp.ones_like(ts), st


def problem_of(model, y, **options):
    data = est.Data([est.Experiment("a", TS[: len(y)], {"y": y})])
    return est.Problem(model, data, observe={"y": lambda t, y, ps: y}, noise=SIGMA, **options)


@pytest.fixture(scope="module")
def line():
    y = 0.5 + 2.0 * TS + SIGMA * np.random.default_rng(0).normal(size=len(TS))
    return est.fit(problem_of(Line(), y), lux.setup(jax.random.key(0), Line())[0])


@pytest.fixture(scope="module")
def covariance():
    design = np.stack([np.ones_like(TS), TS], axis=1)
    return np.linalg.inv(design.T @ design) * SIGMA**2


def test_a_line_has_the_intervals_of_linear_regression(line, covariance):
    np.testing.assert_allclose(line.covariance, covariance, rtol=1e-9)
    width = scipy.stats.norm.ppf(0.95) * np.sqrt(np.diag(covariance))
    wald, profile = (line.conf_interval(0.9, method) for method in ("wald", "profile"))
    for i, name in enumerate(("level", "slope")):
        expected = float(line.values[name]) + np.array([-1, 1]) * width[i]
        np.testing.assert_allclose(wald[name], expected, rtol=1e-9)
        np.testing.assert_allclose(
            profile[name], expected, rtol=2e-3
        )  # by interpolation; the likelihood is normal here


def test_derived_quantities_have_the_errors_of_the_delta_method(line, covariance):
    found = line.derived(lambda p: {"root": -p.level / p.slope, "at 3": p.level + 3.0 * p.slope})
    assert list(found.values) == list(found.stderr) == ["root", "at 3"]
    np.testing.assert_allclose(found.stderr["at 3"], np.sqrt([1, 3] @ covariance @ [1, 3]), rtol=1e-9)
    level, slope = float(line.values.level), float(line.values.slope)
    rates = np.array([-1 / slope, level / slope**2])
    np.testing.assert_allclose(found.stderr["root"], np.sqrt(rates @ covariance @ rates), rtol=1e-9)


def test_bands_are_those_of_linear_regression(line, covariance):
    ts = np.array([-3.0, 0.0, 5.0])
    found = line.predict(ts, level=0.8)
    design = np.stack([np.ones(3), ts], axis=1)
    variance = np.einsum("ti,ij,tj->t", design, covariance, design)
    width = scipy.stats.norm.ppf(0.9)
    np.testing.assert_allclose(found.confidence["y"][1][0] - found.values["y"][0], width * np.sqrt(variance), rtol=1e-7)
    np.testing.assert_allclose(
        found.values["y"][0] - found.prediction["y"][0][0], width * np.sqrt(variance + SIGMA**2), rtol=1e-7
    )


def test_a_bootstrap_scatters_as_the_errors_say(line, covariance):
    found = line.bootstrap(300, jax.random.key(0))
    assert found.successful.all()
    np.testing.assert_allclose(found.stderr, np.sqrt(np.diag(covariance)), rtol=0.15)
    low, high = found.interval(0.9)["slope"]
    np.testing.assert_allclose(high - low, 2 * scipy.stats.norm.ppf(0.95) * np.sqrt(covariance[1, 1]), rtol=0.2)


def test_laplace_is_the_posterior_of_a_line(line, covariance):
    found = line.laplace()
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9)
    draws = found.sample(jax.random.key(0), 4000)
    np.testing.assert_allclose(np.cov(np.asarray(draws.vector).T), covariance, rtol=0.1, atol=2e-4)


def test_what_is_not_determined_and_what_is_positive_has_the_intervals_of_that():
    y = 0.2 + SIGMA * np.random.default_rng(1).normal(size=8)
    fit = est.fit(problem_of(Rate(), y), lux.setup(jax.random.key(0), Rate())[0])
    assert fit.unidentified == ("unseen",)
    assert np.isinf(fit.stderr.unseen)
    assert "do not determine unseen" in str(fit)
    wald, profile = fit.conf_interval(), fit.conf_interval(method="profile", names=["rate", "unseen"])
    assert wald["unseen"] == (-np.inf, np.inf)
    assert 0 < wald["rate"][0] < fit.values.rate < wald["rate"][1]
    mean, error = np.mean(y), SIGMA / np.sqrt(8)
    np.testing.assert_allclose(profile["rate"][1], mean + scipy.stats.norm.ppf(0.975) * error, rtol=5e-3)
    assert profile["unseen"] == (-np.inf, np.inf)
    with pytest.raises(lux.SolveError, match="unseen is not determined"):
        fit.laplace()


def test_intervals_of_nothing_are_refused(line, unchecked):
    with pytest.raises(ValueError, match="between 0 and 1"):
        line.conf_interval(95.0)
    with pytest.raises(ValueError, match="wald"):
        line.conf_interval(method="f")
    with pytest.raises(lux.ParameterError, match="no parameter 'slop'; nearest: slope"):
        line.profile("slop")
    with pytest.raises(ValueError, match="drawn as one of"):
        line.plot("pie")


@pytest.mark.parametrize("kind", ["fit", "bands", "residuals", "profiles", "correlation"])
def test_every_picture_is_drawn(line, kind, tmp_path):
    figure = line.plot(kind)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


class Wall(Line):
    """A line whose level jumps where the slope is beyond a limit: its likelihood has a wall."""

    def __call__(self, ts, ps, st):
        return ps.level + ps.slope * ts + jnp.where(ps.slope > 2.05, 5.0 * jnp.sign(ts - 0.5), 0.0), st


def test_a_wall_of_the_likelihood_is_no_open_end(line):
    y = 0.5 + 2.0 * TS
    fit = est.fit(problem_of(Wall(), y), lux.setup(jax.random.key(0), Wall())[0].set("slope", 1.9))
    low, high = fit.conf_interval(method="profile", names=["slope"])["slope"]
    assert np.isfinite(low)
    assert 2.0 < high < 2.06


class Product(lux.AbstractLayer):
    """Of the slope only a product of two numbers is seen."""

    def initial_parameters(self, key):
        return {"level": lux.real(0.5), "one": lux.real(1.42), "other": lux.real(1.4)}

    def __call__(self, ts, ps, st):
        return ps.level + ps.one * ps.other * ts, st


def test_what_a_prior_alone_holds_is_not_taken_for_unknown():
    """Differences do not see the prior's curvature beside that of precise data, Fisher's information does."""
    data = est.Data([est.Experiment("a", TS, {"y": 0.5 + 2.0 * TS})])
    priors = dict.fromkeys(("one", "other"), est.priors.Normal(0.0, 1.0))
    problem = est.Problem(Product(), data, observe={"y": lambda t, y, ps: y}, noise=1e-5, priors=priors)
    fit = est.fit(problem, lux.setup(jax.random.key(0), Product())[0])
    assert not fit.unidentified
    np.testing.assert_allclose([fit.stderr.one, fit.stderr.other], np.sqrt(0.5), rtol=1e-3)
