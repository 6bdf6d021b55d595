"""Steps that NumPy takes on the host are those that are compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from least_squares_problems import PROBLEMS

from sciml_lux.solvers import LevenbergMarquardt
from sciml_lux.solvers.least_squares import Descent, bounds_of, evaluated

QUICK = ["rosenbrock", "freudenstein-roth", "powell badly scaled", "brown badly scaled"]
every_problem = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in PROBLEMS]
)


def as_users_do():
    return jax.numpy_dtype_promotion("standard")


def on_host(name, dtype, box):
    """Points at all steps, whether the last is a minimum, and how many Jacobians were spared."""
    problem, points, spared = PROBLEMS[name], [], 0

    @jax.jit
    def evaluate(point, limit):
        return evaluated(lambda y: (problem.residual(y), None), point, limit)

    bounds = None if box is None else bounds_of(*(np.asarray(end, dtype) for end in box))
    descent = Descent(np.asarray(problem.start, dtype), LevenbergMarquardt().rules(bounds))
    with jax.numpy_rank_promotion("allow"), as_users_do():
        while not descent.done and descent.num_steps < 300:
            found = evaluate(*descent.asks())
            spared += not found.differentiated
            descent.told(found)
            points.append(descent.progress.point)
    assert all(leaf.dtype in (dtype, bool, np.int32) for leaf in jax.tree.leaves(descent.progress))
    return np.stack(points), bool(descent.progress.minimal), spared


def compiled(name, dtype, box, steps):
    problem = PROBLEMS[name]
    options = {} if box is None else {"lower": jnp.asarray(box[0], dtype), "upper": jnp.asarray(box[1], dtype)}

    @jax.jit
    def solve(start):
        solution = optx.least_squares(
            lambda y, _: problem.residual(y),
            LevenbergMarquardt(),
            start,
            options={**options, "autodiff_mode": "fwd"},
            max_steps=steps,
            throw=False,
        )
        return solution.value, solution.result == optx.RESULTS.successful

    with jax.numpy_rank_promotion("allow"), as_users_do():
        value, successful = solve(jnp.asarray(problem.start, dtype))
    return np.asarray(value), bool(successful)


@every_problem
@pytest.mark.parametrize("bounded", [False, True], ids=["free", "bounded"])
def test_the_same_point_is_reached(name, bounded):
    start = np.asarray(PROBLEMS[name].start, np.float64)
    reach = 0.3 * np.maximum(np.abs(start), 1.0)
    box = (start - reach, start + 0.5 * reach) if bounded else None
    points, minimal, _ = on_host(name, np.float64, box)
    value, successful = compiled(name, np.float64, box, 300)
    with jax.numpy_rank_promotion("allow"), as_users_do():
        ours, theirs = (float(jnp.sum(PROBLEMS[name].residual(jnp.asarray(at)) ** 2)) for at in (points[-1], value))
        first = float(jnp.sum(PROBLEMS[name].residual(jnp.asarray(start)) ** 2))
    assert minimal == successful
    # Where they are not the same to rounding they are at equal minima: a thousandth of the confidence region, or 0 beside the start.
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-20 * first)


def test_the_first_steps_are_the_same_to_rounding():
    points, *_ = on_host("rosenbrock", np.float64, None)
    value, _ = compiled("rosenbrock", np.float64, None, 8)
    np.testing.assert_allclose(points[7], value, rtol=1e-12)


def test_no_jacobian_is_computed_for_what_is_refused():
    points, _, spared = on_host("rosenbrock", np.float64, None)
    assert spared == np.sum(np.all(np.diff(points, axis=0) == 0, axis=1)) > 0


@pytest.mark.parametrize("name", ["rosenbrock", "powell badly scaled"])
def test_single_precision_stays_so(name):
    points, minimal, _ = on_host(name, np.float32, None)
    assert points.dtype == np.float32
    assert minimal
