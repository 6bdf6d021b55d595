"""What to write where a problem, its data or its start are wrong."""

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

est = lux.estimation
TS = np.linspace(0.0, 1.0, 5)
KEY = jax.random.key(0)


class Exponential(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"rate": lux.positive(1.0), "sigma": lux.positive(0.5)}

    def __call__(self, ts, ps, st):
        return jnp.exp(-ps.rate * ts), st


MODEL, OBSERVE, Y = Exponential(), {"y": lambda t, y, ps: y}, np.exp(-0.7 * TS)
DATA = est.Data([est.Experiment("a", TS, {"y": Y})])
CENSORED = est.Data([est.Experiment("a", TS, {"y": Y}, censored={"y": np.sign(0.6 - Y).clip(-1, 0)})])
WITH_SIGMA = est.Data([est.Experiment("a", TS, {"y": Y}, sigma={"y": 0.1})])


def problem(data=DATA, model=MODEL, **options):
    return est.Problem(model, data, **{"observe": OBSERVE, "noise": "sigma"} | options)


PROBLEM, (PS, ST) = problem(bounds={"rate": (0.1, 2.0)}), lux.setup(KEY, MODEL)
HELD = problem(bounds={"sigma": (0.5, 0.5)})
STARTS = est.sample_starts(KEY, PROBLEM, 2)
TWICE = lux.Chain(one=MODEL, other=MODEL)
NAMES = {"est": est, "lux": lux, "np": np}

CASES = [
    (
        "estimation/_names.py: write the whole path of one",
        lambda: problem(model=TWICE),
        lambda: problem(model=TWICE, noise="one.sigma"),
    ),
    (
        "estimation/fitting/_fit.py: write est.Problem(model, data, observe=..., noise=...)",
        lambda: est.fit(MODEL, PS),
        lambda: est.fit(est.Problem(MODEL, DATA, observe=OBSERVE, noise=0.1), PS),
    ),
    (
        "estimation/fitting/_fit.py: write ps, st = lux.setup(key, model)",
        lambda: est.fit(PROBLEM, PS.params),
        lambda: est.fit(PROBLEM, *lux.setup(KEY, MODEL)),
    ),
    (
        "estimation/fitting/_fit.py: write ps, st = lux.setup(key, model) with the model of the problem",
        lambda: est.fit(PROBLEM, lux.flatten.flatten({"other": lux.positive(1.0)})),
        lambda: est.fit(PROBLEM, *lux.setup(KEY, PROBLEM.model)),
    ),
    (
        "estimation/fitting/_fit.py: write est.multistart(problem, starts, st)",
        lambda: est.fit(PROBLEM, STARTS),
        (NAMES | {"problem": PROBLEM, "starts": STARTS, "st": ST}, lambda found: found.best),
    ),
    (
        'estimation/fitting/_second_opinion.py: write method="scipy:L-BFGS-B"',
        lambda: est.fit(PROBLEM, PS, method="scipy:trf"),
        lambda: est.fit(PROBLEM, PS, method="scipy:L-BFGS-B"),
    ),
    (
        "estimation/problem/_arrays.py: write est.noise.Normal or LogNormal",
        lambda: problem(data=CENSORED, noise=est.noise.StudentT("sigma")).arrays,
        lambda: problem(data=CENSORED, noise=est.noise.LogNormal("sigma")).arrays,
    ),
    (
        "estimation/_parameter_table.py: write ps, st = lux.setup(key, problem.model)",
        lambda: est.parameter_table(PROBLEM, lux.flatten.flatten({"other": lux.positive(1.0)})),
        lambda: est.parameter_table(PROBLEM, lux.setup(KEY, PROBLEM.model)[0]),
    ),
    (
        "estimation/_parameter_table.py: write {'rate': {'value': 0.3, 'lower': 0.0, 'upper': 1.0}}",
        lambda: est.with_parameter_table(PROBLEM, PS, 0.3),
        lambda: est.with_parameter_table(PROBLEM, PS, {"rate": {"value": 0.3, "lower": 0.0, "upper": 1.0}}),
    ),
    (
        "estimation/_parameter_table.py: write 'Normal(0.0, 1.0)'",
        lambda: est.with_parameter_table(PROBLEM, PS, {"rate": {"prior": "Gauss(0.0)"}}),
        lambda: est.with_parameter_table(PROBLEM, PS, {"rate": {"prior": "Normal(0.0, 1.0)"}}),
    ),
    (
        'estimation/fitting/_intervals.py: write method="profile"',
        lambda: est.fit(problem(noise=0.1), PS).conf_interval(method="f-test", names=["rate"]),
        lambda: est.fit(problem(noise=0.1), PS).conf_interval(method="profile", names=["rate"]),
    ),
    (
        "estimation/fitting/_multistart.py: write starts = est.sample_starts(key, problem, n)",
        lambda: est.multistart(PROBLEM, PS),
        lambda: est.multistart(PROBLEM, est.sample_starts(KEY, PROBLEM, 2)),
    ),
    (
        "estimation/fitting/_sample.py: write fit.sample(jax.random.key(0), draws={})",
        lambda: est.fit(HELD, PS).sample(20),
        lambda: est.fit(HELD, PS).sample(jax.random.key(0), draws=20),
    ),
    (
        "estimation/fitting/_starts.py: write est.Problem(..., bounds={name: (lower, upper)})",
        lambda: est.sample_starts(KEY, problem(), 2),
        lambda: est.sample_starts(KEY, problem(bounds={"rate": (0.1, 2.0)}), 2),
    ),
    (
        "estimation/problem/_arrays.py: write sigma={{}: ...} there, or a number or the name of a parameter as noise",
        lambda: problem(noise=est.noise.Normal()).arrays,
        lambda: [
            problem(WITH_SIGMA, noise=est.noise.Normal()).arrays,
            problem(noise=0.1).arrays,
            problem(noise="sigma").arrays,
        ],
    ),
    (
        "estimation/problem/_arrays.py: write one of the two, such as noise={{}: est.noise.{}()}",
        lambda: problem(WITH_SIGMA).arrays,
        lambda: problem(WITH_SIGMA, noise={"y": est.noise.Normal()}).arrays,
    ),
    (
        "estimation/problem/_experiment.py: write Experiment('day 1', ts, {...})",
        lambda: est.Experiment(3, TS, {"y": Y}),
        lambda: est.Experiment("day 1", TS, {"y": Y}),
    ),
    (
        "estimation/problem/_experiment.py: write Data([Experiment(...), ...])",
        lambda: est.Data([{"y": Y}]),
        lambda: est.Data([est.Experiment("a", TS, {"y": Y})]),
    ),
    (
        "estimation/problem/_experiment.py: write nan for what was not observed",
        lambda: est.Experiment("a", TS, {"y": np.where(TS > 0.5, np.inf, Y)}),
        lambda: est.Experiment("a", TS, {"y": np.where(TS > 0.5, np.nan, Y)}),
    ),
    (
        "estimation/problem/_observe.py: write observe={{}: 0}",
        lambda: problem(observe="y"),
        lambda: problem(observe={"y": 0}),
    ),
    (
        "estimation/problem/_observe.py: write {{}: y[0]}",
        lambda: problem(observe=lambda t, y, ps: y).log_likelihood(PS),
        lambda: problem(observe=lambda t, y, ps: {"y": y}).log_likelihood(PS),
    ),
    (
        "estimation/problem/_problem.py: write est.Data([est.Experiment(...), ...])",
        lambda: problem([est.Experiment("a", TS, {"y": Y})]),
        lambda: problem(est.Data([est.Experiment("a", TS, {"y": Y})])),
    ),
    (
        "estimation/problem/_problem.py: write ps, st = lux.setup(key, model)",
        lambda: PROBLEM.check_gradient(PS.params),
        lambda: PROBLEM.check_gradient(lux.setup(KEY, MODEL)[0]),
    ),
]
