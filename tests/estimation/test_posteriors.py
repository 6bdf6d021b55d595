"""Posteriors beside reference draws of posteriordb (stan-dev/posteriordb 28f8d3d, BSD-3-Clause): lynx and hare (`hudson_lynx_hare`)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

est = lux.estimation
# Means and standard deviations of 10,000 reference draws.
REFERENCE = {
    "theta1": (0.546864, 0.0630548),
    "theta2": (0.0277473, 0.00415472),
    "theta3": (0.800095, 0.0893702),
    "theta4": (0.0240859, 0.00352809),
    "sigma1": (0.248057, 0.0432627),
    "sigma2": (0.251017, 0.0435903),
    "hares": (34.0352, 2.9169),
    "lynxes": (5.9359, 0.530552),
}
START = {
    "theta1": 0.5,
    "theta2": 0.03,
    "theta3": 0.8,
    "theta4": 0.02,
    "sigma1": 0.3,
    "sigma2": 0.3,
    "hares": 30.0,
    "lynxes": 6.0,
}
PRIORS = {
    "theta1": est.priors.Normal(1.0, 0.5),
    "theta2": est.priors.Normal(0.05, 0.05),
    "theta3": est.priors.Normal(1.0, 0.5),
    "theta4": est.priors.Normal(0.05, 0.05),
    **dict.fromkeys(("sigma1", "sigma2"), est.priors.LogNormal(-1.0, 1.0)),
    **dict.fromkeys(("hares", "lynxes"), est.priors.LogNormal(float(np.log(10.0)), 1.0)),
}


class LotkaVolterra(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {name: lux.positive(value) for name, value in START.items()}

    def __call__(self, y, ps, st):
        hares, lynxes = y
        return jnp.stack([(ps.theta1 - ps.theta2 * lynxes) * hares, (ps.theta4 * hares - ps.theta3) * lynxes]), st


def lynx_and_hare(**tolerances):
    """The state, and the fit."""
    file = pathlib.Path(__file__).parents[2] / "examples" / "data" / "lynx_hare.csv"
    year, hares, lynxes = np.loadtxt(file, delimiter=",", skiprows=3, unpack=True)
    node = lux.NeuralODE(LotkaVolterra(), t1=20.0, **tolerances)
    problem = est.Problem(
        node,
        est.Data([est.Experiment("pelts", year - 1900, {"hare": hares, "lynx": lynxes})]),
        observe={"hare": 0, "lynx": 1},
        noise={"hare": est.noise.LogNormal("sigma1"), "lynx": est.noise.LogNormal("sigma2")},
        priors=PRIORS,
        initial=lambda ps: jnp.stack([ps.model.hares, ps.model.lynxes]),
    )
    ps, st = lux.setup(jax.random.key(0), node)
    return st, est.fit(problem, ps, st)


def test_the_normal_approximation_of_lynx_and_hare():
    st, fit = lynx_and_hare(rtol=1e-7, atol=1e-7)
    assert fit.outcome == "converged"
    assert (fit.num_data, fit.num_parameters) == (42, 8)
    approximation = fit.laplace()
    # A mode of the density: its gradient is 0 to what a thousandth of a standard deviation changes.
    gradient = jax.grad(lambda vector: fit.problem.log_density(vector, st))(approximation.point.vector)
    assert np.max(np.abs(np.asarray(gradient)) * np.sqrt(np.diag(approximation.covariance))) < 1e-3
    draws = np.exp(np.asarray(approximation.sample(jax.random.key(0), 20_000).vector))
    for i, (name, (mean, deviation)) in enumerate(REFERENCE.items()):
        assert abs(np.mean(draws[:, i]) - mean) < 0.6 * deviation, name
        assert abs(np.std(draws[:, i]) / deviation - 1) < 0.2, name
