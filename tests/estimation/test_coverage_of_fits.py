"""Intervals hold the truth as often as they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml_lux as lux

est = lux.estimation
TS = np.linspace(0.0, 3.0, 60)
TRUTH = {"size": 4.0, "rate": 0.8, "floor": 0.5, "sigma": 0.3}
MANY = 400


class Decay(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {name: lux.positive(value) for name, value in TRUTH.items()}

    def __call__(self, ts, ps, st):
        return ps.size * jnp.exp(-ps.rate * ts) + ps.floor, st


SEEN = np.random.default_rng(9).random(60) < 0.5
SIGMA = est.noise.Normal("sigma")
# By name: noise, bounds, which points are observed, and the parameters whose intervals are counted.
PROBLEMS = {
    "deviation estimated": (SIGMA, {"floor": (0.5, 0.5)}, np.ones(60, bool), ["size", "rate", "sigma"]),
    "half of it masked": (SIGMA, {"floor": (0.5, 0.5)}, SEEN, ["size", "rate"]),
    "the truth on a bound": (
        est.noise.Normal(0.3),
        {"floor": (0.5, 5.0), "sigma": (0.3, 0.3)},
        np.ones(60, bool),
        ["size"],
    ),
    "counts": (est.noise.Poisson(), {"floor": (0.5, 0.5), "sigma": (0.3, 0.3)}, np.ones(60, bool), ["size", "rate"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_intervals_cover_the_truth(name):
    noise, bounds, seen, counted = PROBLEMS[name]
    ps, _ = lux.setup(jax.random.key(0), Decay())
    mean = jnp.asarray(TRUTH["size"] * np.exp(-TRUTH["rate"] * TS) + TRUTH["floor"])
    hits = dict.fromkeys(counted, 0)
    on_bound = 0
    for key in jax.random.split(jax.random.key(1), MANY):
        y = np.where(seen, noise.sample(key, mean, jnp.full_like(mean, TRUTH["sigma"])), np.nan)
        data = est.Data([est.Experiment("a", TS, {"y": y})])
        fit = est.fit(est.Problem(Decay(), data, observe={"y": lambda t, y, ps: y}, noise=noise, bounds=bounds), ps)
        assert fit.outcome == "converged"
        on_bound += "lower" in fit.active.values()
        for parameter, (low, high) in fit.conf_interval(0.95, names=counted).items():
            hits[parameter] += low <= TRUTH[parameter] <= high
    expected = 0.95 * MANY
    allowed = 3 * np.sqrt(MANY * 0.95 * 0.05)
    if name == "the truth on a bound":
        assert 0.3 * MANY < on_bound < 0.7 * MANY
    for parameter, count in hits.items():
        assert abs(count - expected) <= allowed, (parameter, count / MANY)
