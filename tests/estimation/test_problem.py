"""Problems: likelihoods of experiments, what counts as a datum, and fits beside closed forms and SciPy."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import sciml_lux as lux

est = lux.estimation
TS = np.linspace(0.0, 4.0, 12)
TRUE = {"height": 3.0, "rate": 0.7}


class Decay(lux.AbstractLayer):
    """`height exp(-rate t)`, and standard deviations beside."""

    def initial_parameters(self, key):
        return {
            "height": lux.real(2.0),
            "rate": lux.positive(0.4, unit="1/s"),
            "sigma": lux.positive(0.5),
            "floor": lux.positive(0.1),
        }

    def __call__(self, ts, ps, st):
        return ps.height * jnp.exp(-ps.rate * ts), st


MODEL = Decay()
OBSERVE = {"y": lambda t, y, ps: y}


def curve(height, rate, ts=TS):
    return height * np.exp(-rate * ts)


def measured(seed=0, scale=0.2, ts=TS):
    return curve(**TRUE, ts=ts) + scale * np.random.default_rng(seed).normal(size=len(ts))


def problem_of(experiments, noise="sigma", fixed=("floor",), **options):
    bounds = dict.fromkeys(fixed, (0.1, 0.1)) | options.pop("bounds", {})
    return est.Problem(MODEL, est.Data(experiments), observe=OBSERVE, noise=noise, bounds=bounds, **options)


@pytest.fixture(scope="module")
def start():
    return lux.setup(jax.random.key(0), MODEL)


def fitted(problem, start):
    return est.fit(problem, *start)


def test_an_estimated_deviation_is_that_of_the_residuals(start):
    y = measured()
    fit = fitted(problem_of([est.Experiment("a", TS, {"y": y})]), start)
    popt, _ = scipy.optimize.curve_fit(lambda t, a, b: a * np.exp(-b * t), TS, y, (2.0, 0.4))
    residual = y - curve(*popt)
    sigma = np.sqrt(np.mean(residual**2))
    assert fit.outcome == "converged"
    np.testing.assert_allclose([fit.values.height, fit.values.rate, fit.values.sigma], [*popt, sigma], rtol=1e-6)
    np.testing.assert_allclose(fit.log_likelihood, scipy.stats.norm.logpdf(residual, scale=sigma).sum(), rtol=1e-12)

    def objective(p):
        z = (y - p[0] * jnp.exp(-p[1] * TS)) / p[2]
        return jnp.sum(0.5 * z**2 + jnp.log(p[2]))

    curvature = jax.jit(jax.hessian(objective))(jnp.array([*popt, sigma]))
    expected = np.sqrt(np.diag(np.linalg.inv(curvature)))
    assert fit.information.kind == "observed"
    np.testing.assert_allclose([fit.stderr.height, fit.stderr.rate, fit.stderr.sigma], expected, rtol=1e-4)
    assert (fit.num_data, fit.num_parameters, fit.active) == (12, 3, {"floor": "fixed"})
    np.testing.assert_allclose(fit.aic, 6 - 2 * fit.log_likelihood)
    np.testing.assert_allclose(fit.chi_square, 12, rtol=1e-6)


def test_what_was_not_observed_is_no_datum(start):
    ts = np.linspace(0.0, 4.0, 18)
    y = measured(1, ts=ts)
    seen = np.random.default_rng(3).random(18) < 0.6
    holes = np.where(seen, y, np.nan)
    alone = fitted(
        problem_of(
            [est.Experiment("a", ts[seen], {"y": y[seen]})],
            noise=0.2,
            fixed=("floor", "sigma"),
            bounds={"sigma": (0.5, 0.5)},
        ),
        start,
    )
    masked = fitted(
        problem_of([est.Experiment("a", ts, {"y": holes})], noise=0.2, fixed=("floor",), bounds={"sigma": (0.5, 0.5)}),
        start,
    )
    for name in ("height", "rate"):
        np.testing.assert_allclose(masked.values[name], alone.values[name], rtol=1e-9)
        np.testing.assert_allclose(masked.stderr[name], alone.stderr[name], rtol=1e-7)
    assert masked.num_data == alone.num_data == seen.sum()
    np.testing.assert_allclose(
        [masked.aic, masked.bic, masked.chi_square], [alone.aic, alone.bic, alone.chi_square], rtol=1e-9
    )


def test_priors_and_penalties_are_no_data(start):
    y = measured(2)
    prior = est.priors.Normal(0.5, 0.05)
    penalty = lambda ps: 2.0 * (ps.height - 1.0)  # noqa: E731
    with_both = problem_of(
        [est.Experiment("a", TS, {"y": y})],
        0.2,
        bounds={"sigma": (0.5, 0.5)},
        priors={"rate": prior},
        penalties={"height": penalty},
    )
    fit = fitted(with_both, start)

    def objective(p):
        data = np.sum((y - curve(p[0], np.exp(p[1]))) ** 2) / 0.2**2
        return 0.5 * (data + ((np.exp(p[1]) - 0.5) / 0.05) ** 2 + 4 * (p[0] - 1.0) ** 2)

    expected = scipy.optimize.minimize(objective, [2.0, -1.0], tol=1e-12).x
    np.testing.assert_allclose([fit.values.height, fit.values.rate], [expected[0], np.exp(expected[1])], rtol=1e-5)
    np.testing.assert_allclose(fit.log_prior, scipy.stats.norm.logpdf(fit.values.rate, 0.5, 0.05), rtol=1e-9)
    np.testing.assert_allclose(fit.penalty, 2 * (fit.values.height - 1.0) ** 2, rtol=1e-9)
    assert (fit.num_data, fit.num_parameters) == (12, 2)
    np.testing.assert_allclose(
        fit.chi_square, np.sum((y - curve(fit.values.height, fit.values.rate)) ** 2) / 0.2**2, rtol=1e-9
    )


def test_ragged_experiments_and_replicates_are_the_sum_of_each(start):
    ps, st = start
    one = est.Experiment("a", TS, {"y": measured(3)})
    two = est.Experiment("b", TS[:5], {"y": np.stack([measured(4)[:5], measured(5)[:5]])}, overrides={"height": 1.5})
    third = est.Experiment("c", [1.0, 1.0, 2.0], {"y": [0.3, np.nan, 0.2]}, overrides={"rate": "floor"})
    together = float(problem_of([one, two, third]).log_likelihood(ps, st))
    flat = lambda ts, values, a, b: scipy.stats.norm.logpdf(values, curve(a, b, ts), 0.5).sum()  # noqa: E731
    expected = (
        flat(TS, one.observations["y"], 2.0, 0.4)
        + flat(TS[:5], two.observations["y"], 1.5, 0.4)
        + flat(np.array([1.0, 2.0]), np.array([0.3, 0.2]), 2.0, 0.1)
    )
    np.testing.assert_allclose(together, expected, rtol=1e-12)


def test_the_density_of_the_vector_has_priors_and_the_jacobian(start):
    ps, st = start
    problem = problem_of(
        [est.Experiment("a", TS, {"y": measured()})], fixed=(), priors={"rate": est.priors.LogNormal(0.0, 1.0)}
    )
    found = problem.log_density(ps.vector)
    expected = (
        problem.log_likelihood(ps, st)
        + scipy.stats.lognorm.logpdf(0.4, 1.0)
        + ps.layout.log_abs_det_jacobian(ps.vector)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    check = problem.check_gradient(ps)
    assert check.agrees
    assert "sigma" in str(check)
    beyond = problem_of([est.Experiment("a", TS, {"y": measured()})], fixed=(), bounds={"rate": (0.5, 1.0)})
    assert beyond.log_density(ps.vector) == -np.inf


def test_other_data_bounds_and_starts_compile_nothing(start):
    ps, _ = start
    first = problem_of([est.Experiment("a", TS, {"y": measured()})], bounds={"rate": (0.1, 2.0)})
    est.fit(first, ps)
    traced = []
    observe = {"y": lambda t, y, ps: traced.append(1) or y}

    def problem(seed, bounds):
        data = est.Data([est.Experiment("a", TS, {"y": measured(seed)})])
        return est.Problem(MODEL, data, observe=observe, noise="sigma", bounds=bounds)

    fit = est.fit(problem(1, {"rate": (0.1, 2.0)}), ps)
    once = len(traced)
    other = est.fit(problem(2, {"rate": (0.3, 0.3), "floor": (0.1, 0.2)}), ps.set("rate", 0.3))
    fit.profile("rate", points=3)
    fit.bootstrap(3, jax.random.key(0))
    assert len(traced) == once
    assert other.values.rate == pytest.approx(0.3)
    assert other.active == {"rate": "fixed", "floor": "lower"} or other.active["rate"] == "fixed"


def test_a_minimum_on_a_bound_is_named(start):
    fit = fitted(problem_of([est.Experiment("a", TS, {"y": measured()})], bounds={"rate": (0.1, 0.5)}), start)
    assert fit.outcome == "converged"
    assert fit.active["rate"] == "upper"
    assert 0.5 * (1 - 1e-15) <= fit.values.rate <= 0.5
    assert np.isnan(fit.stderr.rate)
    assert "on a bound: rate" in fit.reason
    assert "at upper bound" in str(fit)


def test_budgets_end_a_fit_at_its_best_point(start):
    problem = problem_of([est.Experiment("a", TS, {"y": measured()})])
    fit = est.fit(problem, *start, budget=est.Budget(steps=2))
    assert fit.outcome == "stalled"
    assert "2 steps" in fit.reason
    assert fit.log_likelihood > float(problem.log_likelihood(start[0]))
    assert est.fit(problem, *start, budget=est.Budget(seconds=1e-9)).num_steps <= 10


def test_a_model_that_fails_at_the_start_has_no_numbers(start):
    ps, st = start
    fit = est.fit(problem_of([est.Experiment("a", TS, {"y": measured()})]), ps.set("height", np.nan), st)
    assert fit.outcome == "failed"
    assert np.isnan(fit.log_likelihood)
    assert np.isnan(fit.chi_square)
    assert "not finite at the start" in str(fit)
    assert (
        float(problem_of([est.Experiment("a", TS, {"y": measured()})]).log_likelihood(ps.set("height", np.nan)))
        == -np.inf
    )


def test_a_fit_goes_into_a_file(start, tmp_path):
    fit = fitted(problem_of([est.Experiment("a", TS, {"y": measured()})]), start)
    fit.save(tmp_path / "fit.json")
    read = json.loads((tmp_path / "fit.json").read_text())
    assert read == fit.to_dict()
    assert {row["name"]: row["value"] for row in read["parameters"]}["rate"] == float(fit.values.rate)
    fit.save(tmp_path / "fit.csv")
    assert (tmp_path / "fit.csv").read_text().splitlines()[0] == "name,value,stderr,initial,bound,unit"
    with pytest.raises(ValueError, match="a fit is saved as"):
        fit.save(tmp_path / "fit.txt")


def test_an_interruption_returns_the_best_point(start, monkeypatch):
    problem = problem_of([est.Experiment("a", TS, {"y": measured()})])

    updates = iter([None] * 3)

    def interrupt(bar, steps, loss):
        if next(updates, "enough") == "enough":
            raise KeyboardInterrupt

    monkeypatch.setattr(lux.training.Progress, "update", interrupt)
    fit = est.fit(problem, *start)
    assert (fit.outcome, fit.reason) == ("stalled", "interrupted")
    assert fit.log_likelihood > float(problem.log_likelihood(start[0]))


@pytest.mark.parametrize("bounds", [{}, {"rate": (0.1, 0.5)}], ids=["inside", "on a bound"])
def test_scipy_is_of_the_same_opinion(start, bounds):
    problem = problem_of([est.Experiment("a", TS, {"y": measured()})], bounds=bounds)
    ours, theirs = fitted(problem, start), est.fit(problem, *start, method="scipy:L-BFGS-B")
    assert theirs.outcome == "converged"
    np.testing.assert_allclose(theirs.log_likelihood, ours.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(theirs.values.height, ours.values.height, rtol=1e-4)
    np.testing.assert_allclose(theirs.stderr.height, ours.stderr.height, rtol=1e-3)
    assert theirs.active == ours.active


def test_a_fit_goes_on_from_its_checkpoint_to_the_same_bits(start, tmp_path):
    ps, st = start
    problem, file = (
        problem_of([est.Experiment("a", TS, {"y": measured()})], noise="sigma"),
        tmp_path / "fit.safetensors",
    )
    far = ps.set("rate", 3.0).set("height", -2.0)
    whole = est.fit(problem, far, st)
    assert whole.num_steps > 7
    first = est.fit(problem, far, st, budget=est.Budget(steps=5), checkpoint=file)
    assert (first.outcome, first.num_steps) == ("stalled", 5)
    for _ in range(2):  # and once more, when there is nothing left to do
        last = est.fit(problem, far, st, checkpoint=file)
        assert (last.outcome, last.num_steps) == (whole.outcome, whole.num_steps)
        np.testing.assert_array_equal(last.ps.vector, whole.ps.vector)
    with pytest.raises(lux.FileFormatError, match="of another fit"):
        est.fit(problem, ps, st, checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(lux.FileFormatError, match="damaged"):
        est.fit(problem, far, st, checkpoint=file)


def test_the_density_holds_at_what_bounds_fix_and_at_bounds(start):
    ps, st = start
    for bounds in ({"floor": (0.1, 0.1)}, {"floor": (0.1, 1.0)}, {"floor": (0.01, 0.1)}, {"rate": (0.4, np.inf)}):
        problem = problem_of([est.Experiment("a", TS, {"y": measured()})], fixed=(), bounds=bounds)
        assert np.isfinite(problem.log_density(ps.vector, st)), bounds
        assert problem.log_density(ps.set("floor", 2.0).set("rate", 0.1).vector, st) == -np.inf
