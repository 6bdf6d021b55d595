"""Mechanics of a learned scalar, against closed forms and the laws that it has to keep; Lyapunov functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from members import array

import sciml_lux as lux

LayerError, ShapeError = lux.LayerError, lux.ShapeError


def close(got, expected, rtol=1e-12, atol=1e-12):
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


def scalar(*, features=4, hidden=(8,)):
    return lux.MLP(features, hidden, 1, jax.nn.softplus, init_weight=lux.init.normal(std=1.0))


class Counted(lux.AbstractContainer):
    """A layer that counts its calls and adds to its result what a key draws."""

    layer: lux.AbstractLayer

    def initial_states(self, key):
        return {**super().initial_states(key), "calls": jnp.zeros((), int), "key": key}

    def __call__(self, x, ps, st):
        y, state = self.layer(x, ps.layer, st.layer)
        now, later = jax.random.split(st.key)
        noise = jax.random.normal(now, y.shape, y.dtype)
        return y + noise * y**2, {"layer": state, "calls": st.calls + 1, "key": later}


# Hamilton


def oscillator(x):
    q, p = jnp.split(x, 2, axis=-1)
    return jnp.sum(p**2 / (2 * 0.5) + 3.0 * q**2 / 2, axis=-1)


@pytest.mark.parametrize("leading", [(), (1,), (0,), (2, 3)])
@pytest.mark.parametrize("last", [(), (1,)])
def test_a_harmonic_oscillator(leading, last):
    layer = lux.HamiltonianNN(lux.WrappedFunction(lambda x: oscillator(x).reshape(*leading, *last)))
    x = array(*leading, 6)
    got, _ = layer(x, *setup(layer))
    close(got, np.concatenate([x[..., 3:] / 0.5, -3.0 * x[..., :3]], axis=-1))


def test_a_learned_energy_is_kept_and_so_are_volumes():
    layer = lux.HamiltonianNN(scalar())
    ps, st = setup(layer)
    for x in array(5, 4):
        rate, _ = layer(x, ps, st)
        slope = jax.grad(lambda x: layer.layer(x, ps.layer, st.layer)[0][0])(x)
        assert abs(float(slope @ rate)) < 1e-12 * float(jnp.linalg.norm(slope) * jnp.linalg.norm(rate))
        divergence = jnp.trace(jax.jacfwd(lambda x: layer(x, ps, st)[0])(x))
        assert abs(float(divergence)) < 1e-12


def test_along_a_solved_motion_the_energy_stays():
    node = lux.NeuralODE(lux.HamiltonianNN(scalar(features=2)), t1=2.0, rtol=1e-11, atol=1e-11)
    ps, st = setup(node)
    y0 = array(2)
    y1, _ = node(y0, ps, st)
    [field] = ps.params.values()  # what the solver wraps
    energy = lambda y: scalar(features=2)(y, field.layer, setup(scalar(features=2))[1])[0]  # noqa: E731
    assert float(jnp.linalg.norm(y1 - y0)) > 0.1
    close(energy(y1), energy(y0), rtol=1e-8)


@pytest.mark.parametrize("kind", [lux.HamiltonianNN, lux.LagrangianNN, lux.PositiveDefinite])
def test_the_state_of_the_layer_comes_back_advanced_once(kind):
    layer = kind(Counted(scalar()))
    ps, st = setup(layer)
    y, after = layer(array(3, 4), ps, st)
    assert after.layer.calls == 1
    assert after.layer.key == jax.random.split(st.layer.key)[1]
    again, later = layer(array(3, 4), ps, after)
    assert later.layer.calls == 2
    assert np.max(np.abs(y - again)) > 1e-6


# Lagrange

gravity, length, mass = 9.81, 0.7, 1.3


def pendulum(x):
    return mass * length**2 * x[..., 1] ** 2 / 2 + mass * gravity * length * jnp.cos(x[..., 0])


def double_pendulum(x):
    """Of two rods of length 1 and two masses of 1, with angles from the vertical."""
    a, b, v, w = (x[..., i] for i in range(4))
    return v**2 + w**2 / 2 + v * w * jnp.cos(a - b) + gravity * (2 * jnp.cos(a) + jnp.cos(b))


def double_pendulum_accelerations(x):
    a, b, v, w = np.moveaxis(np.asarray(x), -1, 0)
    s, c = np.sin(a - b), np.cos(a - b)
    right = np.stack([-(w**2) * s - 2 * gravity * np.sin(a), v**2 * s - gravity * np.sin(b)], axis=-1)
    determinant = 2 - c**2
    first = (right[..., 0] - c * right[..., 1]) / determinant
    second = (2 * right[..., 1] - c * right[..., 0]) / determinant
    return np.stack([first, second], axis=-1)


@pytest.mark.parametrize("leading", [(), pytest.param((1,), marks=pytest.mark.slow), (0,), (2, 3)])
def test_pendulums(leading):
    layer = lux.LagrangianNN(lux.WrappedFunction(pendulum))
    x = array(*leading, 2)
    close(layer(x, *setup(layer))[0], np.stack([x[..., 1], -gravity / length * np.sin(x[..., 0])], axis=-1))
    layer = lux.LagrangianNN(lux.WrappedFunction(lambda x: double_pendulum(x)[..., None]))
    x = array(*leading, 4)
    close(layer(x, *setup(layer))[0], np.concatenate([x[..., 2:], double_pendulum_accelerations(x)], axis=-1))


def test_coordinates_can_be_any():
    # A free particle in polar coordinates: r'' = r phi'^2, phi'' = -2 r' phi' / r.
    layer = lux.LagrangianNN(lux.WrappedFunction(lambda x: (x[..., 2] ** 2 + (x[..., 0] * x[..., 3]) ** 2) / 2))
    r, dr, dphi = 1.5, -0.2, 0.7
    close(layer(jnp.asarray([r, 0.3, dr, dphi]), *setup(layer))[0], [dr, dphi, r * dphi**2, -2 * dr * dphi / r])


def test_a_learned_lagrangian_keeps_its_energy():
    layer = lux.LagrangianNN(scalar())
    ps, st = setup(layer)

    def energy(x):
        value = lambda v: layer.layer(jnp.concatenate([x[:2], v]), ps.layer, st.layer)[0][0]  # noqa: E731
        return x[2:] @ jax.grad(value)(x[2:]) - value(x[2:])

    for x in array(4, 4):
        slope, (rate, _) = jax.grad(energy)(x), layer(x, ps, st)
        assert abs(float(slope @ rate)) < 1e-10 * float(jnp.linalg.norm(slope) * jnp.linalg.norm(rate))


def test_regularization_is_a_mass():
    layer = lux.LagrangianNN(lux.WrappedFunction(pendulum), regularization=0.25)
    inertia = mass * length**2
    expected = -mass * gravity * length * np.sin(0.4) / (inertia + 0.25)
    close(layer(jnp.asarray([0.4, 1.0]), *setup(layer))[0], [1.0, expected])


singular = {
    "no mass": lambda x: x[..., 0] + 3 * x[..., 2],
    "one mass for two": lambda x: (x[..., 2] + x[..., 3]) ** 2 - x[..., 0] ** 2,
    "nearly so": lambda x: (x[..., 2] + x[..., 3]) ** 2 + 1e-17 * x[..., 2] ** 2 - x[..., 0] ** 2,
}


@pytest.mark.parametrize("lagrangian", singular.values(), ids=singular)
def test_without_masses_there_is_no_motion_and_it_shows(lagrangian):
    layer = lux.LagrangianNN(lux.WrappedFunction(lagrangian))
    y, _ = layer(array(4), *setup(layer))
    np.testing.assert_array_equal(y[:2], array(4)[2:])
    assert np.all(np.isnan(y[2:]))
    held = lux.LagrangianNN(lux.WrappedFunction(lagrangian), regularization=1.0)
    assert np.all(np.isfinite(held(array(4), *setup(held))[0]))


def test_a_relu_network_has_no_masses():
    layer = lux.LagrangianNN(lux.MLP(2, (8,), 1, jax.nn.relu))
    ps, st = setup(layer)
    assert np.isnan(layer(array(2), ps, st)[0][1])
    gradient = jax.grad(lambda ps: jnp.sum(layer(array(2), ps, st)[0]))(ps)
    assert np.any(np.isnan(gradient.vector))


def test_a_bad_sample_does_not_spoil_the_others():
    layer = lux.LagrangianNN(lux.WrappedFunction(lambda x: x[..., 0] * x[..., 1] ** 2 / 2))  # the mass is the position
    y, _ = layer(jnp.asarray([[2.0, 1.0], [0.0, 1.0]]), *setup(layer))
    close(y[0], [1.0, -0.25])
    assert np.isnan(y[1, 1])


def test_units_do_not_matter():
    # Masses of 1e-150 and a few times that are as good as any.
    layer = lux.LagrangianNN(lux.WrappedFunction(lambda x: 1e-150 * pendulum(x)))
    close(layer(jnp.asarray([0.3, 1.0]), *setup(layer))[0], [1.0, -gravity / length * np.sin(0.3)])


# Lyapunov


@pytest.mark.parametrize("equilibrium", [None, (0.3, -1.0, 2.0)])
def test_a_lyapunov_function_is_0_in_one_place_and_positive_elsewhere(equilibrium):
    network = lux.MLP(3, (5,), 4)
    layer = lux.PositiveDefinite(network, equilibrium=equilibrium, alpha=0.2)
    ps, st = setup(layer)
    start = np.zeros(3) if equilibrium is None else np.array(equilibrium)
    f = lambda x: np.asarray(network(jnp.asarray(x), ps.layer, st.layer)[0])  # noqa: E731
    x = np.asarray(array(2, 4, 3))
    y, _ = layer(jnp.asarray(x), ps, st)
    distance = np.sum((x - start) ** 2, axis=-1, keepdims=True)
    close(y, np.sum((f(x) - f(start)) ** 2, axis=-1, keepdims=True) + 0.2 * distance)
    assert np.all(np.asarray(y) >= 0.2 * distance)
    value, slope = jax.value_and_grad(lambda x: layer(x, ps, st)[0][0])(jnp.asarray(start))
    assert float(value) == 0
    np.testing.assert_array_equal(slope, np.zeros(3))
    curvature = np.linalg.eigvalsh(jax.hessian(lambda x: layer(x, ps, st)[0][0])(jnp.asarray(start)))
    assert curvature[0] >= 0.4 - 1e-12


def test_a_lyapunov_function_is_an_energy_too():
    layer = lux.HamiltonianNN(lux.PositiveDefinite(lux.Dense(4, 3, jnp.tanh)))
    ps, st = setup(layer)
    close(layer(jnp.zeros(4), ps, st)[0], np.zeros(4))  # at rest at the minimum
    assert layer(array(2, 4), ps, st)[0].shape == (2, 4)


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lux.HamiltonianNN(jnp.sin), "HamiltonianNN: layer is a layer that returns an energy, got"),
        (lambda: lux.LagrangianNN(3), "LagrangianNN: layer is a layer that returns a Lagrangian, got 3"),
        (lambda: lux.LagrangianNN(lux.NoOp(), -1.0), "regularization is a number, 0 or more, got -1.0"),
        (lambda: lux.LagrangianNN(lux.NoOp(), "1"), "regularization is a number, 0 or more, got '1'"),
        (lambda: lux.PositiveDefinite(None), "PositiveDefinite: layer is a layer, got None"),
        (
            lambda: lux.PositiveDefinite(lux.NoOp(), [0.0]),
            "equilibrium is a tuple of numbers such as (0.0, 1.0), or None",
        ),
        (lambda: lux.PositiveDefinite(lux.NoOp(), (float("nan"),)), "equilibrium is a tuple of numbers"),
        (lambda: lux.PositiveDefinite(lux.NoOp(), alpha=0.0), "alpha is a positive number, got 0.0"),
        (lambda: lux.PositiveDefinite(lux.NoOp(), alpha=True), "alpha is a positive number, got True"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused(make, message):
    refused(make, LayerError, message)


@pytest.mark.parametrize("kind", [lux.HamiltonianNN, lux.LagrangianNN])
def test_inputs_and_scalars_of_other_shapes_are_refused(kind):
    def call(layer, x):
        return lambda: layer(x, *setup(layer))

    refused(call(kind(lux.Dense(3, 1)), array(2, 3)), ShapeError, "an even number of features", "(2, 3)")
    refused(call(kind(lux.Dense(4, 2)), array(5, 4)), ShapeError, "one number for each sample, of shape (5, 1) or (5,)")
    refused(
        call(kind(lux.Dense(4, 2)), array(5, 4)), ShapeError, f"{kind.__name__}", "got (5, 2)", "in layer (the top)"
    )
    refused(call(kind(lux.WrappedFunction(lambda x: (x, x))), array(4)), ShapeError, "got no array")
    refused(call(kind(lux.Chain(lux.Dense(3, 1))), array(2, 4)), ShapeError, "in layer layer.layer_0: Dense(3, 1)")


def test_an_equilibrium_of_another_size_is_refused():
    layer = lux.PositiveDefinite(lux.Dense(3, 1), equilibrium=(0.0, 0.0))
    refused(lambda: layer(array(3), *setup(layer)), ShapeError, "PositiveDefinite expects 2 features", "(3,)")
