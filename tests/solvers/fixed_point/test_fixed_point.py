"""The fixed-point and root solvers as `optimistix` runs them: theorems, samples of a batch, derivatives.

Problems: `test_fixed_point_problems.py`."""

import functools

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optimistix as optx
import pytest
from fixed_points import complex_is_supported as complex_is_supported
from fixed_points import every_solver

from sciml_lux.solvers import Anderson, Broyden, Damped, NewtonKrylov

pytestmark = pytest.mark.usefixtures("complex_is_supported")


def linear(size, seed, radius=2.0, dtype=float):
    draw = np.random.default_rng(seed)
    A, b = draw.normal(size=(size, size)), draw.normal(size=size)
    if dtype is complex:
        A, b = A + 1j * draw.normal(size=(size, size)), b + 1j * draw.normal(size=size)
    A *= radius / np.max(np.abs(np.linalg.eigvals(A)))
    return jnp.asarray(A), jnp.asarray(b), np.linalg.solve(np.eye(size) - A, b)


# Linear problems


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize(("dtype", "size"), [(float, 1), (float, 5), (complex, 4)])
def test_anderson_is_exact_on_linear_problems_after_memory_plus_one_steps(size, dtype, kind):
    A, b, exact = linear(size, size, dtype=dtype)
    solver = Anderson(rtol=1e-8, atol=0.0, memory=size, kind=kind)
    solution = optx.fixed_point(lambda z, _: A @ z + b, solver, jnp.zeros_like(b), max_steps=size + 2)
    # The evaluation after these steps finds that the iterate is exact.
    assert solution.stats["num_steps"] == size + 2
    np.testing.assert_allclose(solution.value, exact, rtol=1e-7)


@pytest.mark.parametrize("kind", [1, 2])
def test_anderson_steps_are_those_of_dense_least_squares(kind):
    """Type II makes the residual orthogonal to the differences of residuals, type I to those of iterates."""
    A, b, _ = linear(12, 0, radius=0.9)
    memory, mixing, z, points = 3, 0.7, np.zeros(12), []
    for _ in range(9):
        r = A @ z + b - z
        points.append((z, r, z + mixing * r))
        Z, R, G = (np.diff(np.stack(rows, axis=1)) for rows in zip(*points[-memory - 1 :], strict=True))
        tests = Z if kind == 1 else R
        z = points[-1][2] - G @ np.linalg.solve(tests.T @ R, tests.T @ r)
    solver = Anderson(rtol=0.0, atol=0.0, memory=memory, mixing=mixing, regularization=0.0, kind=kind)
    state = optx.fixed_point(lambda z, _: A @ z + b, solver, jnp.zeros(12), max_steps=10, throw=False).state
    np.testing.assert_allclose(state.memory.residual[0], A @ z + b - z, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_broyden_is_exact_on_linear_problems_within_twice_the_size(kind):
    # Gay (1979): 2 n steps for n unknowns.
    A, b, exact = linear(3, 1)
    solver = Broyden(rtol=1e-8, atol=0.0, kind=kind, line_search=False)
    solution = optx.fixed_point(lambda z, _: A @ z + b, solver, jnp.zeros(3), max_steps=8)
    np.testing.assert_allclose(solution.value, exact, rtol=1e-7)


def test_newton_krylov_solves_linear_problems_in_one_exact_step():
    A, b, exact = linear(10, 2)
    solver = NewtonKrylov(rtol=1e-8, atol=0.0, forcing=1e-12)
    solution = optx.root_find(lambda z, _: A @ z + b - z, solver, jnp.zeros(10), max_steps=2)
    np.testing.assert_allclose(solution.value, exact, rtol=1e-8)
    assert solution.stats["num_steps"] == 12  # two evaluations, ten products


def test_the_adaptive_damping_of_a_linear_scalar_map_is_exact_after_one_step():
    solution = optx.fixed_point(lambda z, _: 2.0 - 3.0 * z, Damped(rtol=1e-12, atol=0.0), jnp.asarray(0.0), max_steps=3)
    np.testing.assert_allclose(solution.value, 0.5, rtol=1e-12)


# Batches


WEIGHT = jnp.asarray(np.random.default_rng(1).normal(size=(6, 6)) / 6**0.5)
INPUTS = jnp.asarray(np.random.default_rng(2).normal(size=(4, 6))) * jnp.asarray([[0.1], [1.0], [1.0], [3.0]])


def cell(z, inputs):
    return jnp.tanh(z @ WEIGHT.astype(z.dtype) + inputs)


@every_solver
def test_samples_of_a_batch_are_solved_as_alone(make):
    settings = {"rtol": 1e-9, "atol": 1e-9}
    together = optx.fixed_point(cell, make(**settings, batched=True), jnp.zeros((4, 6)), INPUTS, max_steps=200)
    alone = jax.jit(lambda inputs: optx.fixed_point(cell, make(**settings), jnp.zeros(6), inputs, max_steps=200))
    assert len({int(number) for number in together.stats["num_steps"]}) > 1  # they stop at different steps
    for i, inputs in enumerate(INPUTS):
        one = alone(inputs)
        assert one.stats["num_steps"] == together.stats["num_steps"][i]
        # To rounding: the map itself is rounded differently for another number of rows.
        np.testing.assert_allclose(together.value[i], one.value, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(together.stats["residual"][i], one.stats["residual"], rtol=1e-3)


@every_solver
def test_what_happens_in_one_sample_changes_no_bit_of_the_others(make):
    solve = jax.jit(
        lambda inputs: optx.fixed_point(
            cell, make(rtol=1e-8, atol=1e-8, batched=True), jnp.zeros((4, 6)), inputs, max_steps=100, throw=False
        )
    )
    okay, hurt = solve(INPUTS), solve(INPUTS.at[1, 2].set(jnp.nan))
    others = np.array([0, 2, 3])
    assert jnp.all(okay.stats["converged"])
    np.testing.assert_array_equal(okay.value[others], hurt.value[others])
    np.testing.assert_array_equal(okay.stats["num_steps"][others], hurt.stats["num_steps"][others])
    np.testing.assert_array_equal(hurt.stats["converged"], [True, False, True, True])
    assert hurt.stats["num_steps"][1] == 1
    assert hurt.result == optx.RESULTS.nonfinite
    # A sample that takes longer only keeps the others waiting.
    longer = solve(INPUTS.at[3].set(0.4))
    np.testing.assert_array_equal(okay.value[:3], longer.value[:3])


@every_solver
def test_the_residual_in_the_statistics_is_that_of_the_value(make):
    solver = make(rtol=1e-10, atol=0.0, batched=True, trace=True, criterion="absolute")  # which nothing reaches
    solution = optx.fixed_point(cell, solver, jnp.zeros((4, 6)), INPUTS, max_steps=5, throw=False)
    residual = jnp.sqrt(jnp.mean((cell(solution.value, INPUTS) - solution.value) ** 2, axis=1))
    np.testing.assert_allclose(solution.stats["residual"], residual, rtol=1e-4, atol=1e-15)
    np.testing.assert_allclose(jnp.nanmin(solution.stats["residuals"], axis=0), residual, rtol=1e-4, atol=1e-15)
    assert not jnp.any(solution.stats["converged"])
    assert jnp.all(jnp.isnan(solution.stats["residuals"][5:]))


def test_the_best_iterate_is_returned_not_the_last():
    # Plain iteration of an expansive map: the start is the best.
    solver = Damped(adaptive=False)
    solution = optx.fixed_point(lambda z, _: 3.0 * z + 1.0, solver, jnp.asarray([0.25]), max_steps=20, throw=False)
    np.testing.assert_array_equal(solution.value, [0.25])
    assert not solution.stats["converged"]
    np.testing.assert_allclose(solution.stats["residual"], 1.5)
    assert solution.result == optx.RESULTS.nonlinear_max_steps_reached


@pytest.mark.parametrize(
    ("criterion", "norm"),
    [
        ("mixed", optx.rms_norm),
        ("relative", optx.rms_norm),
        ("absolute", optx.rms_norm),
        ("mixed", optx.max_norm),
        ("mixed", optx.two_norm),
        ("mixed", lambda tree: 2 * optx.max_norm(tree)),
    ],
)
def test_criteria_and_norms(criterion, norm):
    # z_k = 50 - 50 2^-k in every entry of a tree of two arrays, whose first axis is the sample.
    def f(tree, _):
        return jax.tree.map(lambda z: 25 + z / 2, tree)

    start = {"a": jnp.zeros((2, 3)), "b": jnp.zeros((2, 1, 2))}
    solver = Damped(rtol=1e-2, atol=1e-3, norm=norm, criterion=criterion, adaptive=False, batched=True, trace=True)
    solution = optx.fixed_point(f, solver, start)
    size = float(norm(jnp.ones(5)))
    residuals = [float(r) for r in solution.stats["residuals"][:, 0] if np.isfinite(r)]
    np.testing.assert_allclose(residuals, [size * 25 / 2**k for k in range(len(residuals))], rtol=1e-10)
    allowed = {"mixed": 1e-3, "relative": 0.0, "absolute": 1e-3}[criterion]
    rtol = 0.0 if criterion == "absolute" else 1e-2
    within = [r <= allowed + rtol * size * (50 - 25 / 2**k) for k, r in enumerate(residuals)]
    assert within == [False] * (len(residuals) - 1) + [True]
    assert jax.tree.structure(solution.value) == jax.tree.structure(start)


# Numbers of other kinds


@every_solver
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(jnp.float32, 1e-5), pytest.param(jnp.complex64, 1e-5, marks=pytest.mark.slow), (jnp.complex128, 1e-10)],
    ids=["float32", "complex64", "complex128"],
)
def test_dtypes(make, dtype, tolerance):
    A, b, _ = linear(5, 4, radius=0.8, dtype=complex if jnp.issubdtype(dtype, jnp.complexfloating) else float)
    A, b = A.astype(dtype), b.astype(dtype)

    def f(z, _):
        return {"a": jnp.sin(A @ z["a"] / 2 + b / 4)}

    solution = optx.fixed_point(f, make(rtol=tolerance, atol=tolerance), {"a": jnp.zeros(5, dtype)}, max_steps=400)
    assert solution.value["a"].dtype == dtype
    change = f(solution.value, None)["a"] - solution.value["a"]
    assert jnp.sqrt(jnp.mean(jnp.abs(change) ** 2)) <= tolerance * 2
    assert solution.stats["residual"].dtype == jnp.finfo(dtype).dtype


def test_arrays_of_several_dtypes_keep_theirs():
    def f(z, _):
        return {"a": jnp.cos(z["a"]), "b": jnp.sin(z["b"]) / 2 + 1j * z["b"] / 4}

    start = {"a": jnp.zeros(2, jnp.float32), "b": jnp.ones(1, complex)}
    value = optx.fixed_point(f, Anderson(rtol=1e-6, atol=1e-6), start).value
    assert (value["a"].dtype, value["b"].dtype) == (jnp.float32, complex)
    np.testing.assert_allclose(value["a"], 0.739085, rtol=1e-5)


@pytest.mark.parametrize(
    "make", [Anderson, *(pytest.param(make, marks=pytest.mark.slow) for make in (Damped, Broyden))]
)
def test_the_iteration_itself_can_be_differentiated(make):
    """Samples that have converged stand still, where lengths are 0 and have no derivative."""

    def loss(inputs, adjoint):
        # The first sample has arrived at its second evaluation.
        start = jnp.zeros((2, 6))
        solver = make(rtol=1e-10, atol=1e-10, batched=True)
        value = optx.fixed_point(cell, solver, start, inputs, max_steps=64, adjoint=adjoint).value
        return jnp.sum(value[1] ** 2) + jnp.sum(value[0])

    inputs = INPUTS[:2].at[0].set(0.0)
    unrolled = jax.jit(jax.grad(functools.partial(loss, adjoint=optx.RecursiveCheckpointAdjoint())))(inputs)
    implicit = jax.jit(jax.grad(functools.partial(loss, adjoint=optx.ImplicitAdjoint())))(inputs)
    # The iterate that is returned was made by the evaluation before the last, and its derivative converges with it.
    np.testing.assert_allclose(unrolled[1], implicit[1], rtol=1e-4, atol=1e-6)
    assert jnp.all(jnp.isfinite(unrolled))


def test_steps_of_newton_krylov_say_that_they_cannot_be_differentiated_backwards():
    def loss(x):
        solver, adjoint = NewtonKrylov(rtol=1e-6, atol=1e-6), optx.RecursiveCheckpointAdjoint()
        return jnp.sum(optx.fixed_point(cell, solver, jnp.zeros(6), x, adjoint=adjoint).value)

    with pytest.raises(RuntimeError, match="implicit derivative"):
        jax.grad(loss)(INPUTS[0])


# Roots


@pytest.mark.parametrize("make", [Broyden, functools.partial(Broyden, kind="bad"), NewtonKrylov])
def test_roots(make):
    def f(y, _):
        return jnp.stack([y[0] ** 2 + y[1] ** 2 - 4, jnp.exp(y[0]) + y[1] - 1])

    solution = optx.root_find(f, make(rtol=0.0, atol=1e-10), jnp.asarray([1.0, -1.5]), max_steps=100)
    assert jnp.max(jnp.abs(f(solution.value, None))) < 1e-9


def test_newton_krylov_shortens_steps_where_newton_diverges():
    def solve(line_search):
        solver = NewtonKrylov(rtol=0.0, atol=1e-12, forcing=1e-10, line_search=line_search)
        return optx.root_find(lambda y, _: jnp.arctan(y), solver, jnp.asarray(3.0), max_steps=50, throw=False)

    assert not solve(False).stats["converged"]
    assert solve(True).stats["converged"]
    np.testing.assert_allclose(solve(True).value, 0.0, atol=1e-11)


def test_newton_krylov_returns_from_where_the_function_is_not_finite():
    # A full Newton step from 3 leads to a negative number, of which there is no logarithm.
    solver = NewtonKrylov(rtol=0.0, atol=1e-12)
    solution = optx.root_find(lambda y, _: jnp.log(y), solver, jnp.asarray([3.0]), max_steps=50)
    np.testing.assert_allclose(solution.value, [1.0], rtol=1e-10)


def test_newton_krylov_takes_a_linear_solver_of_lineax():
    solver = NewtonKrylov(rtol=1e-9, atol=1e-9, batched=True, linear_solver=lineax.GMRES(rtol=1e-10, atol=1e-10))
    solution = optx.fixed_point(cell, solver, jnp.zeros((4, 6)), INPUTS, max_steps=20)
    np.testing.assert_allclose(cell(solution.value, INPUTS), solution.value, atol=1e-8)
