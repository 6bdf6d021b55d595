"""A published model with its published likelihood, a parameter on its bound, and noise that is estimated."""

import boehm
import jax
import numpy as np

import sciml_lux as lux

est = lux.estimation


def test_the_likelihood_is_the_published_one():
    problem = boehm.problem_of(1e-11)  # 1e-8 is off by 1.5e-5
    ps, st = lux.setup(jax.random.key(0), problem.model)
    np.testing.assert_allclose(problem.log_likelihood(ps, st), boehm.LOG_LIKELIHOOD, atol=1e-6, rtol=0)


def test_a_fit_from_the_published_optimum_keeps_it_and_names_the_bound():
    problem = boehm.problem_of(1e-8)
    ps, st = lux.setup(jax.random.key(0), problem.model)
    fit = est.fit(problem, ps, st)
    assert fit.outcome in ("converged", "stalled")
    assert fit.log_likelihood >= boehm.LOG_LIKELIHOOD - 1.5e-5  # as exact as the solver
    assert fit.active["model.rates.k_exp_hetero"] == "lower"
    # By the curvature, which the profile likelihood bears out (0.0188 to 0.0396); Fisher's information would say eight times as much.
    np.testing.assert_allclose(fit.stderr.model.rates.Epo_degradation, 0.0052, rtol=0.05)
    assert "model.rates.k_imp_homo" in {*fit.unidentified, *fit.active}
    assert "at lower bound" in str(fit)
