"""Experiments that are driven: doses and measured inputs, beside closed forms."""

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

est = lux.estimation
RATE = 0.7


class Elimination(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"rate": lux.positive(0.4)}

    def __call__(self, y, ps, st):
        return -ps.rate * y, st


class Driven(Elimination):
    def __call__(self, inputs, ps, st):
        y, u = inputs
        return u - ps.rate * y, st


def after_doses(ts, doses):
    """The sum of what is left of each dose."""
    return sum(
        amount * np.where(ts >= time, np.exp(-RATE * (ts - time)), 0.0) for time, amount in zip(*doses, strict=True)
    )


def test_doses_of_each_experiment():
    node = lux.JumpODE(Elimination(), t1=6.0, rtol=1e-9, atol=1e-9)
    schedules = {"one": ([0.5], [2.0]), "three": ([1.0, 0.0, 3.5], [1.0, 0.5, 2.0]), "none": None}
    times = {"one": np.array([0.25, 1.0, 6.0]), "three": np.array([0.75, 2.0, 4.0, 5.0]), "none": np.array([1.0])}
    experiments = [
        est.Experiment(
            name,
            times[name],
            {"y": after_doses(times[name], doses) if doses else 1.5 * np.exp(-RATE * times[name])},
            y0=np.array([0.0 if doses else 1.5]),
            doses=doses and (doses[0], np.array(doses[1])[:, None]),
        )
        for name, doses in schedules.items()
    ]
    problem = est.Problem(node, est.Data(experiments), observe={"y": 0}, noise=0.01)
    fit = est.fit(problem, *lux.setup(jax.random.key(0), node))
    np.testing.assert_allclose(fit.values.model.rate, RATE, rtol=1e-6)
    assert fit.chi_square < 1e-8


def test_inputs_of_each_experiment():
    node = lux.NeuralODE(Driven(), t1=4.0, rtol=1e-9, atol=1e-9)
    ts = np.array([0.5, 1.5, 4.0])

    # Under u = a + b t: y = (a - b / k) / k + b t / k + c exp(-k t), with y(0) = 0.
    def closed(a, b):
        start = (a - b / RATE) / RATE
        return start + b * ts / RATE - start * np.exp(-RATE * ts)

    knots = jnp.array([0.0, 1.0, 4.0])
    experiments = [
        est.Experiment(
            str(i), ts, {"y": closed(a, b)}, y0=np.zeros(1), inputs=lux.solvers.linear_input(knots, a + b * knots)
        )
        for i, (a, b) in enumerate([(1.0, 0.0), (0.5, 0.3)])
    ]
    problem = est.Problem(node, est.Data(experiments), observe={"y": 0}, noise=0.01)
    fit = est.fit(problem, *lux.setup(jax.random.key(0), node))
    np.testing.assert_allclose(fit.values.model.rate, RATE, rtol=1e-6)


class Production(lux.AbstractContainer):
    """`dy/dt = stimulus production - rate y`."""

    rates: lux.ParameterDict

    def __call__(self, y, ps, st):
        return ps.rates.stimulus * ps.rates.production - ps.rates.rate * y, st


def test_an_experiment_that_begins_at_the_steady_state_of_other_conditions():
    field = Production(
        lux.ParameterDict(
            stimulus=lux.fixed(0.0), before=lux.fixed(1.0), production=lux.positive(1.0), rate=lux.positive(0.4)
        )
    )
    node = lux.NeuralODE(field, t1=4.0, rtol=1e-9, atol=1e-9)
    rest = lux.SteadyStateODE(field, rtol=1e-9, atol=1e-9)

    def at_rest(ps):
        # Under what was there before, which differs between experiments.
        own = ps.model.set("rates.stimulus", ps.model.rates.before)
        return rest(jnp.zeros(1), {"model": own}, lux.setup(jax.random.key(0), rest)[1])[0]

    ts, truth = np.linspace(0.2, 4.0, 8), 2.1
    data = est.Data(
        [
            est.Experiment(
                f"withdrawn from {level:g}",
                ts,
                {"y": level * truth / RATE * np.exp(-RATE * ts)},
                overrides={"before": level},
            )
            for level in (1.0, 3.0)
        ]
    )
    problem = est.Problem(node, data, observe={"y": 0}, noise=0.01, initial=at_rest)
    fit = est.fit(problem, *lux.setup(jax.random.key(0), node))
    np.testing.assert_allclose(
        [fit.values.model.rates.rate, fit.values.model.rates.production], [RATE, truth], rtol=1e-6
    )
    # The covariance of the closed form: the start depends on both parameters.
    slopes = [
        level * np.stack([-(truth / RATE**2 + truth * ts / RATE) * np.exp(-RATE * ts), np.exp(-RATE * ts) / RATE], 1)
        for level in (1.0, 3.0)
    ]
    expected = 0.01 * np.sqrt(np.diag(np.linalg.inv(sum(one.T @ one for one in slopes))))
    found = [fit.stderr.model.rates.rate, fit.stderr.model.rates.production]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_a_sequence_of_conditions_is_an_input_that_jumps():
    node = lux.NeuralODE(Driven(), t1=4.0, rtol=1e-9, atol=1e-9)
    ts = np.array([0.5, 1.0, 1.5, 2.5, 4.0])
    # u = 1 up to 1, then 0 up to 2, then 2.
    knots, levels = np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.0, 2.0])

    def closed(t):
        y, ends = 0.0, [*knots[1:], np.inf]
        for begin, end, level in zip(knots, ends, levels, strict=True):
            span = min(t, end) - begin
            y = level / RATE + (y - level / RATE) * np.exp(-RATE * span)
            if t <= end:
                return y
        return None

    experiment = est.Experiment(
        "steps",
        ts,
        {"y": [closed(t) for t in ts]},
        y0=np.zeros(1),
        inputs=lux.solvers.hold_input(jnp.asarray(knots), jnp.asarray(levels)),
    )
    problem = est.Problem(node, est.Data([experiment]), observe={"y": 0}, noise=0.01)
    fit = est.fit(problem, *lux.setup(jax.random.key(0), node))
    np.testing.assert_allclose(fit.values.model.rate, RATE, rtol=1e-6)


def test_a_hybrid_equation_brings_its_own_layers_and_start():
    def decay(t, y, terms):
        return -terms.rates.rate * y

    rates, start = lux.ParameterDict(rate=lux.positive(0.4)), lux.ParameterDict(level=lux.positive(1.0))
    node = lux.HybridODE(
        decay,
        rates=rates,
        start=start,
        initial=lambda x, terms: terms.start.level,
        observation=lambda y, terms: {"log": jnp.log(y)},
        t1=3.0,
        rtol=1e-9,
        atol=1e-9,
    )
    ts = np.array([0.5, 1.0, 2.0, 3.0])
    data = est.Data([est.Experiment(name, ts, {"log": np.log(2.0) - RATE * ts}) for name in ("one", "two")])
    problem = est.Problem(node, data, observe={"log": lambda t, y, ps: y["log"]}, noise=0.01)
    fit = est.fit(problem, *lux.setup(jax.random.key(0), node))
    np.testing.assert_allclose([fit.values.rates.rate, fit.values.start.level], [RATE, 2.0], rtol=1e-6)
