"""Problems of the kinds that optimistix tests its own solvers with, against dense Newton steps: values and derivatives, compiled
and mapped, in several precisions."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from fixed_points import complex_is_supported as complex_is_supported
from fixed_points import every_solver, solvers

from sciml_lux.solvers import Anderson, Broyden, Damped, NewtonKrylov

pytestmark = pytest.mark.usefixtures("complex_is_supported")

draw = np.random.default_rng(5)
MATRIX, INNER, OUTER = draw.normal(size=(5, 5)), draw.normal(size=(5, 3)), draw.normal(size=(3, 5))

# Each with one number that its solution depends on, `args`.


def rational(y, args):
    return (y**2 + 2 * args) / (y + 3)


def trigonometric(y, args):
    a, b = y["a"], y["b"]
    return {"a": jnp.sin(b) * args + 0.1 * a, "b": 0.5 * jnp.cos(a) + 0.2 * b}


def poisson(y, args):
    padded = jnp.pad(y, 1)
    neighbors = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    return (neighbors + 0.05 * args * jnp.exp(-y)) / 4


def exponential(y, args):
    return jax.tree.map(lambda leaf: jnp.exp(-args * leaf), y)


def network(y, args):
    a, b = y
    hidden = jnp.tanh(jnp.append(a, b) @ INNER.astype(a.dtype) + args)
    flat = 0.1 * hidden @ OUTER.astype(a.dtype)
    return flat[:4].reshape(2, 2), flat[4:]


def heat(y, args):
    """A step of the trapezoidal rule for `dy/dt = (1 - y) y''`, from a parabola."""

    def slope(y):
        padded = jnp.pad(y, 1)
        return (1 - y) * (padded[2:] - 2 * y + padded[:-2])

    start = jnp.linspace(-1, 1, 8).astype(y.dtype) ** 2
    return start + args / 4 * (slope(start) + slope(y))


def oscillation(y):
    return MATRIX.astype(y.dtype) @ y


def kinetics(y):
    """Robertson's, with rates that leave one solution near the start."""
    a, b, c = y
    first, second, third = 0.04 * a, 2 * b * c, 3 * b**2
    return jnp.stack([second - first, first - second - third, third])


def by_values(slope, step, start):
    """The implicit midpoint rule, for the value at the end of the step."""
    return lambda y, args: start.astype(y.dtype) + args * step * slope((start.astype(y.dtype) + y) / 2)


def by_slopes(slope, step, start):
    """The same, for the slope in the middle."""
    return lambda k, args: slope(start.astype(k.dtype) + args * step / 2 * k)


def by_increments(slope, step, start):
    """The same, for the difference of the values."""
    return lambda d, args: args * step * slope(start.astype(d.dtype) + d / 2)


LINEAR, KINETIC = (oscillation, 0.1, np.linspace(-1, 1, 5)), (kinetics, 0.2, np.array([1.0, 0.5, 0.1]))

PROBLEMS = {
    "rational": (rational, jnp.asarray([0.4, 0.8, 0.1])),
    "trigonometric": (trigonometric, {"a": jnp.ones(2), "b": jnp.zeros(2)}),
    "poisson": (poisson, jnp.zeros((3, 4))),
    "exponential": (exponential, ({"a": jnp.full((1, 2), 0.5)}, jnp.full(2, 0.5))),
    "network": (network, (jnp.ones((2, 2)), jnp.zeros(1))),
    "heat": (heat, jnp.ones(8)),
    "linear, values": (by_values(*LINEAR), jnp.ones(5)),
    "linear, slopes": (by_slopes(*LINEAR), jnp.ones(5)),
    "linear, increments": (by_increments(*LINEAR), jnp.ones(5)),
    "Robertson, values": (by_values(*KINETIC), jnp.ones(3)),
    "Robertson, slopes": (by_slopes(*KINETIC), jnp.zeros(3)),
    "Robertson, increments": (by_increments(*KINETIC), jnp.zeros(3)),
}
every_problem = pytest.mark.parametrize("name", PROBLEMS)


ARGS = jnp.asarray([0.7, 0.3])


@functools.cache
def expected(name):
    """The solutions and their derivatives by `ARGS`, by dense Newton steps and the dense implicit function theorem."""
    function, start = PROBLEMS[name]
    flat, back = jax.flatten_util.ravel_pytree(start)

    def residual(flat, args):
        return jax.flatten_util.ravel_pytree(function(back(flat), args))[0] - flat

    def solve(args):
        z = jax.lax.fori_loop(
            0, 30, lambda _, z: z - jnp.linalg.solve(jax.jacfwd(residual)(z, args), residual(z, args)), flat
        )
        return z, -jnp.linalg.solve(jax.jacfwd(residual)(z, args), jax.jacfwd(residual, argnums=1)(z, args))

    return jax.jit(jax.vmap(solve))(ARGS)


def derivatives(make, name):
    """The solutions with their derivatives in both modes, one by one or mapped."""
    function, start = PROBLEMS[name]

    def solve(args):
        value = optx.fixed_point(function, make(rtol=1e-11, atol=1e-11), start, args, max_steps=500).value
        return jax.flatten_util.ravel_pytree(value)[0]

    def both(args):
        value, tangent = jax.jvp(solve, (args,), (jnp.ones(()),))
        return value, tangent, jax.grad(lambda args: jnp.sum(solve(args) ** 2))(args)

    return both


def check(found, values, tangents):
    np.testing.assert_allclose(found[0], values, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found[1], tangents, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found[2], 2 * jnp.sum(values * tangents, axis=-1), rtol=1e-8)


@every_solver
def test_problems_with_their_derivatives(make):
    values, tangents = expected("trigonometric")
    check(jax.jit(derivatives(make, "trigonometric"))(ARGS[0]), values[0], tangents[0])


@pytest.mark.slow
@solvers()
@every_problem
def test_problems_with_their_derivatives_mapped(make, name):
    check(jax.jit(jax.vmap(derivatives(make, name)))(ARGS), *expected(name))


def solved(make, name, tolerance, dtype):
    function, start = PROBLEMS[name]
    start = jax.tree.map(lambda leaf: leaf.astype(dtype), start)
    solver = make(rtol=tolerance, atol=tolerance)
    args = ARGS[0].astype(dtype)
    solution = jax.jit(lambda args: optx.fixed_point(function, solver, start, args, max_steps=500))(args)
    flat = jax.flatten_util.ravel_pytree(solution.value)[0]
    assert flat.dtype == dtype
    return flat


@every_problem
def test_every_problem(name):
    np.testing.assert_allclose(solved(Anderson, name, 1e-11, float), expected(name)[0][0], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("make", [Anderson, Damped, Broyden, NewtonKrylov])
@every_problem
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.complex128, 1e-11)])
def test_every_problem_in_other_precisions(make, name, dtype, tolerance):
    # The numbers of a problem are real, and so is its solution.
    np.testing.assert_allclose(
        solved(make, name, tolerance, dtype), expected(name)[0][0], rtol=100 * tolerance, atol=100 * tolerance
    )
