"""Densities beside SciPy's, and fits under each beside SciPy's optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import sciml_lux as lux

noise, priors, est = lux.estimation.noise, lux.estimation.priors, lux.estimation
N = scipy.stats
NOISES = {
    "normal": (noise.Normal("spread"), lambda y, m, s: N.norm.logpdf(y, m, s)),
    "log-normal": (noise.LogNormal("spread"), lambda y, m, s: N.lognorm.logpdf(y, s, scale=m)),
    "student": (noise.StudentT("spread", 3.0), lambda y, m, s: N.t.logpdf(y, 3.0, m, s)),
    "poisson": (noise.Poisson(), lambda y, m, s: N.poisson.logpmf(y, m)),
    "negative binomial": (noise.NegativeBinomial("spread"), lambda y, m, s: N.nbinom.logpmf(y, s, s / (s + m))),
}
PRIORS = {
    "normal": (priors.Normal(1.0, 2.0), N.norm(1.0, 2.0)),
    "log-normal": (priors.LogNormal(0.3, 0.7), N.lognorm(0.7, scale=np.exp(0.3))),
    "half-normal": (priors.HalfNormal(2.0), N.halfnorm(scale=2.0)),
    "half-cauchy": (priors.HalfCauchy(2.0), N.halfcauchy(scale=2.0)),
    "uniform": (priors.Uniform(-1.0, 3.0), N.uniform(-1.0, 4.0)),
    "log-uniform": (priors.LogUniform(0.1, 30.0), N.loguniform(0.1, 30.0)),
}


class Growth(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"size": lux.positive(4.0), "rate": lux.real(0.3), "spread": lux.positive(1.0)}

    def __call__(self, ts, ps, st):
        return ps.size * jnp.exp(ps.rate * ts), st


@pytest.mark.parametrize("name", NOISES)
def test_fits_are_the_maxima_of_scipys_densities(name):
    density, logpdf = NOISES[name]
    ts = np.linspace(0.0, 3.0, 40)
    size, rate, spread = 5.0, 0.5, {"negative binomial": 6.0, "log-normal": 0.2}.get(name, 0.8)
    mean = jnp.asarray(size * np.exp(rate * ts))
    y = np.asarray(density.sample(jax.random.key(3), mean, jnp.full_like(mean, spread)))
    problem = est.Problem(
        Growth(),
        est.Data([est.Experiment("a", ts, {"y": y})]),
        observe={"y": lambda t, y, ps: y},
        noise=density,
        bounds={} if density.has_spread else {"spread": (1.0, 1.0)},
    )
    ps, st = lux.setup(jax.random.key(0), Growth())
    at_start = logpdf(y, 4.0 * np.exp(0.3 * ts), 1.0).sum()
    np.testing.assert_allclose(problem.log_likelihood(ps, st), at_start, rtol=1e-10)
    fit = est.fit(problem, ps, st)

    def objective(p):
        return -logpdf(y, np.exp(p[0] + p[1] * ts), np.exp(p[2]) if density.has_spread else 1.0).sum()

    found = np.array([np.log(fit.values["size"]), fit.values.rate, np.log(fit.values.spread)])
    best = min(
        (
            scipy.optimize.minimize(
                objective, begin, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-10}
            )
            for begin in (found + 0.05, [np.log(size), rate, np.log(spread)])
        ),
        key=lambda one: one.fun,
    )
    assert fit.log_likelihood >= -best.fun - 1e-6 * abs(best.fun)
    assert fit.outcome == "converged"


@pytest.mark.parametrize("name", NOISES)
def test_information_and_residuals_are_those_of_draws(name):
    density, logpdf = NOISES[name]
    mean, spread = jnp.full(200_000, 7.0), jnp.full(200_000, {"log-normal": 0.3}.get(name, 4.0))
    y = density.sample(jax.random.key(0), mean, spread)
    np.testing.assert_allclose(
        density.log_density(y[:50], mean[:50], spread[:50]),
        logpdf(np.asarray(y[:50]), 7.0, float(spread[0])),
        rtol=1e-10,
    )
    slope = jax.vmap(jax.grad(lambda m, s, y: density.log_density(y, density.unlink(m), jnp.exp(s)), (0, 1)))
    scores = slope(density.link(mean), jnp.log(spread), y)
    location, of_spread = density.information(mean, spread)
    np.testing.assert_allclose(jnp.mean(scores[0] ** 2), location[0], rtol=0.03)
    if density.has_spread and name != "negative binomial":  # where it is said to be approximate
        np.testing.assert_allclose(jnp.mean(scores[1] ** 2), of_spread[0], rtol=0.03)
        assert abs(jnp.mean(scores[0] * scores[1])) < 0.03 * np.sqrt(location[0] * of_spread[0])
    if name != "student":  # whose fourth moment is infinite
        np.testing.assert_allclose(jnp.mean(density.standardized(y, mean, spread) ** 2), 1.0, rtol=0.03)


@pytest.mark.parametrize("name", PRIORS)
def test_priors_are_scipys(name):
    prior, expected = PRIORS[name]
    shares = np.linspace(0.02, 0.98, 25)
    values = prior.quantile(shares)
    np.testing.assert_allclose(values, expected.ppf(shares), rtol=1e-12)
    np.testing.assert_allclose(prior.log_density(jnp.asarray(values)), expected.logpdf(values), rtol=1e-12)
    outside = jnp.array([-2.0])
    if expected.pdf(-2.0) == 0:
        assert not np.isfinite(prior.log_density(outside)).any()


def test_densities_that_cannot_be_are_refused(unchecked):
    for call in (
        lambda: noise.Normal(0.0),
        lambda: noise.Normal(-1),
        lambda: priors.Normal(0.0, 0.0),
        lambda: priors.Uniform(2.0, 1.0),
        lambda: noise.StudentT(1.0, 0.0),
        lambda: priors.LogUniform(0.0, 1.0),
    ):
        with pytest.raises(ValueError, match="above 0"):
            call()
    with pytest.raises(lux.ParameterError, match="spread of Normal"):
        noise.Normal(np.ones(3))
