"""Accuracy of explicit solves: orders of convergence, and the error that a tolerance gives on the DETEST problems A and B."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special
from helpers import setup

import sciml_lux as lux

# Order of convergence

MATRIX = np.array([[-0.3, 1.2, 0.0], [-1.0, 0.1, 0.4], [0.2, -0.5, -0.2]])
START = np.array([1.0, 0.5, -0.7])


class Linear(lux.AbstractLayer):
    """`A y`."""

    def initial_parameters(self, key):
        return {"matrix": MATRIX}

    def __call__(self, y, ps, st):
        return ps.matrix @ y, st


METHODS = [
    (diffrax.Euler(), 1, 64),
    (diffrax.Heun(), 2, 16),
    (diffrax.Midpoint(), 2, 16),
    (diffrax.Ralston(), 2, 16),
    (diffrax.Bosh3(), 3, 16),
    (diffrax.Dopri5(), 5, 8),
    (diffrax.Tsit5(), 5, 8),
    (diffrax.Dopri8(), 8, 4),
]


@pytest.mark.parametrize(("solver", "order", "steps"), METHODS, ids=[type(method).__name__ for method, *_ in METHODS])
def test_fixed_steps_converge_to_the_matrix_exponential_with_the_order_of_the_method(solver, order, steps):
    # A / s over s times the span is the same problem, with steps that are s times as short: one program for all.
    node = lux.NeuralODE(
        Linear(), t1=8.0, dt0=2.0 / steps, solver=solver, stepsize_controller=diffrax.ConstantStepSize()
    )
    ps, st = setup(node)
    solve = jax.jit(lambda ps, end: node.solve(START, ps, st, ts=jnp.stack([end])))
    errors = []
    for scale in (2.0, 4.0):
        solution, after = solve(ps.replace(ps.vector / scale), 2.0 * scale)
        assert int(after.solution.num_steps) == int(steps * scale)
        errors.append(np.linalg.norm(solution.ys[0] - scipy.linalg.expm(2.0 * MATRIX) @ START))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


# DETEST: Hull, Enright, Fellen and Sedgwick 1972, SIAM Journal on Numerical Analysis 9, problems A1 to A5 (single equations) and B1 to
# B5 (small systems), each from 0 to 20. States are filled up to three components with copies of the first, which add
# nothing to the norm of the error of a single equation.

END = 20.0


def alone(function):
    return lambda t, y: jnp.broadcast_to(function(t, y[0]), (3,))


def b1(t, y):
    prey = 2.0 * (y[0] - y[0] * y[1])
    return jnp.stack([prey, -(y[1] - y[0] * y[1]), prey])


def b4(t, y):
    radius = jnp.sqrt(y[0] ** 2 + y[1] ** 2)
    return jnp.stack([-y[1] - y[0] * y[2] / radius, y[0] - y[1] * y[2] / radius, y[0] / radius])


PROBLEMS = {
    "A1": (alone(lambda t, y: -y), [1.0] * 3),
    "A2": (alone(lambda t, y: -(y**3) / 2.0), [1.0] * 3),
    "A3": (alone(lambda t, y: y * jnp.cos(t)), [1.0] * 3),
    "A4": (alone(lambda t, y: y / 4.0 * (1.0 - y / 20.0)), [1.0] * 3),
    "A5": (alone(lambda t, y: (y - t) / (y + t)), [4.0] * 3),
    "B1": (b1, [1.0, 3.0, 1.0]),
    "B2": (lambda t, y: jnp.stack([-y[0] + y[1], y[0] - 2.0 * y[1] + y[2], y[1] - y[2]]), [2.0, 0.0, 1.0]),
    "B3": (lambda t, y: jnp.stack([-y[0], y[0] - y[1] ** 2, y[1] ** 2]), [1.0, 0.0, 0.0]),
    "B4": (b4, [3.0, 0.0, 0.0]),
    "B5": (lambda t, y: jnp.stack([y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]]), [0.0, 1.0, 1.0]),
}
FIELDS = [field for field, _ in PROBLEMS.values()]
STARTS = jnp.asarray([start for _, start in PROBLEMS.values()])
NUMBERS = jnp.arange(float(len(FIELDS)))
TOLERANCES = (1e-3, 1e-5, 1e-7, 1e-9)
# The tolerance is on the errors of one step, which the equation carries on: periodic B1, B4 and B5 have up to 59, 23 and 33 of it.
FACTOR = 100.0


class Detest(lux.AbstractLayer):
    """The problem that its parameter is the number of."""

    def initial_parameters(self, key):
        return {"number": 0.0}

    def __call__(self, t_and_y, ps, st):
        return jax.lax.switch(ps.number.astype(int), FIELDS, *t_and_y), st


def detest(tolerance):
    node = lux.NeuralODE(Detest(), t1=END, time=True, rtol=tolerance, atol=tolerance)
    ps, st = setup(node)
    return lambda y0, number: node(y0, ps.replace(number[None]), st)[0]


@pytest.fixture(scope="module")
def references():
    """The solutions at the end, by SciPy; the compiled field is the same for all."""
    field = jax.jit(lambda number, t, y: jax.lax.switch(number, FIELDS, t, y))
    ends = [
        scipy.integrate.solve_ivp(
            lambda t, y, number=number: np.asarray(field(number, t, y)),
            (0.0, END), start, method="DOP853", rtol=2.3e-14, atol=1e-15,
        ).y[:, -1]
        for number, start in enumerate(np.asarray(STARTS))
    ]  # fmt: skip
    return np.array(ends)


@pytest.fixture(scope="module")
def ends():
    """Ours, one row for each tolerance."""
    return np.array([jax.jit(jax.vmap(detest(tolerance)))(STARTS, NUMBERS) for tolerance in TOLERANCES])


def test_the_references_are_the_solutions_in_closed_form(references):
    found = dict(zip(PROBLEMS, references, strict=True))
    closed = {
        "A1": np.exp(-END),
        "A2": 1.0 / np.sqrt(1.0 + END),
        "A3": np.exp(np.sin(END)),
        "A4": 20.0 / (1.0 + 19.0 * np.exp(-END / 4.0)),
    }
    for name, value in closed.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-14)
    # In polar coordinates of (t, y), A5 is the spiral dr/dangle = -r.
    y = found["A5"][0]
    np.testing.assert_allclose(np.hypot(END, y), 4.0 * np.exp(np.pi / 2.0 - np.arctan2(y, END)), rtol=1e-11)
    chain = np.array([[-1.0, 1.0, 0.0], [1.0, -2.0, 1.0], [0.0, 1.0, -1.0]])
    np.testing.assert_allclose(found["B2"], scipy.linalg.expm(END * chain) @ [2.0, 0.0, 1.0], rtol=1e-11)
    np.testing.assert_allclose(found["B5"], scipy.special.ellipj(END, 0.51)[:3], rtol=1e-11)


def test_the_error_is_proportional_to_the_tolerance(ends, references):
    errors = np.max(np.abs(ends - references), axis=-1)
    size = 1.0 + np.max(np.abs(references), axis=-1)
    ratios = errors / size / np.array(TOLERANCES)[:, None]
    assert np.max(ratios) < FACTOR, ratios
    slopes = np.polyfit(np.log(TOLERANCES), np.log(errors + 1e-16), 1)[0]
    assert np.all((slopes > 0.7) & (slopes < 1.3)), dict(zip(PROBLEMS, slopes, strict=True))


def test_jit_and_no_jit_and_vmap_and_a_loop_agree(ends):
    solve = detest(TOLERANCES[1])
    compiled = jax.jit(solve)
    for row in range(len(FIELDS)):
        np.testing.assert_allclose(compiled(STARTS[row], NUMBERS[row]), ends[1, row], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(solve(STARTS[5], NUMBERS[5]), ends[1, 5], rtol=1e-11, atol=1e-13)
