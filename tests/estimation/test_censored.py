"""Measurements of which only a limit is known, beside the closed form of their likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import sciml_lux as lux

est = lux.estimation
TS = np.linspace(0.0, 5.0, 60)
TRUTH = 4.0 * np.exp(-0.8 * TS)
RNG = np.random.default_rng(3)


class Decay(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"height": lux.positive(2.0), "rate": lux.positive(0.3), "sigma": lux.positive(0.5)}

    def __call__(self, ts, ps, st):
        return ps.height * jnp.exp(-ps.rate * ts), st


PS, ST = lux.setup(jax.random.key(0), Decay())
DRAWN = {"normal": TRUTH + 0.2 * RNG.normal(size=60), "log-normal": TRUTH * np.exp(0.2 * RNG.normal(size=60))}
NOISE = {"normal": est.noise.Normal, "log-normal": est.noise.LogNormal}


def censored_data(kind, below, above):
    """Measurements within the limits, and the limits where they are beyond, with NaN where nothing was observed."""
    y = np.clip(DRAWN[kind], below, above)
    sides = np.where(DRAWN[kind] < below, -1, np.where(DRAWN[kind] > above, 1, 0))
    y = np.where(np.arange(60) % 7 == 3, np.nan, y)
    return y, sides


def negative_log_likelihood(kind, vector, y, sides):
    height, rate, sigma = np.exp(vector)
    location, value = height * np.exp(-rate * TS), y
    extra = 0.0
    if kind == "log-normal":
        location, value, extra = np.log(location), np.log(y), np.log(y)
    z = (value - location) / sigma
    terms = np.where(
        sides == 0,
        scipy.stats.norm.logpdf(z) - np.log(sigma) - extra,
        np.where(sides < 0, scipy.stats.norm.logcdf(z), scipy.stats.norm.logsf(z)),
    )
    return -np.nansum(terms)


@pytest.mark.parametrize("kind", ["normal", "log-normal"])
@pytest.mark.parametrize("limits", [(0.5, 3.0), (1.5, np.inf), (-np.inf, 1.0)], ids=["both", "below", "above"])
def test_the_estimate_is_that_of_the_closed_form(kind, limits):
    below, above = limits
    y, sides = censored_data(kind, max(below, 0.0), above)
    data = est.Data([est.Experiment("one", TS, {"y": y}, censored={"y": sides})])
    problem = est.Problem(Decay(), data, observe={"y": lambda t, y, ps: y}, noise=NOISE[kind]("sigma"))
    fit = est.fit(problem, PS, ST)
    vector = np.log([float(fit.values[name]) for name in ("height", "rate", "sigma")])
    np.testing.assert_allclose(-fit.log_likelihood, negative_log_likelihood(kind, vector, y, sides), rtol=1e-10)
    theirs = scipy.optimize.minimize(
        lambda v: negative_log_likelihood(kind, v, y, sides),
        vector + 0.1,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 2000},
    )
    assert fit.outcome == "converged"
    assert -fit.log_likelihood <= theirs.fun + 1e-7
    np.testing.assert_allclose(vector, theirs.x, atol=1e-4)
    assert fit.num_data == np.sum(~np.isnan(y))
    assert len(fit.residual_tests()) == 1


def test_points_beyond_their_limits_are_not_estimated_as_if_on_them():
    y, sides = censored_data("normal", 1.0, np.inf)
    observe = {"y": lambda t, y, ps: y}
    known = est.Problem(
        Decay(), est.Data([est.Experiment("a", TS, {"y": y}, censored={"y": sides})]), observe=observe, noise="sigma"
    )
    naive = est.Problem(Decay(), est.Data([est.Experiment("a", TS, {"y": y})]), observe=observe, noise="sigma")
    ours, theirs = (est.fit(one, PS, ST) for one in (known, naive))
    errors = [abs(float(one.values.rate) - 0.8) for one in (ours, theirs)]
    assert errors[0] < 2 * float(ours.stderr.rate) < 0.3 < errors[1]
    boot = ours.bootstrap(20, jax.random.key(0))
    assert abs(np.mean(boot.values[:, 1]) - float(ours.values.rate)) < 3 * float(ours.stderr.rate)


@pytest.mark.parametrize(
    ("censored", "kind", "error", "says"),
    [
        ({"z": 1}, "Normal", lux.ParameterError, "which is not observed"),
        ({"y": 2}, "Normal", ValueError, "-1 below, 0 observed, 1 above"),
        ({"y": np.zeros(3)}, "Normal", lux.ShapeError, "does not fit"),
        ({"y": -1}, "StudentT", lux.ParameterError, "write est.noise.Normal or LogNormal"),
    ],
)
def test_what_cannot_be_censored_is_refused(censored, kind, error, says):
    noise = getattr(est.noise, kind)("sigma")
    with pytest.raises(error, match=says):
        _ = arrays_of(censored, noise)


def arrays_of(censored, noise):
    data = est.Data([est.Experiment("one", TS, {"y": TRUTH}, censored=censored)])
    return est.Problem(Decay(), data, observe={"y": lambda t, y, ps: y}, noise=noise).arrays
