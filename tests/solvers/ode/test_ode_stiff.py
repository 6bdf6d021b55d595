"""`stiff=True`: van der Pol, Robertson and Oregonator against published values; float32; its derivatives.

The published values are those of the Test Set for Initial Value Problem Solvers (Mazzia and Magherini 2008, release 2.4: problems
vdpolm, rober, orego; Hairer and Wanner 1996, section IV.10). A slow test computes them anew with SciPy's Radau.
"""

import dataclasses

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.linalg
from helpers import directional_difference, message_of, setup

import sciml_lux as lux
from sciml_lux.solvers.differential import SolveSettings, diffrax_settings


def van_der_pol(y, ps):
    return jnp.stack([y[1], ps.mu * (1.0 - y[0] ** 2) * y[1] - y[0]])


def robertson(y, ps):
    slow, fast, back = ps.slow * y[0], ps.fast * y[1] ** 2, ps.back * y[1] * y[2]
    return jnp.stack([back - slow, slow - back - fast, fast])


def oregonator(y, ps):
    first = ps.s * (y[1] + y[0] * (1.0 - ps.q * y[0] - y[1]))
    return jnp.stack([first, (y[2] - (1.0 + y[0]) * y[1]) / ps.s, ps.w * (y[0] - y[2])])


@dataclasses.dataclass(frozen=True)
class Reference:
    """A problem with its published solution at `t1`. `atol`: in parts of `rtol`, for each component. `factor`: the error in tolerances."""

    field: object
    parameters: dict
    y0: list
    t1: float
    y1: list
    atol: tuple
    factor: float


PROBLEMS = {
    "van der Pol": Reference(
        van_der_pol, {"mu": 1e3}, [2.0, 0.0], 2000.0, [1.706167732170469, -0.8928097010248125e-3], (1.0, 1e-3), 5.0
    ),
    "Robertson": Reference(
        robertson,
        {"slow": 0.04, "fast": 3e7, "back": 1e4},
        [1.0, 0.0, 0.0],
        1e11,
        [0.2083340149701255e-07, 0.8333360770334713e-13, 0.9999999791665050],
        (1e-8, 1e-14, 1e-8),
        5.0,
    ),
    # The limit cycle stretches the errors of its fast phases.
    "Oregonator": Reference(
        oregonator,
        {"s": 77.27, "q": 8.375e-6, "w": 0.161},
        [1.0, 2.0, 3.0],
        360.0,
        [0.1000814870318523e1, 0.1228178521549917e4, 0.1320554942846706e3],
        (1.0, 1.0, 1.0),
        50.0,
    ),
}


class Field(lux.AbstractLayer):
    """The right-hand side, with the parameters of the problem."""

    name: str

    def initial_parameters(self, key):
        return PROBLEMS[self.name].parameters

    def __call__(self, y, ps, st):
        return PROBLEMS[self.name].field(y, ps), st


def stiff(name, rtol, **options):
    atol = tuple(rtol * part for part in PROBLEMS[name].atol)
    return lux.NeuralODE(Field(name), **{"t1": PROBLEMS[name].t1, "stiff": True, "rtol": rtol, "atol": atol, **options})


@pytest.mark.parametrize("rtol", [1e-4, 1e-7])
@pytest.mark.parametrize("name", PROBLEMS)
def test_published_values_are_met_to_the_tolerance(name, rtol):
    problem = PROBLEMS[name]
    node = stiff(name, rtol)
    ps, st = setup(node)
    y1, st = jax.jit(node)(jnp.asarray(problem.y0), ps, st)
    expected = np.array(problem.y1)
    error = np.max(np.abs(np.asarray(y1) - expected) / (np.array(problem.atol) + np.abs(expected)))
    assert error < problem.factor * rtol
    # Twice of what was measured: an iteration that fails makes steps by the thousand.
    assert st.solution.num_steps < {1e-4: 1000, 1e-7: 3000}[rtol]


@pytest.mark.parametrize("name", ["Robertson", "Oregonator"])
def test_float32_solves_what_float64_does(name):
    problem = PROBLEMS[name]
    node = stiff(name, 1e-4)
    ps, st = setup(node, dtype=jnp.float32)
    y1, st = jax.jit(node)(jnp.asarray(problem.y0, jnp.float32), ps, st)
    assert y1.dtype == jnp.float32
    expected = np.array(problem.y1)
    assert np.max(np.abs(np.asarray(y1) - expected) / (np.array(problem.atol) + np.abs(expected))) < 2e-3
    assert st.solution.num_steps < 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_published_values_are_those_of_radau(name):
    problem = PROBLEMS[name]
    ps, _ = setup(Field(name))
    field = jax.jit(lambda y: problem.field(y, ps))
    jacobian = jax.jit(jax.jacfwd(field))
    solution = scipy.integrate.solve_ivp(
        lambda t, y: np.asarray(field(y)),
        (0.0, problem.t1),
        problem.y0,
        method="Radau",
        jac=lambda t, y: np.asarray(jacobian(y)),
        rtol=1e-12,
        atol=1e-22 if name == "Robertson" else 1e-16,
    )
    np.testing.assert_allclose(solution.y[:, -1], problem.y1, rtol=1e-10)


# Derivatives

WEIGHTS = jnp.asarray([1.0, 1e4, 1.0])


def objective(vector, node, ps, st):
    return WEIGHTS @ node(jnp.asarray([1.0, 0.0, 0.0]), ps.replace(vector), st)[0]


@pytest.mark.slow
def test_gradients_are_finite_differences_and_forward_mode():
    node = stiff("Robertson", 1e-8, t1=40.0)
    forward = dataclasses.replace(node, adjoint=diffrax.ForwardMode())
    ps, st = setup(node)
    value = jax.jit(lambda vector: objective(vector, node, ps, st))
    gradient = jax.jit(jax.grad(lambda vector: objective(vector, node, ps, st)))(ps.vector)
    tangents = jax.jit(jax.jacfwd(lambda vector: objective(vector, forward, ps, st)))(ps.vector)
    # Derivatives by the logarithms, since the rates are of different sizes.
    np.testing.assert_allclose(gradient * ps.vector, tangents * ps.vector, rtol=1e-6)
    for unit in np.eye(3):
        difference = directional_difference(lambda log: value(jnp.exp(log)), jnp.log(ps.vector), unit, step=1e-4)
        np.testing.assert_allclose((gradient * ps.vector) @ unit, difference, rtol=1e-4)


@pytest.mark.slow
def test_fixed_steps_need_no_tolerances_of_a_controller():
    # A stiff linear equation: the implicit method of order 5 is stable at steps 100 times as long as the fast time.
    matrix = np.array([[-1.0, 0.5], [0.0, -2000.0]])

    def errors(dt0):
        fixed = {"stepsize_controller": diffrax.ConstantStepSize(), "dt0": dt0, "rtol": 1e-10, "atol": 1e-12}
        node = lux.NeuralODE(lux.WrappedFunction(lambda y: jnp.asarray(matrix) @ y), t1=2.0, stiff=True, **fixed)
        ps, st = setup(node)
        y1, _ = node(jnp.asarray([1.0, 0.0]), ps, st)
        return np.linalg.norm(y1 - scipy.linalg.expm(2.0 * matrix) @ [1.0, 0.0])

    assert np.log2(errors(0.5) / errors(0.25)) == pytest.approx(5, abs=0.3)
    assert errors(0.05) < 1e-7


# The derivatives of implicit steps


class Cobweb(lux.AbstractLayer):
    """Two species near a precipice: rejected steps of its solve overflow."""

    def initial_parameters(self, key):
        return {"p": jnp.asarray([17.0, -9.0, -0.5])}

    def __call__(self, x, ps, st):
        p = ps.p
        first = jnp.exp(p[0]) * (jnp.exp(p[2] - x[0] - x[1]) - 1.0)
        return jnp.stack([first, jnp.exp(p[1]) * (jnp.exp(-3.26 - x[1]) - 1.0)]), st


class CubeRoot(lux.AbstractLayer):
    """`-rate y^(1/3)`, whose derivative at 0 is infinite."""

    def initial_parameters(self, key):
        return {"rate": 1.0}

    def __call__(self, y, ps, st):
        return -ps.rate * jnp.cbrt(y), st


@pytest.mark.slow
def test_rejected_steps_do_not_reach_the_gradient():
    node = lux.NeuralODE(Cobweb(), t1=10.0, stiff=True, throw=False)
    ps, st = setup(node)
    gradient = jax.jit(jax.grad(lambda vector: jnp.sum(node(jnp.zeros(2), ps.replace(vector), st)[0])))(ps.vector)
    # At rest in the first species: x[0] + x[1] = p[2].
    np.testing.assert_allclose(gradient, [0.0, 0.0, 1.0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["joint", "each"])
def test_a_gradient_that_does_not_exist_is_nan_or_our_error_and_left_out_of_a_fit(batching):
    def gradient(throw):
        node = lux.NeuralODE(CubeRoot(), stiff=True, throw=throw, batching=batching)
        ps, st = setup(node)
        loss = lambda ps, st, _: (jnp.sum(node(jnp.zeros((2, 1)) + ps.vector[0] - 1.0, ps, st)[0]), st)  # noqa: E731
        return jax.jit(jax.grad(lambda ps: loss(ps, st, None)[0])), loss, ps, st

    function, *_ = gradient(False)
    assert np.isnan(function(gradient(False)[2]).vector).all()
    function, loss, ps, st = gradient(True)
    with pytest.raises(RuntimeError) as caught:
        jax.block_until_ready(function(ps).vector)
    # Which is that of the solve where the state cannot be stepped either.
    assert "SolveError" in message_of(caught.value)
    assert "With throw=False" in message_of(caught.value)
    fitted = lux.fit(loss, ps, st, optax.sgd(0.1), steps=2, throw=False)
    assert fitted.num_rejected == 2
    np.testing.assert_array_equal(fitted.ps.vector, ps.vector)


@pytest.mark.slow
@pytest.mark.parametrize(
    "solver", [diffrax.ImplicitEuler(), diffrax.Kvaerno3(), diffrax.Kvaerno4(), diffrax.Kvaerno5()]
)
def test_the_derivatives_of_every_implicit_method_are_those_of_diffrax(solver):
    y0, tolerances = jnp.asarray([2.0, 0.0]), {"rtol": 1e-4, "atol": 1e-4}
    field = lambda t, y, mu: jnp.stack([y[1], mu * (1.0 - y[0] ** 2) * y[1] - y[0]]) + 0.1 * jnp.sin(t)  # noqa: E731

    def final(mu, y0):
        node = lux.HybridODE(
            lambda t, y, terms: field(t, y, terms.p.mu),
            p=lux.ParameterDict(mu=1.0),
            t1=3.0,
            solver=solver,
            **tolerances,
        )
        ps, st = setup(node)
        return jnp.sum(node(y0, ps.set("p.mu", mu), st)[0])

    def upstream(mu, y0):
        span = {"t0": jnp.zeros(()), "t1": jnp.asarray(3.0), "dt0": None, "y0": y0, "args": mu}
        # The first step is chosen by the controller of the adapter.
        settings = SolveSettings.of(lux.NeuralODE(Cobweb(), t1=3.0, solver=solver, **tolerances))
        controller = diffrax_settings(settings, y0, 0.0, 3.0)["stepsize_controller"]
        return jnp.sum(diffrax.diffeqsolve(diffrax.ODETerm(field), solver, stepsize_controller=controller, **span).ys)

    found, expected = (jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(5.0, y0) for f in (final, upstream))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.slow
def test_no_stage_looks_beyond_a_jump():
    # Kvaerno5 has a stage at t0 + 1.23 h.
    rates = jnp.asarray([0.8, -1.5])
    node = lux.NeuralODE(
        lux.WrappedFunction(lambda x: jnp.where(x[0] < 0.5, *rates) * x[1]), time=True, stiff=True, jump_ts=(0.5,)
    )
    ps, st = setup(node)
    solution, _ = node.solve(jnp.ones(()), ps, st)
    np.testing.assert_allclose(solution.ys[0], np.exp(0.5 * 0.8 - 0.5 * 1.5), rtol=1e-4)
    assert solution.stats["num_rejected_steps"] == 0
