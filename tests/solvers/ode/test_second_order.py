"""SecondOrderODE and HamiltonianODE: against closed forms and each other; what they refuse."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError

TIGHT = {"rtol": 1e-10, "atol": 1e-10}


class Function(lux.AbstractLayer):
    """Any function of the input and one parameter."""

    function: object

    def initial_parameters(self, key):
        return {"k": 4.0}

    def __call__(self, x, ps, st):
        return self.function(x, ps.k), st


def damped(xv, k):
    return -k * xv[0] - 0.6 * xv[1]


def made(node):
    return node, *setup(node)


def damped_oscillation(t, x0, v0, k):
    """The solution of `x'' = -k x - 0.6 x'`, and its velocity."""
    rate, frequency = 0.3, np.sqrt(k - 0.09)
    a, b = x0, (v0 + rate * x0) / frequency
    c, s = np.exp(-rate * t) * np.cos(frequency * t), np.exp(-rate * t) * np.sin(frequency * t)
    return a * c + b * s, -rate * (a * c + b * s) + frequency * (b * c - a * s)


def test_a_damped_oscillator_and_its_gradient():
    node, ps, st = made(lux.SecondOrderODE(Function(damped), t1=2.0, **TIGHT))
    (x, v), st = node((1.0, -0.5), ps, st)
    np.testing.assert_allclose((x, v), damped_oscillation(2.0, 1.0, -0.5, 4.0), rtol=1e-8)
    gradient = jax.jit(jax.grad(lambda ps: node((1.0, -0.5), ps, st)[0][0]))(ps)
    expected = np.imag(_complex_position(4.0 + 1e-20j)) / 1e-20
    np.testing.assert_allclose(gradient.vector, expected, rtol=1e-8)


def _complex_position(k):
    frequency = np.sqrt(k - 0.09)
    return np.exp(-0.6) * (np.cos(2 * frequency) + (-0.5 + 0.3) / frequency * np.sin(2 * frequency))


@pytest.mark.parametrize("velocity", [True, False])
def test_with_time_and_inputs(velocity):
    # x'' = t + u(t) with u = 3 t: x = x0 + v0 t + 4 t^3 / 6.
    def field(txu, k):
        t, state, u = txu
        assert isinstance(state, tuple) == velocity
        return t + u

    node, ps, st = made(lux.SecondOrderODE(Function(field), time=True, velocity=velocity, t1=2.0, **TIGHT))
    (x, v), _ = node((1.0, -0.5), ps, st, inputs=lambda t: 3.0 * t)
    np.testing.assert_allclose((x, v), (4.0 * 8.0 / 6.0, -0.5 + 8.0), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (diffrax.SemiImplicitEuler(), 1),
        (lux.solvers.StormerVerlet(), 2),
        (lux.solvers.Yoshida4(), 4),
        (diffrax.Heun(), 2),
    ],
)
def test_fixed_steps_converge_with_the_order_of_the_method(solver, order):
    errors = []
    for dt0 in (0.05, 0.025):
        node, ps, st = made(
            lux.SecondOrderODE(
                Function(lambda x, k: -k * x),
                velocity=False,
                solver=solver,
                dt0=dt0,
                t1=2.0,
                stepsize_controller=diffrax.ConstantStepSize(),
            )
        )
        (x, v), _ = node((1.0, 0.0), ps, st)
        errors.append(np.hypot(x - np.cos(4.0), v + 2.0 * np.sin(4.0)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


# Hamilton's equations


def oscillator(qp, k):
    q, p = qp
    return 0.5 * jnp.sum(k * q**2) + 0.5 * jnp.sum(p**2)


def test_the_harmonic_oscillator_by_its_energy():
    node, ps, st = made(lux.HamiltonianODE(Function(oscillator), **TIGHT))
    y0 = (jnp.asarray([1.0, 0.2]), jnp.asarray([0.0, -0.4]))
    (q, p), _ = node(y0, ps, st)
    c, s = np.cos(2.0), np.sin(2.0)
    np.testing.assert_allclose(q, c * y0[0] + s / 2 * y0[1], rtol=1e-8)
    np.testing.assert_allclose(p, c * y0[1] - 2 * s * y0[0], rtol=1e-8)
    np.testing.assert_allclose(node.energy((q, p), ps, st), oscillator(y0, 4.0), rtol=1e-8)


def test_two_parts_are_the_whole():
    whole, ps, st = made(lux.HamiltonianODE(Function(oscillator), **TIGHT))
    half = Function(lambda q, k: 0.5 * jnp.sum(k * q**2))
    y0 = (jnp.asarray([1.0, 0.2]), jnp.asarray([0.0, -0.4]))
    expected, _ = whole(y0, ps, st)
    for settings in (TIGHT, {"solver": lux.solvers.Yoshida4(), "dt0": 0.005}):
        parts, ps, st = made(lux.HamiltonianODE(half, kinetic=half, **settings))
        ps = ps.set("kinetic.k", 1.0)
        for got, other in zip(parts(y0, ps, st)[0], expected, strict=True):
            np.testing.assert_allclose(got, other, rtol=1e-8)


@pytest.mark.slow
def test_a_network_keeps_its_energy_and_samples_do_not_mix():
    model = lux.Chain(lux.WrappedFunction(join), lux.MLP(2, (8,), 1, jnp.tanh))
    node, ps, st = made(lux.HamiltonianODE(model, t1=5.0, **TIGHT))
    y0 = (jnp.asarray([[1.0], [0.2], [-0.7]]), jnp.asarray([[0.0], [-0.4], [2.0]]))
    batch, _ = node(y0, ps, st)
    one = jax.jit(lambda q, p: node((q, p), ps, st)[0])
    for i in range(3):
        for got, expected in zip(batch, one(y0[0][i], y0[1][i]), strict=True):
            np.testing.assert_allclose(got[i], expected, rtol=1e-7)
    energy = jax.vmap(lambda q, p: node.energy((q, p), ps, st))
    np.testing.assert_allclose(energy(*batch), energy(*y0), rtol=1e-8)
    assert np.abs(batch[0] - y0[0]).max() > 0.05


def join(qp):
    return jnp.concatenate(qp, axis=-1)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused():
    node, ps, st = made(lux.SecondOrderODE(Function(damped)))
    for start in (1.0, (1.0,), (1.0, jnp.ones(2)), [1.0, 2.0]):
        refused(lambda: node(start, ps, st), ShapeError, "a tuple (x, v)")  # noqa: B023
    node, ps, st = made(lux.SecondOrderODE(Function(lambda xv, k: jnp.ones(3))))
    refused(lambda: node((1.0, 2.0), ps, st), ShapeError, "float64[3]", "float64[]")
    node, ps, st = made(lux.HamiltonianODE(Function(lambda qp, k: k * qp[0])))
    refused(
        lambda: node((jnp.ones(2), jnp.ones(2)), ps, st),
        ShapeError,
        "model returned an array of shape (2,)",
        "one number",
    )
    refused(lambda: node(jnp.ones(2), ps, st), ShapeError, "(q, p), positions and momenta")
    refused(lambda: lux.HamiltonianODE(jnp.sin), LayerError, "model is a layer")
    refused(lambda: lux.SecondOrderODE(Function(damped), velocity=1), LayerError, "velocity")
