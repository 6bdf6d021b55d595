"""What a problem refuses, and what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml_lux as lux

est = lux.estimation
TS = np.linspace(0.0, 1.0, 4)
ONES = np.ones(4)
pytestmark = pytest.mark.usefixtures("unchecked")


class Field(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"rate": lux.positive(1.0), "sigma": lux.positive(0.5)}

    def __call__(self, y, ps, st):
        return -ps.rate * y, st


NODE = lux.NeuralODE(Field(), t1=1.0)


def experiment(ts=TS, y=ONES, **options):
    return est.Experiment("day 1", ts, {"y": y}, **{"y0": np.ones(1)} | options)


def problem(*experiments, model=NODE, **options):
    return est.Problem(model, est.Data(experiments or [experiment()]), **{"observe": {"y": 0}, "noise": 0.1} | options)


def counts(y):
    return problem(experiment(y=y), noise=est.noise.Poisson()).arrays


BAD = {
    "times that decrease": (
        lambda: experiment([0.0, 2.0, 1.0, 3.0]),
        ValueError,
        r"ts decrease at \[2\], from 2.0 to 1.0",
    ),
    "times not finite": (
        lambda: experiment([0.0, np.nan, 1.0, 2.0]),
        ValueError,
        r"'day 1': ts: times are finite, got nan at \[1\]",
    ),
    "no times": (lambda: experiment([], []), ValueError, "at least one time"),
    "lengths": (lambda: experiment(y=np.ones(3)), ValueError, r"y has shape \(3,\), expected \(4,\)"),
    "nothing observed": (lambda: experiment(y=np.full(4, np.nan)), ValueError, "all of y is NaN"),
    "words": (lambda: experiment(y=["a", "b", "c", "d"]), TypeError, "y is an array of numbers"),
    "zero sigma": (lambda: experiment(sigma={"y": 0.0}), ValueError, "sigma of y: standard deviations are above 0"),
    "sigma of another": (lambda: experiment(sigma={"z": 1.0}), TypeError, "sigma of 'z', which is not observed"),
    "sigma shape": (lambda: experiment(sigma={"y": np.ones(3)}), lux.ShapeError, "does not fit"),
    "override": (lambda: experiment(overrides={"rate": np.inf}), TypeError, "rate is replaced by a finite number"),
    "two of a name": (lambda: est.Data([experiment(), experiment()]), TypeError, "two experiments are called 'day 1'"),
    "some starts": (
        lambda: est.Data([experiment(), est.Experiment("b", TS, {"y": ONES})]),
        TypeError,
        "some experiments have y0, and b have none",
    ),
    "starts of two shapes": (
        lambda: est.Data([experiment(), est.Experiment("b", TS, {"y": ONES}, y0=np.ones(2))]),
        ValueError,
        "'b': y0 has shape",
    ),
    "no start": (
        lambda: problem(est.Experiment("a", TS, {"y": ONES})).log_likelihood(lux.setup(jax.random.key(0), NODE)[0]),
        TypeError,
        "give each experiment its y0",
    ),
    "unknown prior": (
        lambda: problem(priors={"rte": est.priors.Uniform(0.0, 1.0)}),
        TypeError,
        "priors: no parameter 'rte'; nearest",
    ),
    "no prior": (lambda: problem(priors={"rate": 3.0}), TypeError, "has a density of est.priors"),
    "no penalty": (lambda: problem(penalties={"ridge": 3.0}), TypeError, "ridge is a function"),
    "crossed bounds": (lambda: problem(bounds={"rate": (2.0, 1.0)}), ValueError, "above the upper"),
    "one bound": (lambda: problem(bounds={"rate": 2.0}), ValueError, "has a pair"),
    "unknown noise": (lambda: problem(noise={"y": 1.0, "z": 1.0}), TypeError, r"missing none, unknown \['z'\]"),
    "missing noise": (lambda: problem(noise={}), TypeError, r"missing \['y'\]"),
    "unknown sigma": (lambda: problem(noise="sgma"), TypeError, "noise of y: no parameter 'sgma'"),
    "unobserved": (lambda: problem(observe={"z": 0}), TypeError, "observe says nothing of y"),
    "negative counts": (lambda: counts(-ONES), ValueError, "y is 0 or more under Poisson noise, got -1"),
    "broken counts": (lambda: counts(0.5 * ONES), ValueError, "holds counts under Poisson noise, got 0.5"),
    "no logarithm": (
        lambda: problem(experiment(y=0 * ONES), noise=est.noise.LogNormal(0.1)).arrays,
        ValueError,
        "above 0 under LogNormal",
    ),
    "start outside": (
        lambda: est.fit(problem(bounds={"rate": (2.0, 3.0)}), *lux.setup(jax.random.key(0), NODE)),
        ValueError,
        r"bounds of model.rate: the start 1.0 is outside of \[2.0, 3.0\]",
    ),
    "times beyond the span": (
        lambda: problem(experiment(ts=[0.0, 1.0, 2.0, 3.0])),
        ValueError,
        "from 0 to 3 are beyond the span of the model, 0 to 1",
    ),
    "times before the start": (
        lambda: problem(experiment(t0=0.5)),
        ValueError,
        "beyond the span of the model, 0.5 to 1",
    ),
    "doses": (lambda: experiment(doses=([0.0, 1.0], [1.0])), ValueError, "expected one amount for each time"),
    "infinite doses": (lambda: experiment(doses=([np.inf], [1.0])), ValueError, "times and amounts are finite"),
    "doses of no jump": (
        lambda: problem(experiment(doses=([0.5], [1.0]))).log_likelihood(lux.setup(jax.random.key(0), NODE)[0]),
        TypeError,
        "doses are given to a JumpODE, and the model is a NeuralODE",
    ),
    "inputs of two kinds": (
        lambda: (
            problem(
                experiment(inputs=lux.solvers.linear_input(TS, TS)),
                est.Experiment("b", TS, {"y": ONES}, y0=np.ones(1), inputs=lux.solvers.linear_input(TS[:3], TS[:3])),
            ).arrays
        ),
        ValueError,
        "'b': its inputs are of another kind",
    ),
    "two starts": (
        lambda: problem(initial=lambda ps: jnp.ones(1)),
        TypeError,
        "given twice, by the problem .* and by day 1",
    ),
    "a start of no equation": (
        lambda: problem(model=Field()),
        TypeError,
        "the model is a Field; leave y0 and initial out",
    ),
    "method": (
        lambda: est.fit(problem(), *lux.setup(jax.random.key(0), NODE), method="simplex"),
        ValueError,
        'by method="scoring" or one of scipy:trf',
    ),
    "budget": (lambda: est.Budget(seconds=0.0), ValueError, "above 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_a_solve_that_fails_is_a_likelihood_of_zero_and_a_fit_that_failed():
    hard = lux.NeuralODE(Field(), t1=1.0, max_steps=2)
    ps, st = lux.setup(jax.random.key(0), hard)
    stuck = problem(experiment(ts=[1.0], y=[0.4]), model=hard)
    ps = ps.set("model.rate", 300.0)
    assert stuck.log_likelihood(ps, st) == -np.inf
    assert est.fit(stuck, ps, st).outcome == "failed"


def test_solutions_at_their_own_times_are_closed_forms():
    """Ragged experiments of an ODE, each from its own start and with a rate of its own, in one batch."""
    tight = lux.NeuralODE(Field(), t1=3.0, rtol=1e-10, atol=1e-10)
    rates, starts = [1.0, 0.5, 2.0], [1.0, 3.0, 0.5]
    times = [np.array([0.5, 1.0]), np.array([0.0, 0.1, 2.0, 3.0]), np.array([1.0])]
    experiments = [
        est.Experiment(str(i), ts, {"y": np.zeros(len(ts))}, y0=np.array([start]), overrides={"rate": rate})
        for i, (ts, start, rate) in enumerate(zip(times, starts, rates, strict=True))
    ]
    several = est.Problem(tight, est.Data(experiments), observe=lambda t, y, ps: {"y": y[0]}, noise="sigma")
    ps, st = lux.setup(jax.random.key(0), tight)
    predicted = several.terms(ps, st).predicted["y"].location
    for i, (ts, start, rate) in enumerate(zip(times, starts, rates, strict=True)):
        np.testing.assert_allclose(predicted[i, : len(ts)], start * np.exp(-rate * ts), rtol=1e-7)
    gradient = jax.grad(lambda vector: several.log_likelihood(ps.replace(vector), st))(ps.vector)
    assert jnp.all(jnp.isfinite(gradient))


def test_the_density_may_be_traced_before_it_was_ever_computed():
    tight = problem(experiment())
    ps, _ = lux.setup(jax.random.key(0), NODE)
    traced = jax.jit(tight.log_density)
    first = traced(ps.vector)
    np.testing.assert_allclose(tight.log_density(ps.vector), first, rtol=1e-12)
    assert np.all(np.isfinite(jax.jit(jax.grad(tight.log_density))(ps.vector + 0.1)))
