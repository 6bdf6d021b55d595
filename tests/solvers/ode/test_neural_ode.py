"""NeuralODE: against matrix exponentials, SciPy and closed forms; its derivatives; what it promises about parameters and state."""

import diffrax
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
import scipy.integrate
import scipy.linalg
from helpers import Counted, directional_difference, setup

import sciml_lux as lux
from sciml_lux.core import differentiation_mode

A = np.array([[-0.3, 1.2], [-1.0, 0.1]])
Y0 = np.array([1.0, 0.5])
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


class Linear(lux.AbstractLayer):
    """`A y`."""

    def initial_parameters(self, key):
        return {"matrix": A}

    def __call__(self, y, ps, st):
        return ps.matrix @ y, st


class Function(lux.AbstractLayer):
    """Any function of the input, with one parameter, a rate."""

    function: object

    def initial_parameters(self, key):
        return {"rate": 1.0}

    def __call__(self, x, ps, st):
        return self.function(x, ps.rate), st


def decay(y, rate):
    return -rate * y


def made(node):
    return node, *setup(node)


# The solution


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.5), (1.5, 0.0), (-1.0, 0.5)])
def test_a_linear_system_is_solved_by_the_matrix_exponential(t0, t1):
    node, ps, st = made(lux.NeuralODE(Linear(), t0=t0, t1=t1, **TIGHT))
    ts = np.linspace(t0, t1, 5)[[0, 1, 1, 2, 4]]  # the start, the end, and one time twice
    solution, _ = jax.jit(lambda ps: node.solve(Y0, ps, st, ts=ts))(ps)
    expected = [scipy.linalg.expm(A * (t - t0)) @ Y0 for t in ts]
    np.testing.assert_array_equal(solution.ts, ts)
    np.testing.assert_allclose(solution.ys, expected, rtol=1e-8)
    y1, _ = jax.jit(node)(Y0, ps, st)
    np.testing.assert_allclose(y1, expected[-1], rtol=1e-8)


@pytest.mark.parametrize(("solver", "order", "steps"), [(diffrax.Heun(), 2, 16), (diffrax.Tsit5(), 5, 16)])
def test_a_fixed_step_converges_with_the_order_of_the_solver(solver, order, steps):
    fixed = {"solver": solver, "stepsize_controller": diffrax.ConstantStepSize()}
    errors = []
    for number in (steps, 2 * steps):
        node, ps, st = made(lux.NeuralODE(Linear(), t1=2.0, dt0=2.0 / number, **fixed))
        y1, st = node(Y0, ps, st)
        assert st.solution.num_steps == number
        errors.append(np.linalg.norm(y1 - scipy.linalg.expm(2.0 * A) @ Y0))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


def test_a_model_may_be_given_the_time():
    def field(t_and_y, rate):
        t, y = t_and_y
        assert (t.shape, t.dtype) == ((), y.dtype)
        return jnp.sin(3.0 * t) - rate * y**2

    node, ps, st = made(lux.NeuralODE(Function(field), t0=0.5, t1=2.0, time=True, **TIGHT))
    ts = np.linspace(0.5, 2.0, 4)
    solution, _ = node.solve(jnp.ones(1), ps, st, ts=ts)
    oracle = scipy.integrate.solve_ivp(
        lambda t, y: np.sin(3.0 * t) - y**2, (0.5, 2.0), [1.0], t_eval=ts, method="DOP853", rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(solution.ys, oracle.y.T, rtol=1e-8)


@pytest.mark.parametrize(("time", "interpolated"), [(False, True), (True, False)])
def test_control_inputs_follow_the_state(time, interpolated):
    # dy/dt = -y + u(t), u(t) = amplitude t, plus another t where the time is given.
    def field(x, rate):
        *t, y, u = x
        return u + sum(t) - rate * y

    node, ps, st = made(lux.NeuralODE(Function(field), t1=2.0, time=time, **TIGHT))

    def final(amplitude):
        knots = jnp.asarray([0.0, 1.0, 2.0])
        ramp = diffrax.LinearInterpolation(knots, amplitude * knots) if interpolated else lambda t: amplitude * t
        return node(jnp.asarray(1.0), ps, st, inputs=ramp)[0]

    slope = 3.0 + time
    value, gradient = jax.jit(jax.value_and_grad(final))(3.0)
    np.testing.assert_allclose(value, (1.0 + slope) * np.exp(-2.0) + slope, rtol=1e-8)
    np.testing.assert_allclose(gradient, np.exp(-2.0) + 1.0, rtol=1e-7)


def test_the_state_may_be_any_tree():
    class Rotation(lux.AbstractLayer):
        def __call__(self, y, ps, st):
            return {"sine": y["cosines"][0], "cosines": (-y["sine"], jnp.zeros((0,)))}, st

    node, ps, st = made(lux.NeuralODE(Rotation(), t1=1.0, **TIGHT))
    start = {"sine": 0, "cosines": (1.0, np.zeros((0,)))}  # integers become floats
    y1, _ = node(start, ps, st)
    assert jax.tree.structure(y1) == jax.tree.structure(start)
    np.testing.assert_allclose([y1["sine"], y1["cosines"][0]], [np.sin(1.0), np.cos(1.0)], rtol=1e-8)
    solution, _ = node.solve(start, ps, st, ts=[0.5, 1.0])
    np.testing.assert_allclose(solution.ys["sine"], np.sin([0.5, 1.0]), rtol=1e-8)


def test_what_is_saved_can_be_chosen():
    node, ps, st = made(lux.NeuralODE(Function(decay), **TIGHT))
    saveat = diffrax.SaveAt(t0=True, t1=True, fn=lambda t, y, args: {"double": 2.0 * y}, dense=True)
    solution, _ = node.solve(1.0, ps, st, saveat=saveat)
    np.testing.assert_allclose(solution.ts, [0.0, 1.0])
    np.testing.assert_allclose(solution.ys["double"], 2.0 * np.exp([0.0, -1.0]), rtol=1e-8)
    np.testing.assert_allclose(solution.evaluate(0.3), np.exp(-0.3), rtol=1e-8)
    only_dense, _ = node.solve(1.0, ps, st, saveat=diffrax.SaveAt(dense=True))
    np.testing.assert_allclose(only_dense.evaluate(0.3), np.exp(-0.3), rtol=1e-8)


def test_an_event_ends_a_solve_and_is_no_failure():
    event = diffrax.Event(lambda t, y, args, **_: y - 0.5, optimistix.Newton(1e-10, 1e-10))
    node, ps, st = made(lux.NeuralODE(Function(decay), t1=5.0, event=event, **TIGHT))
    solution, st = node.solve(1.0, ps, st)
    np.testing.assert_allclose(solution.ts, [np.log(2.0)], rtol=1e-8)
    np.testing.assert_allclose(solution.ys, [0.5], rtol=1e-8)
    assert st.solution.result == diffrax.RESULTS.event_occurred


def test_a_model_without_parameters_and_an_empty_state():
    node, ps, st = made(lux.NeuralODE(lux.WrappedFunction(jnp.negative), **TIGHT))
    assert ps.vector.shape == (0,)
    np.testing.assert_allclose(node(2.0, ps, st)[0], 2.0 * np.exp(-1.0), rtol=1e-8)
    assert node(jnp.zeros((0,)), ps, st)[0].shape == (0,)


# Derivatives

NODE, PS, ST = made(lux.NeuralODE(Linear(), t1=1.5, **TIGHT))
WEIGHTS = jnp.asarray([0.7, -0.4])


def objective(vector, y0, node=NODE):
    return WEIGHTS @ node(y0, PS.replace(vector), ST)[0]


gradients = jax.jit(jax.grad(objective, argnums=(0, 1)))


def closed_form():
    """The gradients of `w^T expm(A t) y0` in A and in y0."""
    units = np.eye(4).reshape(4, 2, 2)
    in_matrix = [WEIGHTS @ scipy.linalg.expm_frechet(1.5 * A, 1.5 * unit)[1] @ Y0 for unit in units]
    return np.array(in_matrix), scipy.linalg.expm(1.5 * A).T @ WEIGHTS


def test_the_gradient_is_the_closed_form_and_the_finite_difference():
    found = gradients(PS.vector, jnp.asarray(Y0))
    for got, expected in zip(found, closed_form(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-7)
    direction = jnp.asarray([0.3, -0.5, 0.2, 0.9])
    difference = directional_difference(jax.jit(lambda vector: objective(vector, Y0)), PS.vector, direction)
    np.testing.assert_allclose(found[0] @ direction, difference, rtol=1e-7)


def test_forward_mode_gives_the_same_gradient():
    forward = lux.NeuralODE(Linear(), t1=1.5, adjoint=diffrax.ForwardMode(), **TIGHT)
    expected, _ = closed_form()
    np.testing.assert_allclose(
        jax.jit(jax.jacfwd(objective), static_argnums=2)(PS.vector, Y0, forward), expected, rtol=1e-7
    )
    # Without a choice by the user, both ways are open, and what surrounds the solve may say which.
    jacobian = jax.jit(jax.jacfwd(objective))
    with differentiation_mode("forward"):
        np.testing.assert_allclose(jacobian(PS.vector, Y0), expected, rtol=1e-7)
    np.testing.assert_allclose(jacobian(PS.vector, Y0), expected, rtol=1e-7)


def test_mapped_is_looped_with_gradients():
    starts = jnp.asarray([[1.0, 0.5], [0.2, -3.0], [0.0, 0.0]])
    vectors = jnp.stack([PS.vector, 0.5 * PS.vector, -PS.vector])
    mapped = jax.vmap(gradients)(vectors, starts)
    for row, pair in enumerate(zip(vectors, starts, strict=True)):
        for got, expected in zip(mapped, gradients(*pair), strict=True):
            np.testing.assert_allclose(got[row], expected, rtol=1e-10, atol=1e-13)


# Parameters


def equations(jaxpr, in_loop=False):
    """All equations of a program, each with whether it is inside a loop."""
    for equation in jaxpr.eqns:
        yield equation, in_loop
        inside = in_loop or equation.primitive.name in ("while", "scan")
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from equations(inner, inside)


@pytest.mark.parametrize("differentiate", [False, True])
def test_parameters_are_unravelled_outside_of_the_loop(differentiate):
    node, ps, st = made(lux.NeuralODE(lux.Chain(lux.Dense(2, 3, jnp.tanh), lux.Dense(3, 2))))
    assert ps.vector.shape == (17,)  # a shape that nothing else has

    def loss(ps):
        return jnp.sum(node(jnp.ones(2), ps, st)[0])

    program = jax.make_jaxpr(jax.grad(loss) if differentiate else loss)(ps).jaxpr
    touched = {False: 0, True: 0}
    for equation, in_loop in equations(program):
        touched[in_loop] += any(getattr(v.aval, "shape", None) == (17,) for v in [*equation.invars, *equation.outvars])
    assert touched[False] > 0
    assert touched[True] == 0


class Logistic(lux.AbstractContainer):
    """Mechanistic: `r N (1 - N / K)`."""

    rates: lux.AbstractLayer

    def __call__(self, population, ps, st):
        rates = ps.rates
        return rates.growth * population * (1.0 - population / rates.capacity), st


def test_a_mechanistic_model_is_a_model():
    rates = lux.ParameterDict(growth=lux.positive(0.8, unit="1/year"), capacity=lux.positive(3.0))
    node, ps, st = made(lux.NeuralODE(Logistic(rates), t1=2.0, **TIGHT))
    np.testing.assert_allclose(ps["model.rates.growth"], 0.8)

    def exact(logarithms):
        growth, capacity = np.exp(logarithms)
        return capacity / (1.0 + (capacity - 1.0) * np.exp(-2.0 * growth))

    value, gradient = jax.jit(jax.value_and_grad(lambda ps: node(1.0, ps, st)[0]))(ps)
    logarithms = np.log([0.8, 3.0])
    np.testing.assert_allclose(value, exact(logarithms), rtol=1e-8)
    expected = [directional_difference(exact, logarithms, unit) for unit in np.eye(2)]
    np.testing.assert_allclose(gradient.vector, expected, rtol=1e-7)


def test_float32_stays_float32_where_float64_is_the_default():
    node = lux.NeuralODE(Function(decay), t1=1.0, dt0=0.1)
    ps, st = setup(node, dtype=jnp.float32)
    y0 = jnp.ones((), jnp.float32)
    solution, _ = node.solve(y0, ps, st, ts=[0.0, 0.3, 1.0])
    chosen, _ = node.solve(y0, ps, st, saveat=diffrax.SaveAt(ts=np.array([0.3, 1.0])))
    for leaf in (solution.ys, solution.ts, chosen.ys):
        assert leaf.dtype == jnp.float32
    np.testing.assert_allclose(solution.ys, np.exp([0.0, -0.3, -1.0]), rtol=1e-4)


def test_equal_nodes_share_a_compilation_with_jit_and_without():
    counted = Counted(decay)
    for call in (lambda node, *rest: node(*rest), jax.jit(lambda node, *rest: node(*rest))):
        traces = []
        for _ in range(3):
            node, ps, st = made(lux.NeuralODE(Function(counted), t1=0.7))
            call(node, jnp.ones(2), ps, st)
            traces.append(counted.traces)
        assert traces[0] == traces[1] == traces[2]


# State


class Noisy(lux.AbstractLayer):
    """`noise - y`, with noise from the key in the state."""

    def initial_states(self, key):
        return {"key": key, "calls": jnp.zeros((), jnp.int32)}

    def __call__(self, y, ps, st):
        now, later = jax.random.split(st.key)
        return jax.random.normal(now) - y, st.set("key", later).set("calls", st.calls + 1)


def test_the_state_is_constant_during_a_solve_and_advanced_once_per_call():
    node, ps, st = made(lux.NeuralODE(Noisy(), t1=1.0, **TIGHT))
    call = jax.jit(node)
    for number in range(2):
        now, later = jax.random.split(st.model.key)
        noise = jax.random.normal(now)
        y1, st = call(jnp.asarray(2.0), ps, st)
        np.testing.assert_allclose(y1, noise + (2.0 - noise) * np.exp(-1.0), rtol=1e-8)
        assert jnp.all(jax.random.key_data(st.model.key) == jax.random.key_data(later))
        assert st.model.calls == number + 1
    assert type(st) is lux.State


def test_the_state_says_how_the_last_solve_went():
    node, ps, st = made(lux.NeuralODE(Linear(), t1=1.5))
    assert st.solution.num_steps == 0
    solution, st = node.solve(Y0, ps, st, ts=[0.5, 1.5])
    assert st.solution.num_steps == solution.stats["num_steps"] > 1
    assert st.solution.result == solution.result == diffrax.RESULTS.successful
