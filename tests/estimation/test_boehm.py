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
    for name in ("k_phos", "sd_pSTAT5A_rel", "k_imp_hetero"):
        assert np.isfinite(fit.stderr[f"model.rates.{name}"])
    np.testing.assert_allclose(
        fit.stderr.model.rates.sd_pSTAT5A_rel, fit.values.model.rates.sd_pSTAT5A_rel / np.sqrt(32), rtol=0.01
    )
    assert "at lower bound" in str(fit)
