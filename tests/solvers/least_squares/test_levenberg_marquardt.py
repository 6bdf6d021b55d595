"""The Levenberg-Marquardt solver on its own, through `optimistix.least_squares`."""

import contextlib
import functools
import os
import pathlib
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize
from least_squares_problems import PROBLEMS, rosenbrock

from sciml_lux.solvers import LevenbergMarquardt

# Those that `make test` runs: singular and regular ones, badly scaled ones, minima of 0 and others; the rest takes minutes to compile.
QUICK = ["rosenbrock", "freudenstein-roth", "brown badly scaled", "powell badly scaled", "watson 6", "powell singular"]
every_problem = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in PROBLEMS]
)
# Infima at infinity, where nothing that is finite is a minimum: reached, and reported as a failure.
AT_INFINITY = {"bard": 17.42869333, "kowalik-osborne": 1.02734e-3}


@contextlib.contextmanager
def as_users_do():
    """The problems are written as in a script, without thought for promotion."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@functools.cache
def solved(name, dtype=jnp.float64):
    """Point, success and number of steps from the standard start, ten and a hundred times it, and 20 beside the first."""
    problem = PROBLEMS[name]
    nudges = 5 * jnp.finfo(dtype).eps * np.arange(20)[:, None] * np.cos(np.arange(problem.start.size))[None, :]
    starts = np.concatenate(
        [problem.starts(), problem.start + nudges * np.where(problem.start == 0, 1.0, problem.start)]
    )

    @jax.jit
    @jax.vmap
    def solve(start):
        solution = optx.least_squares(
            lambda y, _: problem.residual(y), LevenbergMarquardt(), start, max_steps=2000, throw=False
        )
        return solution.value, solution.result == optx.RESULTS.successful, solution.stats["num_steps"]

    with as_users_do():
        return jax.tree.map(np.asarray, solve(jnp.asarray(starts, dtype)))


def sum_of_squares(name, point) -> float:
    with as_users_do():
        return float(jnp.sum(PROBLEMS[name].residual(point) ** 2))


def is_minimum(name, point) -> bool:
    """First-order optimality, judged apart from the solver: by the columns of the Jacobian as they are."""
    with as_users_do():
        residual = PROBLEMS[name].residual
        r, jacobian = np.asarray(residual(point)), np.asarray(jax.jit(jax.jacfwd(residual))(point))
    # What is 0 to the solver: XLA knows no subnormal numbers.
    jacobian = np.where(np.abs(jacobian) < np.finfo(point.dtype).tiny, 0.0, jacobian)
    norms = np.linalg.norm(jacobian, axis=0)
    columns = jacobian / np.where(norms > 0, norms, 1.0)
    eps = np.finfo(point.dtype).eps
    vanished = np.linalg.norm(r) <= eps**0.5 * np.linalg.norm(np.abs(jacobian) @ np.abs(point)) or np.sum(r**2) < eps
    return vanished or np.max(np.abs(columns.T @ r)) <= eps ** (1 / 3) * np.linalg.norm(r)


def reached(name, sum_of_squares) -> bool:
    return any(
        sum_of_squares < 1e-15 if minimum == 0 else abs(sum_of_squares - minimum) <= 1e-3 * minimum
        for minimum in PROBLEMS[name].minima
    )


@every_problem
def test_a_solve_ends_at_a_minimum_or_says_that_it_does_not(name):
    """From the standard start, ten and a hundred times it: a listed minimum and success, or a failure that is true."""
    points, successes, _ = solved(name)
    for point, success in zip(points[:3], successes[:3], strict=True):
        total = sum_of_squares(name, point)
        if success:
            assert reached(name, total)
            assert is_minimum(name, point)
        else:
            assert not reached(name, total) or abs(total / AT_INFINITY.get(name, np.inf) - 1) < 1e-3
    assert successes[0]


@every_problem
def test_rounding_in_the_start_changes_no_verdict(name):
    """Each of 20 starts that differ by rounding stops, with success, at a listed minimum."""
    points, successes, steps = (results[3:] for results in solved(name))
    assert np.all(successes)
    assert np.all(steps < 1000)
    totals = [sum_of_squares(name, point) for point in points]
    # Which of several minima may rest on the last bit, where the way there is chaotic.
    assert all(reached(name, total) for total in totals), totals


@pytest.mark.slow
@every_problem
def test_success_in_single_precision_is_one(name):
    for point, success, _ in zip(*solved(name, jnp.float32), strict=True):
        assert not success or is_minimum(name, point) or reached(name, sum_of_squares(name, point))


@pytest.mark.slow
def test_at_least_as_many_minima_as_scipy():
    """Over all problems and their three starts, with SciPy's scaling by columns and tolerances of 1e-10."""
    ours = theirs = 0
    for name, problem in PROBLEMS.items():
        points, successes, _ = solved(name)
        ours += sum(successes[i] and reached(name, sum_of_squares(name, points[i])) for i in range(3))
        with as_users_do():
            theirs += sum(scipy_reaches(name, problem.residual, start) for start in problem.starts())
    assert ours >= theirs


def scipy_reaches(name, residual, start) -> bool:
    residual, jacobian = jax.jit(residual), jax.jit(jax.jacfwd(residual))
    if not np.all(np.isfinite(residual(start))):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scipy.optimize.least_squares(
            lambda x: np.asarray(residual(x)),
            start,
            lambda x: np.asarray(jacobian(x)),
            method="lm",
            x_scale="jac",
            ftol=1e-10,
            xtol=1e-10,
            gtol=1e-10,
            max_nfev=2000,
        )
    return bool(found.success) and reached(name, float(np.sum(found.fun**2)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", ["--xla_cpu_max_isa=SSE4_2", "--xla_cpu_max_isa=AVX2", "--xla_cpu_enable_fast_math=false"]
)
def test_no_verdict_rests_on_the_last_bit(flags):
    """The quick tests of this file and of other solvers, on other processors of the family."""
    files = [
        "solvers/least_squares/test_levenberg_marquardt.py",
        "estimation/test_estimation_nist.py",
        "solvers/fixed_point/test_fixed_point.py",
        "solvers/fixed_point/test_fixed_point_problems.py",
    ]
    here = pathlib.Path(__file__).parents[2]
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow",
            *[str(here / name) for name in files],
        ],
        env={**os.environ, "XLA_FLAGS": flags},
        cwd=here.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]


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


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_units_of_the_residual_change_nothing(dtype):
    """Those whose squares are beyond the range of the dtype among them; nor do those of one parameter."""
    unit = float(jnp.finfo(dtype).tiny) ** 0.7
    t, data = jnp.asarray(T, dtype), jnp.asarray(DECAYS[1], dtype)
    start = jnp.asarray([8.0, 0.01], dtype)

    @jax.jit
    def solve(residual_unit, unit, start):
        fn = lambda y, args: decay(y * jnp.stack([jnp.ones_like(unit), unit]), (t, data)) * residual_unit  # noqa: E731
        solution = optx.least_squares(
            fn, LevenbergMarquardt(), start / jnp.stack([jnp.ones_like(unit), unit]), throw=False
        )
        return solution.value, solution.result == optx.RESULTS.successful, solution.stats["num_steps"]

    one = jnp.asarray(1.0, dtype)
    plain, okay, steps = solve(one, one, start)
    assert okay
    for in_residual, in_parameter in [(unit, 1.0), (1 / unit, 1.0), (1.0, unit), (1.0, 1 / unit)]:
        found, okay, number = solve(jnp.asarray(in_residual, dtype), jnp.asarray(in_parameter, dtype), start)
        assert okay
        assert abs(int(number) - int(steps)) <= 3
        np.testing.assert_allclose(
            np.asarray(found, float) * [1.0, in_parameter],
            np.asarray(plain, float),
            rtol=3e3 * float(jnp.finfo(dtype).eps),
        )


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
    valley = lambda y, args: rosenbrock(y)  # noqa: E731
    steps = optx.least_squares(valley, LevenbergMarquardt(), jnp.array([-1.2, 1.0]), max_steps=3, throw=False)
    assert steps.result == optx.RESULTS.nonlinear_max_steps_reached
    start = optx.least_squares(lambda y, args: jnp.log(y), LevenbergMarquardt(), jnp.array([-1.0]), throw=False)
    assert start.result == optx.RESULTS.nonfinite
    # A kink is no minimum of the linear model, and no step lowers the residual there.
    kink = optx.least_squares(lambda y, args: 1.0 + jnp.abs(y), LevenbergMarquardt(), jnp.array([3.0]), throw=False)
    assert kink.result == optx.RESULTS.nonlinear_divergence
    with pytest.raises(ValueError, match="autodiff_mode"):
        optx.least_squares(valley, LevenbergMarquardt(), jnp.array([-1.2, 1.0]), options={"autodiff_mode": "sideways"})
