"""Draws of posteriors beside closed forms, and beside reference draws of posteriordb (stan-dev/posteriordb 28f8d3d, BSD-3-Clause)."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import refused
from test_posteriors import REFERENCE, lynx_and_hare

import sciml_lux as lux

est = lux.estimation
DATA = pathlib.Path(__file__).parents[1] / "data" / "posteriordb"
KEY = jax.random.key(0)
TS = np.linspace(-1.0, 1.0, 21)
SIGMA = 0.3
WALL, ENDS = 0.52, (1.9, 2.05)


class Line(lux.AbstractLayer):
    """A level above which the model fails, a slope, and what cannot be told from the level."""

    def initial_parameters(self, key):
        numbers = {"level": lux.real(0.4), "slope": lux.real(2.0), "shift": lux.real(1.0)}
        return numbers | {"shares": lux.bounded(jnp.array([0.5, 0.5]), 0.0, 1.0), "seen": lux.fixed(1.0)}

    def __call__(self, ts, ps, st):
        level = jnp.where(ps.level > WALL, jnp.nan, ps.level)
        return level + ps.shift + ps.slope * ts, st


PRIORS = {"level": est.priors.Normal(0.0, 1.0), "shift": est.priors.Normal(0.0, 1.0)}


def line(bounds, level=0.4):
    y = 1.5 + 2.0 * TS + SIGMA * np.random.default_rng(0).normal(size=len(TS))
    data = est.Data([est.Experiment("a", TS, {"y": y})])
    problem = est.Problem(
        Line(), data, observe={"y": lambda t, y, ps: y}, noise=SIGMA, priors=PRIORS, bounds={"slope": ENDS} | bounds
    )
    return est.fit(problem, lux.setup(KEY, Line())[0].set("level", level))


@pytest.fixture(scope="module")
def fit():
    return line({"shift": (1.0, 1.0)})


@pytest.fixture(scope="module")
def posterior(fit):
    return fit.sample(KEY, draws=1500, warmup=300, chains=4)


def truncated(fit):
    """In closed form: the mean of the data and the slope are independent; each is normal, and cut off."""
    y = fit.problem.data.experiments[0].observations["y"].ravel()
    precision = len(TS) / SIGMA**2 + 1.0
    mean, sd = np.sum(y - 1.0) / SIGMA**2 / precision, precision**-0.5
    slope, spread = np.sum(y * TS) / np.sum(TS**2), SIGMA / np.sqrt(np.sum(TS**2))
    return {
        "level": scipy.stats.truncnorm(-np.inf, (WALL - mean) / sd, mean, sd),
        "slope": scipy.stats.truncnorm(*((end - slope) / spread for end in ENDS), slope, spread),
        "shares[0]": scipy.stats.uniform(),
    }


def test_draws_are_those_of_the_closed_form_beside_walls_and_within_bounds(fit, posterior):
    assert posterior.names == ("level", "slope", "shares[0]", "shares[1]")
    for name, density in truncated(fit).items():
        draws = posterior.draws[name]
        assert abs(draws.mean() - density.mean()) < 0.08 * density.std(), name
        assert abs(draws.std() / density.std() - 1) < 0.06, name
        assert abs(density.cdf(np.quantile(draws, 0.9)) - 0.9) < 0.03, name
        assert posterior.r_hat[name] < 1.02
        assert min(posterior.ess_bulk[name], posterior.ess_tail[name]) > 400
    assert np.max(posterior.draws["level"]) <= WALL
    assert (ENDS[0] <= posterior.draws["slope"]).all()
    assert (posterior.draws["slope"] <= ENDS[1]).all()


def test_draws_come_in_the_structure_of_the_parameters(posterior):
    values = posterior.values
    assert values.level.shape == values.shift.shape == (4, 1500)
    assert values.shares.shape == (4, 1500, 2)
    assert np.all(np.asarray(values.shift) == 1.0)
    assert np.all(np.asarray(values.seen) == 1.0)
    np.testing.assert_allclose(posterior.ps.params.shares, values.shares, rtol=1e-9)
    np.testing.assert_allclose(posterior.mean.level, posterior.draws["level"].mean(), rtol=1e-12)
    np.testing.assert_allclose(posterior.sd.shares[1], posterior.draws["shares[1]"].std(ddof=1), rtol=1e-12)
    np.testing.assert_allclose(posterior.quantile(0.9).slope, np.quantile(posterior.draws["slope"], 0.9), rtol=1e-12)
    assert (float(posterior.mean.shift), float(posterior.sd.shift)) == (1.0, 0.0)


def test_a_wall_of_the_model_ends_trajectories_and_is_told(posterior):
    assert posterior.divergences > 0
    text = repr(posterior)
    assert "4 chains of 1500 draws" in text
    assert f"warning: {posterior.divergences} of 6000 trajectories diverged" in text
    assert "level" in text
    assert "shift" not in text
    assert "R-hat" in text


def test_what_is_drawn_is_the_density_of_the_problem(fit, posterior):
    """Up to the Jacobians of the bounds, at every draw: the sampler's own coordinates are logistic between two ends."""
    ps = posterior.ps
    at = (0, 3), (2, 700), (3, 1499)
    slope = np.asarray(posterior.draws["slope"])
    differences = []
    for place in at:
        between = np.log((slope[place] - ENDS[0]) * (ENDS[1] - slope[place]))
        own = posterior.drawn.log_density[place] - between
        differences.append(own - float(fit.problem.log_density(ps.vector[place])))
    np.testing.assert_allclose(differences, differences[0], atol=1e-9)


def test_the_same_key_draws_the_same_and_compiles_nothing(fit, posterior):
    with jax.log_compiles(False), jax.no_tracing():
        again = fit.sample(KEY, draws=1500, warmup=300, chains=4)
    assert again.vectors.tobytes() == posterior.vectors.tobytes()
    assert np.all(fit.sample(jax.random.key(1), draws=8, warmup=20).vectors[..., 0] != posterior.vectors[:, :8, 0])


def test_one_chain_is_compared_with_itself(posterior):
    one = dataclasses.replace(posterior, vectors=posterior.vectors[:1])
    assert 0.99 < one.r_hat["slope"] < 1.02


def test_without_the_extra_its_name_is_said(fit, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"blackjax and arviz; write pip install 'sciml-lux\[sampling\]'"):
        fit.sample(KEY)


def test_arviz_has_the_draws_and_what_the_sampler_did(posterior):
    found = posterior.to_arviz()
    assert set(found.posterior.data_vars) == {"level", "slope", "shares"}
    assert found.posterior["shares"].shape == (4, 1500, 2)
    np.testing.assert_array_equal(found.posterior["slope"].values, posterior.draws["slope"])
    assert int(found.sample_stats["diverging"].sum()) == posterior.divergences
    assert {"acceptance_rate", "n_steps", "energy", "lp"} < set(found.sample_stats.data_vars)


@pytest.mark.usefixtures("unchecked")
def test_pictures(posterior):
    pairs, trace = posterior.plot(), posterior.plot("trace")
    assert len(pairs.axes) == 16
    assert [axis.get_ylabel() for axis in trace.axes] == list(posterior.names)
    with pytest.raises(ValueError, match='"pairs" or "trace", got \'violin\''):
        posterior.plot("violin")


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused(fit, posterior):
    refused(lambda: fit.sample(2000), lux.ParameterError, "key comes first", "draws=2000")
    refused(lambda: fit.sample(KEY, draws=2.5), lux.ParameterError, "draws", "8 or more", "2.5")
    refused(lambda: fit.sample(KEY, warmup=0), lux.ParameterError, "warmup", "20 or more")
    refused(lambda: fit.sample(KEY, chains=0), lux.ParameterError, "chains", "1 or more")
    with pytest.raises(ValueError, match=r"target_accept is a share between 0 and 1, got 1\.0"):
        fit.sample(KEY, target_accept=1.0)
    with pytest.raises(ValueError, match="between 0 and 1, got 5"):
        posterior.quantile(5)


def test_where_no_chain_can_start_is_said():
    failed = line({}, level=0.6)
    assert failed.outcome == "failed"
    refused(lambda: failed.sample(KEY), lux.SolveError, "the fit failed", "not finite")
    held = {name: (value, value) for name, value in {"level": 0.4, "shift": 1.0, "shares": 0.5, "slope": 2.0}.items()}
    refused(lambda: line(held).sample(KEY), lux.ParameterError, "nothing to sample")


@pytest.mark.slow
def test_lynx_and_hare():
    _, fit = lynx_and_hare(rtol=1e-6, atol=1e-6)
    posterior = fit.sample(KEY, draws=2000)
    assert posterior.divergences == 0
    assert posterior.warnings == []
    for name, (mean, deviation) in REFERENCE.items():
        draws = posterior.draws[f"model.{name}"]
        assert abs(draws.mean() - mean) < 0.05 * deviation, name
        assert abs(draws.std() / deviation - 1) < 0.05, name
        assert posterior.r_hat[f"model.{name}"] < 1.01, name


class Elimination(lux.AbstractLayer):
    """`C' = exp(-k_a t) D k_a / V - V_m / V C / (K_m + C)`."""

    dose: float
    volume: float

    def initial_parameters(self, key):
        return {name: lux.positive(1.0) for name in ("k_a", "K_m", "V_m", "sigma")}

    def __call__(self, x, ps, st):
        t, concentration = x
        absorbed = self.dose * ps.k_a / self.volume * jnp.exp(-ps.k_a * t)
        return absorbed - ps.V_m / self.volume * concentration / (ps.K_m + concentration), st


@pytest.mark.slow
def test_absorption_and_elimination_by_an_enzyme():
    """Its density has a long, narrow ridge, for which steps must be small: Stan's `adapt_delta` of the reference is above 0.8 as well."""
    measured = json.loads((DATA / "one_comp_mm_elim_abs.json").read_text())
    node = lux.NeuralODE(
        Elimination(float(measured["D"]), float(measured["V"])), t1=10.0, rtol=1e-6, atol=1e-6, time=True
    )
    one = est.Experiment("dose", np.array(measured["times"]), {"C": np.array(measured["C_hat"])}, y0=[0.0])
    problem = est.Problem(
        node,
        est.Data([one]),
        observe={"C": 0},
        noise=est.noise.LogNormal("sigma"),
        priors=dict.fromkeys(("k_a", "K_m", "V_m", "sigma"), est.priors.HalfCauchy(1.0)),
    )
    posterior = est.fit(problem, lux.setup(KEY, node)[0]).sample(KEY, draws=5000, target_accept=0.99)
    assert max(posterior.r_hat.values()) < 1.01
    for name, quantiles in {"K_m": (0.085906, 0.97954, 8.6852), "V_m": (0.64897, 0.8973, 1.4751)}.items():
        found = np.quantile(posterior.draws[f"model.{name}"], [0.05, 0.5, 0.95])
        np.testing.assert_allclose(found, quantiles, rtol=0.1, err_msg=name)
    for name, (mean, deviation) in {"k_a": (0.761013, 0.0779038), "sigma": (0.128835, 0.0234023)}.items():
        assert abs(posterior.draws[f"model.{name}"].mean() - mean) < 0.1 * deviation, name


class Cholera(lux.AbstractLayer):
    def initial_parameters(self, key):
        start = {"beta": 1.0, "gamma": 0.2, "xi": 10.0, "delta": 0.4}
        return {name: lux.positive(value) for name, value in start.items()}

    def __call__(self, y, ps, st):
        susceptible, infected, _, bacteria = y
        infections = ps.beta * bacteria / (bacteria + 1e6) * susceptible
        recoveries = ps.gamma * infected
        rates = (-infections, infections - recoveries, recoveries, ps.xi * infected - ps.delta * bacteria)
        return jnp.stack(rates), st


class Intervals(lux.AbstractContainer):
    """Infections since the time before, and bacteria: what a problem observes at one time, it sees of that time alone."""

    node: lux.NeuralODE
    start: tuple[float, ...]

    def __call__(self, ts, ps, st):
        start = jnp.asarray(self.start, ts.dtype)
        solution, node = self.node.solve(start, ps.node, st.node, ts=ts)
        susceptible = jnp.concatenate([start[:1], solution.ys[:, 0]])
        return jnp.stack([susceptible[:-1] - susceptible[1:], solution.ys[:, 3]], axis=1), lux.State(node=node)


@pytest.mark.slow
def test_cholera():
    measured = {name: np.array(value, float) for name, value in json.loads((DATA / "sir.json").read_text()).items()}
    node = lux.NeuralODE(Cholera(), t1=float(measured["t"][-1]), rtol=1e-6, atol=1e-6)
    model = Intervals(node, tuple(measured["y0"].tolist()))
    seen = {"infections": measured["stoi_hat"], "bacteria": measured["B_hat"]}
    problem = est.Problem(
        model,
        est.Data([est.Experiment("outbreak", measured["t"], seen)]),
        observe={"infections": 0, "bacteria": 1},
        noise={"infections": est.noise.Poisson(), "bacteria": est.noise.LogNormal(0.15)},
        priors={
            name: est.priors.HalfCauchy(scale)
            for name, scale in {"beta": 2.5, "gamma": 1.0, "xi": 25.0, "delta": 1.0}.items()
        },
    )
    posterior = est.fit(problem, lux.setup(KEY, model)[0]).sample(KEY, draws=2000)
    assert posterior.warnings == []
    reference = {
        "beta": (1.0114, 0.042629),
        "gamma": (0.19994, 0.0086407),
        "xi": (10.54, 0.70979),
        "delta": (0.35552, 0.025211),
    }
    for name, (mean, deviation) in reference.items():
        draws = posterior.draws[f"node.model.{name}"]
        assert abs(draws.mean() - mean) < 0.1 * deviation, name
        assert abs(draws.std() / deviation - 1) < 0.1, name
