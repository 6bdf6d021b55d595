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
