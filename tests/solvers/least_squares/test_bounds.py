"""Closed bounds of Levenberg-Marquardt: minima on them and beside them, what they fix, and that they are data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize
from least_squares_problems import PROBLEMS

from sciml_lux import ShapeError
from sciml_lux.solvers import LevenbergMarquardt


@functools.partial(jax.jit, static_argnums=0)
def solve(residual, start, lower, upper, data):
    solution = optx.least_squares(
        residual,
        LevenbergMarquardt(),
        start,
        data,
        max_steps=1000,
        throw=False,
        options={"lower": lower, "upper": upper},
    )
    return solution.value, solution.result == optx.RESULTS.successful, solution.stats["num_steps"]


def line(y, data):
    matrix, right = data
    return matrix @ y - right


def sine(y, data):
    amplitude, period, shift, decay = y
    x, observed = data
    return amplitude * jnp.sin(shift + x / period) * jnp.exp(-(x**2) * decay**2) - observed


def half_products(y, data):
    return jnp.stack([y[0] * y[1] - 2.0, y[0] - data, 0.1 * y[1]])


def random_lines(number, size=6):
    """Linear problems whose parameters have units of their own, with boxes of which some have no inside, and some no end."""
    rng = np.random.default_rng(1)
    units = 10.0 ** rng.integers(-3, 4, size=(number, 1, size))
    matrix, right = rng.normal(size=(number, 12, size)) * units, rng.normal(size=(number, 12))
    middle, width = rng.normal(size=(number, size)), np.abs(rng.normal(size=(number, size)))
    width = width * rng.integers(0, 4, size=(number, size))
    lower, upper = ((middle + sign * width / 2) / units[:, 0] for sign in (-1, 1))
    lower[:, 1], upper[:, 0] = -np.inf, np.inf
    return matrix, right, lower, upper


def test_linear_problems_have_the_minima_that_an_exact_method_finds():
    matrix, right, lower, upper = random_lines(100)
    start = np.clip(np.zeros_like(lower), lower, upper)
    points, successful, steps = map(
        np.asarray, jax.vmap(solve, (None, 0, 0, 0, 0))(line, start, lower, upper, (matrix, right))
    )
    assert successful.all()
    assert steps.max() <= 20
    on_bound = (points == lower) | (points == upper)
    assert 0.3 < on_bound.mean() < 0.9  # exactly
    for i, point in enumerate(points):
        opened = upper[i] + np.where(
            upper[i] == lower[i], 1e-13 * np.abs(upper[i]), 0.0
        )  # SciPy's boxes have an inside
        expected = scipy.optimize.lsq_linear(matrix[i], right[i], (lower[i], opened), method="bvls", tol=1e-14)
        assert np.sum((matrix[i] @ point - right[i]) ** 2) <= 2 * expected.cost * (1 + 1e-9)


@pytest.mark.parametrize("name", ["rosenbrock", "freudenstein-roth", "powell singular", "beale"])
def test_a_minimum_is_one_of_first_order_with_bounds(name):
    problem = PROBLEMS[name]
    rng = np.random.default_rng(2)
    size = problem.start.size
    residual = lambda y, _: problem.residual(y)  # noqa: E731
    lower = np.where(rng.random((20, size)) < 0.6, problem.start - rng.random((20, size)) * 2, -np.inf)
    upper = np.where(rng.random((20, size)) < 0.6, problem.start + rng.random((20, size)) * 2, np.inf)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        points, successful, _ = jax.vmap(solve, (None, None, 0, 0, None))(
            residual, jnp.asarray(problem.start), lower, upper, None
        )
        gradients = jax.vmap(jax.grad(lambda y: jnp.sum(problem.residual(y) ** 2) / 2))(points)
        columns = jnp.linalg.norm(jax.vmap(jax.jacfwd(problem.residual))(points), axis=1)
        sizes = jnp.linalg.norm(jax.vmap(problem.residual)(points), axis=1)
    points, gradients = np.asarray(points), np.asarray(gradients)
    assert np.asarray(successful).all()
    assert ((points >= lower) & (points <= upper)).all()
    small = 1e-6 * np.asarray(columns) * np.maximum(np.asarray(sizes)[:, None], 1e-3) + 1e-9
    assert (gradients >= -np.where(points == upper, np.inf, small)).all()
    assert (gradients <= np.where(points == lower, np.inf, small)).all()
    assert ((points == lower) | (points == upper)).any()


def test_an_amplitude_that_a_bad_start_sends_to_zero_comes_back():
    x = np.linspace(0.0, 250.0, 1500)
    data = (
        x,
        np.asarray(sine((14.0, 5.4321, 0.12345, 0.01), (x, np.random.default_rng(0).normal(scale=2.8, size=x.size)))),
    )
    lower, upper = jnp.array([0.0, -np.inf, -np.pi / 2, 0.0]), jnp.array([20.0, 10.0, np.pi / 2, 0.1])
    start = jnp.array([13.0, 2.0, 0.0, 0.02])
    point, successful, steps = solve(sine, start, lower, upper, data)
    expected = scipy.optimize.least_squares(
        lambda y: np.asarray(sine(y, data)), [14.0, 5.4, 0.1, 0.01], x_scale=[1.0, 1.0, 0.1, 0.01], xtol=1e-12
    )
    assert successful
    assert steps < 60
    np.testing.assert_allclose(point, expected.x, rtol=1e-5)


def test_equal_bounds_fix_a_parameter():
    matrix, right, _, _ = random_lines(1)
    fixed = np.array([0.3, -0.2])
    lower, upper = (np.concatenate([fixed, np.full(4, end)]) for end in (-np.inf, np.inf))
    point, successful, _ = solve(line, jnp.zeros(6), lower, upper, (matrix[0], right[0]))
    others, *_ = np.linalg.lstsq(matrix[0][:, 2:], right[0] - matrix[0][:, :2] @ fixed, rcond=None)
    assert successful
    np.testing.assert_array_equal(point[:2], fixed)
    np.testing.assert_allclose(point[2:], others, rtol=1e-8)


def test_where_all_are_fixed_there_is_nothing_to_do():
    matrix, right, _, _ = random_lines(1)
    point, successful, _ = solve(line, jnp.ones(6), jnp.arange(6.0), jnp.arange(6.0), (matrix[0], right[0]))
    assert successful
    np.testing.assert_array_equal(point, np.arange(6.0))


def test_where_no_parameter_changes_anything_nothing_says_that_it_is_a_minimum():
    constant = lambda y, data: 0.0 * y + data  # noqa: E731
    free = jnp.full(2, jnp.inf)
    _, successful, _ = solve(constant, jnp.ones(2), -free, free, jnp.array([1.0, 2.0]))
    assert not successful


@pytest.mark.parametrize("start", [[1.0, 1.0], [3.0, 0.5], [-9.0, 40.0]], ids=["on a bound", "on both", "outside"])
def test_any_start_will_do(start):
    lower, upper = jnp.array([1.0, 0.5]), jnp.array([3.0, 4.0])
    point, successful, _ = solve(half_products, jnp.array(start), lower, upper, 5.0)
    assert successful
    # x0 is pressed upwards by the second residual, so that x1 is what makes the rest least.
    np.testing.assert_allclose(point, [3.0, 2 * 3.0 / (9.0 + 0.01)], rtol=1e-9)
    assert point[0] == 3.0


def test_bounds_the_wrong_way_round_are_no_minimum():
    _, successful, _ = solve(half_products, jnp.ones(2), jnp.array([1.0, 5.0]), jnp.array([3.0, 4.0]), 5.0)
    assert not successful


def test_other_bounds_compile_nothing_and_none_change_nothing():
    traces = []

    def counted(y, data):
        traces.append(1)
        return half_products(y, data)

    start = jnp.array([1.0, 1.0])
    for width in (1.0, 2.0, 100.0):
        solve(counted, start, start - width, start + width, 5.0)
    assert len(traces) == 1
    wide, _, steps = solve(counted, start, start - np.inf, start + np.inf, 5.0)
    free = optx.least_squares(half_products, LevenbergMarquardt(), start, 5.0)
    np.testing.assert_allclose(wide, free.value, rtol=1e-12)
    assert steps == free.stats["num_steps"]


def test_bounds_may_be_a_tree_and_numbers():
    start = {"a": jnp.array(0.5), "b": jnp.ones(2)}

    def residual(y, _):
        return {"a": y["a"] - 3.0, "b": y["b"] - jnp.array([-4.0, 0.25])}

    options = {"lower": {"a": 0.0, "b": jnp.array([-1.0, 0.0])}, "upper": 2.0}
    found = optx.least_squares(residual, LevenbergMarquardt(), start, options=options).value
    assert found["a"] == 2.0
    np.testing.assert_allclose(found["b"], [-1.0, 0.25], rtol=1e-12)
    with pytest.raises(ShapeError, match="the option lower is one number, or a tree like y"):
        optx.least_squares(residual, LevenbergMarquardt(), start, options={"lower": {"a": 0.0}})


def test_in_single_precision():
    start, lower, upper = (jnp.array(values, jnp.float32) for values in ([1.0, 1.0], [1.0, 0.5], [3.0, 4.0]))
    point, successful, _ = solve(half_products, start, lower, upper, jnp.float32(5.0))
    assert successful
    assert point.dtype == jnp.float32
    np.testing.assert_allclose(point, [3.0, 6.0 / 9.01], rtol=1e-6)
