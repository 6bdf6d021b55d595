"""The Levenberg-Marquardt solver on its own, through `optimistix.least_squares`."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from sciml_lux.solvers import LevenbergMarquardt


def rosenbrock(y, args):
    return jnp.stack([10 * (y[1] - y[0] ** 2), 1 - y[0]])


def powell_singular(y, args):
    return jnp.stack([y[0] + 10 * y[1], 5**0.5 * (y[2] - y[3]), (y[1] - 2 * y[2]) ** 2, 10**0.5 * (y[0] - y[3]) ** 2])


def freudenstein_roth(y, args):
    return jnp.stack([-13 + y[0] + ((5 - y[1]) * y[1] - 2) * y[1], -29 + y[0] + ((y[1] + 1) * y[1] - 14) * y[1]])


def helical_valley(y, args):
    angle = jnp.arctan(y[1] / y[0]) / (2 * jnp.pi) + jnp.where(y[0] < 0, 0.5, 0.0).astype(y.dtype)
    return jnp.stack([10 * (y[2] - 10 * angle), 10 * (jnp.sqrt(y[0] ** 2 + y[1] ** 2) - 1), y[2]])


def brown_badly_scaled(y, args):
    return jnp.stack([y[0] - 1e6, y[1] - 2e-6, y[0] * y[1] - 2])


def powell_badly_scaled(y, args):
    return jnp.stack([1e4 * y[0] * y[1] - 1, jnp.exp(-y[0]) + jnp.exp(-y[1]) - 1.0001])


# Moré, Garbow and Hillstrom, "Testing unconstrained optimization software" (1981): residual, start, a solution.
PROBLEMS = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0], [1.0, 1.0]),
    "powell singular": (powell_singular, [3.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
    "freudenstein-roth": (freudenstein_roth, [0.5, -2.0], [11.41277900, -0.89680525]),
    "helical valley": (helical_valley, [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
    "brown badly scaled": (brown_badly_scaled, [1.0, 1.0], [1e6, 2e-6]),
    "powell badly scaled": (powell_badly_scaled, [0.0, 1.0], [1.0981593e-5, 9.1061467]),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, jnp.float64) for name in PROBLEMS] + [("rosenbrock", jnp.float32), ("powell singular", jnp.float32)],
)
def test_standard_problems(name, dtype):
    residual, start, expected = PROBLEMS[name]
    solution = optx.least_squares(residual, LevenbergMarquardt(), jnp.asarray(start, dtype))
    assert solution.value.dtype == dtype
    rtol, atol = (1e-6, 1e-8) if dtype == jnp.float64 else (2e-3, 2e-5)
    np.testing.assert_allclose(solution.value, np.asarray(expected), rtol=rtol, atol=atol)


def decay(y, args):
    t, data = args
    return y[0] * jnp.exp(-y[1] * t) - data


T = np.linspace(0.0, 4.0, 12)
DECAYS = np.stack([a * np.exp(-b * T) + 0.05 * np.cos(9 * T) for a, b in [(1.0, 0.3), (2.0, 1.0), (5.0, 0.1)]])


def test_vmap_equals_loop():
    def solve(data):
        return optx.least_squares(decay, LevenbergMarquardt(), jnp.array([1.0, 0.5]), (jnp.asarray(T), data)).value

    batched = jax.jit(jax.vmap(solve))(jnp.asarray(DECAYS))
    np.testing.assert_allclose(batched, np.stack([solve(jnp.asarray(data)) for data in DECAYS]), rtol=1e-9)


def test_units_change_nothing():
    """The iterates are the same whatever the units of the parameters, so that the number of steps is."""
    units = jnp.array([1e-3, 1e6])
    data = (jnp.asarray(T), jnp.asarray(DECAYS[1]))
    one = optx.least_squares(decay, LevenbergMarquardt(), jnp.array([8.0, 0.01]), data)
    other = optx.least_squares(
        lambda y, args: decay(y * units, args), LevenbergMarquardt(), jnp.array([8.0, 0.01]) / units, data
    )
    np.testing.assert_allclose(other.value * units, one.value, rtol=1e-9)
    assert abs(int(other.stats["num_steps"]) - int(one.stats["num_steps"])) <= 1


def test_trees_as_parameters_and_residuals_with_auxiliary_output():
    def residual(y, args):
        r = decay(jnp.stack([y["a"], y["b"][0]]), args)
        return {"first": r[:5], "second": r[5:]}, {"sum": jnp.sum(r)}

    data = (jnp.asarray(T), jnp.asarray(DECAYS[1]))
    start = {"a": jnp.array(1.0), "b": jnp.array([0.5])}
    solution = optx.least_squares(residual, LevenbergMarquardt(), start, data, has_aux=True)
    plain = optx.least_squares(decay, LevenbergMarquardt(), jnp.array([1.0, 0.5]), data)
    np.testing.assert_allclose([solution.value["a"], solution.value["b"][0]], plain.value, rtol=1e-9)
    np.testing.assert_allclose(solution.aux["sum"], jnp.sum(decay(plain.value, data)), rtol=1e-9)


def test_the_solution_is_differentiable():
    def estimate(data):
        return optx.least_squares(decay, LevenbergMarquardt(), jnp.array([1.0, 0.5]), (jnp.asarray(T), data)).value

    data, step = jnp.asarray(DECAYS[0]), 1e-4
    slope = jax.jacobian(estimate)(data)[:, 3]
    difference = (estimate(data.at[3].add(step)) - estimate(data.at[3].add(-step))) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


@pytest.mark.parametrize("mode", ["fwd", "bwd", None])
def test_fewer_residuals_than_parameters(mode):
    """Underdetermined: a residual of 0 is found, near the start."""
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12)))
    options = {} if mode is None else {"autodiff_mode": mode}
    solution = optx.least_squares(
        lambda y, args: matrix @ y + 0.1 * y[:2] ** 2 - 1.0, LevenbergMarquardt(), jnp.zeros(12), options=options
    )
    np.testing.assert_allclose(matrix @ solution.value + 0.1 * solution.value[:2] ** 2, 1.0, rtol=1e-9)


def test_points_that_are_not_finite_are_refused():
    """The first step of Gauss-Newton goes where the logarithm is NaN."""
    solution = optx.least_squares(lambda y, args: jnp.log(y) * 3.0, LevenbergMarquardt(), jnp.array([8.0]))
    np.testing.assert_allclose(solution.value, 1.0, rtol=1e-9)


def test_failures_are_said():
    steps = optx.least_squares(rosenbrock, LevenbergMarquardt(), jnp.array([-1.2, 1.0]), max_steps=3, throw=False)
    assert steps.result == optx.RESULTS.nonlinear_max_steps_reached
    start = optx.least_squares(lambda y, args: jnp.log(y), LevenbergMarquardt(), jnp.array([-1.0]), throw=False)
    assert start.result == optx.RESULTS.nonfinite
    # A kink is no minimum of the linear model, and no step lowers the residual there.
    kink = optx.least_squares(lambda y, args: 1.0 + jnp.abs(y), LevenbergMarquardt(), jnp.array([3.0]), throw=False)
    assert kink.result == optx.RESULTS.nonlinear_divergence
    with pytest.raises(ValueError, match="autodiff_mode"):
        optx.least_squares(
            rosenbrock, LevenbergMarquardt(), jnp.array([-1.2, 1.0]), options={"autodiff_mode": "sideways"}
        )
