"""Fixed-point solvers where there is nothing to find, or nothing that can be asked for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from sciml_lux import LayerError, ShapeError
from sciml_lux.solvers import Anderson, Broyden, Damped, NewtonKrylov

every_solver = pytest.mark.parametrize("make", [Anderson, Damped, Broyden, NewtonKrylov])


@every_solver
def test_a_map_without_fixed_point_is_said_to_have_none(make):
    start = jnp.full((2, 3), 0.5)
    solver = make(batched=True)
    solution = optx.fixed_point(lambda z, _: 1 + z + z**2, solver, start, max_steps=30, throw=False)
    assert not jnp.any(solution.stats["converged"])
    assert solution.result != optx.RESULTS.successful
    assert jnp.all(jnp.isfinite(solution.value))
    residual = jnp.sqrt(jnp.mean((1 + solution.value**2) ** 2, axis=1))
    np.testing.assert_allclose(solution.stats["residual"], residual, rtol=1e-10)
    assert jnp.all(residual <= 1.25)  # never worse than the start


def test_a_map_that_overflows_ends_with_what_was_finite():
    solver = Damped(adaptive=False)
    solution = optx.fixed_point(lambda z, _: z**4 + 1, solver, jnp.full((2,), 3.0), max_steps=100, throw=False)
    assert solution.result == optx.RESULTS.nonfinite
    assert solution.stats["num_steps"] < 20
    np.testing.assert_array_equal(solution.value, [3.0, 3.0])


@every_solver
def test_zero_tolerance_is_met_only_by_an_exact_solution(make):
    solver = make(rtol=0.0, atol=0.0, batched=True)
    # The first sample starts at its fixed point, and the second, whose fixed point is no floating-point number, may or may not hit
    # a number that the map returns as it is; what it says is true in both cases.
    solve = functools.partial(optx.fixed_point, lambda z, c: c + jnp.sin(z), solver, max_steps=12, throw=False)
    offset = jnp.asarray([[0.0], [0.3]])
    solution = solve(jnp.zeros((2, 1)), offset)
    change = offset + jnp.sin(solution.value) - solution.value
    assert solution.stats["num_steps"][0] == 1
    np.testing.assert_array_equal(solution.stats["converged"], (change == 0)[:, 0])
    np.testing.assert_allclose(solution.stats["residual"], jnp.abs(change)[:, 0], atol=1e-16)


@every_solver
def test_a_map_that_ignores_its_argument_takes_two_evaluations(make):
    solution = optx.fixed_point(lambda z, c: 0 * z + c, make(rtol=1e-8, atol=1e-8), jnp.zeros(3), jnp.arange(3.0))
    np.testing.assert_allclose(solution.value, [0.0, 1.0, 2.0], atol=1e-12)
    assert solution.stats["num_steps"] == (3 if make is NewtonKrylov else 2)  # one of them a product


@every_solver
def test_a_map_to_another_shape_is_refused(make):
    with pytest.raises(ValueError, match=r"same structure|shapes of its argument"):
        optx.fixed_point(lambda z, _: z[:2], make(), jnp.zeros(3))


def test_another_number_of_equations_than_unknowns_is_refused():
    with pytest.raises(ShapeError, match=r"shapes of its argument, \[\(3,\)\], but returned \[\(2,\)\]"):
        optx.root_find(lambda y, _: y[:2], Broyden(), jnp.zeros(3))


@pytest.mark.parametrize("start", [(jnp.zeros((2, 3)), jnp.zeros((3, 3))), (jnp.zeros((2, 3)), jnp.zeros(()))])
def test_samples_of_different_number_are_refused(start):
    with pytest.raises(ShapeError, match="batched=True"):
        optx.fixed_point(lambda z, _: z, Anderson(batched=True), start)


def test_a_tree_without_arrays_is_refused():
    with pytest.raises(ShapeError, match="without arrays"):
        optx.fixed_point(lambda z, _: z, Anderson(), {})


def test_no_samples_and_no_numbers_are_nothing_to_do():
    for shape in [(0, 3), (2, 0)]:
        solution = optx.fixed_point(lambda z, _: z / 2, Anderson(batched=True), jnp.zeros(shape))
        assert solution.value.shape == shape
        assert solution.stats["converged"].shape == shape[:1]
        assert jnp.all(solution.stats["converged"])


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (Anderson, {"memory": 0}, "memory must be a whole number of at least 1, got 0"),
        (Anderson, {"memory": 2.0}, "memory must be a whole number"),
        (Anderson, {"kind": 3}, "kind must be 1 or 2"),
        (Anderson, {"mixing": 0.0}, "mixing must not be 0"),
        (Anderson, {"restart": 0}, "restart must be"),
        (Anderson, {"safeguard": 0.5}, "safeguard must be"),
        (Anderson, {"regularization": -1.0}, "regularization must be"),
        (Anderson, {"rtol": -1.0}, "rtol must be 0 or more"),
        (Anderson, {"atol": float("nan")}, "atol must be 0 or more"),
        (Anderson, {"criterion": "both"}, "criterion must be"),
        (Anderson, {"trace": -1}, "trace must be"),
        (Damped, {"mixing": 0.0}, "mixing must be above 0"),
        (Damped, {"bounds": (1.0, 0.5)}, "bounds must be"),
        (Broyden, {"memory": 0}, "memory must be a whole number"),
        (Broyden, {"kind": "worse"}, "kind must be"),
        (Broyden, {"scale": 0.0}, "scale must not be 0"),
        (Broyden, {"growth": 0.5}, "growth must be at least 1"),
        (NewtonKrylov, {"krylov": 0}, "krylov must be"),
        (NewtonKrylov, {"forcing": 1.0}, "forcing must be"),
    ],
)
def test_settings_that_cannot_be(make, settings, message, unchecked):
    with pytest.raises(LayerError, match=message):
        make(**settings)


@pytest.mark.parametrize("safeguard", [None, 1.5])
def test_the_safeguard_goes_back_from_where_the_map_is_not_finite(safeguard):
    # The secant through the first two points leads beyond 1, where there is no square root.
    solver = Anderson(rtol=0.0, atol=1e-10, safeguard=safeguard)
    solution = optx.fixed_point(lambda z, _: 1 - 0.999 * jnp.sqrt(1 - z), solver, jnp.asarray([0.9]), throw=False)
    assert bool(solution.stats["converged"]) == (safeguard is not None)


def test_debugging_nans_finds_none():
    with jax.debug_nans(True):
        solution = optx.fixed_point(
            lambda z, _: jnp.tanh(z) / 2 + 1, Anderson(batched=True, safeguard=2.0), jnp.zeros((3, 2))
        )
    assert jnp.all(solution.stats["converged"])
