"""SteadyStateODE: equilibria, their derivatives against dense linear algebra, and fields that have none."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import message_of, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.solvers import RESULTS


class Relaxing(lux.AbstractLayer):
    """`tanh(W y + b) - y`, plus an input."""

    def initial_parameters(self, key):
        return {"weight": 0.5 * jax.random.normal(key, (3, 3)), "bias": jnp.arange(3.0)}

    def __call__(self, x, ps, st):
        y, u = x if isinstance(x, tuple) else (x, jnp.zeros(3))
        return jnp.tanh(ps.weight @ y + ps.bias) - y + u, st


NODE = lux.SteadyStateODE(Relaxing())
PS, ST = setup(NODE)
WEIGHTS = jnp.asarray([1.0, -2.0, 3.0])


def field(y, vector):
    params = PS.replace(vector).model
    return jnp.tanh(params.weight @ y + params.bias) - y


@pytest.mark.parametrize("reverse", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_value_and_derivative_are_those_of_the_implicit_function_theorem(reverse):
    value = lambda vector, y0: WEIGHTS @ NODE(y0, PS.replace(vector), ST)[0]  # noqa: E731
    y, st = NODE(jnp.zeros(3), PS, ST)
    np.testing.assert_allclose(field(y, PS.vector), np.zeros(3), atol=1e-9)
    assert st.solution.result == RESULTS.successful
    in_y, in_vector = jax.jacfwd(field, argnums=(0, 1))(y, PS.vector)
    expected = -np.linalg.solve(in_y.T, WEIGHTS) @ in_vector
    found = jax.jit((jax.grad if reverse else jax.jacfwd)(value, argnums=(0, 1)))(PS.vector, jnp.zeros(3))
    np.testing.assert_allclose(found[0], expected, rtol=1e-7)
    np.testing.assert_array_equal(found[1], np.zeros(3))


def test_mapped_over_controls_is_looped_with_derivatives():
    controls = jnp.asarray([[0.0, 0.0, 0.0], [0.5, -1.0, 0.2]])

    def value(u):
        return WEIGHTS @ NODE(jnp.zeros(3), PS, ST, inputs=jax.tree_util.Partial(lambda u, t: u, u))[0]

    both = jax.jit(jax.value_and_grad(value))
    mapped = jax.jit(jax.vmap(jax.value_and_grad(value)))(controls)
    for row, control in enumerate(controls):
        for got, expected in zip(mapped, both(control), strict=True):
            np.testing.assert_allclose(got[row], expected, rtol=1e-9)


def rotation(y):
    return jnp.stack([y[1], -y[0]])


def test_a_field_that_does_not_come_to_rest_is_reported():
    silent = lux.SteadyStateODE(lux.WrappedFunction(rotation), t1=20.0, throw=False)
    ps, st = setup(silent)
    y, st = silent(jnp.ones(2), ps, st)
    assert st.solution.result == RESULTS.no_steady_state
    np.testing.assert_array_equal(y, [np.nan, np.nan])
    loud = lux.SteadyStateODE(lux.WrappedFunction(rotation), t1=20.0)
    with pytest.raises(RuntimeError) as caught:
        jax.block_until_ready(loud(jnp.ones(2), ps, st))
    for part in ("No steady state was reached: check that the field has a stable equilibrium, raise t1", "t=20"):
        assert part in message_of(caught.value)


def test_an_equilibrium_that_the_parameters_do_not_determine_has_a_value_and_no_gradient():
    # Two species that turn into each other: their sum is conserved.
    class Exchange(lux.AbstractLayer):
        def initial_parameters(self, key):
            return {"rate": 2.0}

        def __call__(self, y, ps, st):
            flow = ps.rate * y[0] - y[1]
            return jnp.stack([-flow, flow]), st

    node = lux.SteadyStateODE(Exchange(), rtol=1e-10, atol=1e-10)
    ps, st = setup(node)
    y, gradient = jax.value_and_grad(lambda ps: node(jnp.ones(2), ps, st)[0][0])(ps)
    np.testing.assert_allclose(y, 2.0 / 3.0, rtol=1e-8)
    assert np.isnan(gradient.vector).all()


def test_a_second_derivative_is_refused():
    value = lambda vector: WEIGHTS @ NODE(jnp.zeros(3), PS.replace(vector), ST)[0]  # noqa: E731
    with pytest.raises(RuntimeError, match="differentiated once, not twice"):
        jax.jacfwd(jax.jacfwd(value))(PS.vector)


@pytest.mark.usefixtures("unchecked")
def test_settings_that_cannot_be_are_refused():
    event = diffrax.Event(lambda t, y, args, **_: y)
    for settings, part in (
        ({"time": True}, "leave out time=True"),
        ({"event": event}, "use a NeuralODE with event="),
        ({"adjoint": diffrax.DirectAdjoint()}, "leave out adjoint=DirectAdjoint()"),
    ):
        refused(lambda: lux.SteadyStateODE(Relaxing(), **settings), LayerError, "SteadyStateODE", part)  # noqa: B023
    refused(lambda: NODE.solve(jnp.zeros(3), PS, ST, ts=[1.0]), LayerError, "returns the equilibrium alone")


@pytest.mark.parametrize(
    "rate", [pytest.param(5.0, marks=pytest.mark.slow), 30.0, pytest.param(1000.0, marks=pytest.mark.slow)]
)
def test_fast_equations_come_to_rest_too(rate):
    """Explicit steps stay about the equilibrium of a fast equation, further than the field may be from 0."""
    node = lux.SteadyStateODE(lux.WrappedFunction(lambda y: -rate * (y - 2.0)))
    y, st = node(jnp.ones(1), *setup(node))
    np.testing.assert_allclose(y, 2.0, rtol=1e-12)
    assert st.solution.result == RESULTS.successful


def test_an_orbit_does_not_come_to_rest():
    node = lux.SteadyStateODE(lux.WrappedFunction(lambda y: jnp.stack([y[1], -y[0]])), t1=20.0, throw=False)
    y, st = node(jnp.array([1.0, 0.0]), *setup(node))
    assert st.solution.result == RESULTS.no_steady_state
    assert np.isnan(y).all()


# Beside others


def slowly(y):
    return 1e-4 * (1 - y**3)


SLOW = lux.SteadyStateODE(lux.WrappedFunction(slowly), t1=1e6)
SLOW_PS, SLOW_ST = setup(SLOW)


@pytest.mark.parametrize(
    "others",
    [0, pytest.param(1, marks=pytest.mark.slow), 100, pytest.param(1000, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("width", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_one_is_not_at_rest_because_others_are(others, width):
    y0 = jnp.concatenate([jnp.zeros(1), jnp.ones(others)]).reshape(-1, *[1] * width)
    y, st = SLOW(y0, SLOW_PS, SLOW_ST)
    np.testing.assert_allclose(y, jnp.ones_like(y0), rtol=1e-9)
    assert st.solution.result == RESULTS.successful


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-12, 1e-4, 1.0, 1e6])
def test_the_unit_of_time_makes_no_difference(unit):
    node = lux.SteadyStateODE(lux.WrappedFunction(lambda y: unit * (1 - y**3)), t1=100.0 / unit)
    y, _ = node(jnp.array([0.0, 0.5, 1.0]), *setup(node))
    np.testing.assert_allclose(y, np.ones(3), rtol=1e-9)


@pytest.mark.slow
def test_what_does_not_come_to_rest_in_time_is_reported_though_it_is_slow():
    for field in (lambda y: 1e-9 + 0 * y, lambda y: -(y**3)):
        node = lux.SteadyStateODE(lux.WrappedFunction(field), t1=1e4, throw=False)
        _, st = node(jnp.array([0.3]), *setup(node))
        assert st.solution.result == RESULTS.no_steady_state


class Coupled(lux.AbstractLayer):
    """Each sample on its own, and with `coupling` drawn to the mean of all."""

    coupling: float

    def initial_parameters(self, key):
        return {"weight": 0.5 * jax.random.normal(key, (3, 3)), "bias": jnp.arange(3.0)}

    def __call__(self, y, ps, st):
        middle = jnp.mean(y, axis=0, keepdims=True) if self.coupling else 0.0
        return jnp.tanh(y @ ps.weight + ps.bias[None]) - y + self.coupling * jnp.sin(middle), st


def gradient_of_rows(node, number, reverse=True):
    ps, st = setup(node)
    y0 = jnp.zeros((number, 3))
    weights = jnp.sin(jnp.arange(3.0 * number)).reshape(number, 3)
    function = lambda ps: jnp.sum(weights * node(y0, ps, st)[0])  # noqa: E731
    return weights, jax.jit(jax.grad(function) if reverse else jax.jacfwd(function))(ps).vector


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("number", [30, 400])
def test_samples_have_the_gradients_that_they_have_alone(number, reverse):
    weights, found = gradient_of_rows(lux.SteadyStateODE(Coupled(0.0)), number, reverse)
    alone = lux.SteadyStateODE(Coupled(0.0))
    ps, st = setup(alone)
    jacobian = jax.jacrev(lambda ps: alone(jnp.zeros((1, 3)), ps, st)[0][0])(ps).vector
    np.testing.assert_allclose(found, weights.sum(axis=0) @ jacobian, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [True, False])
def test_samples_that_depend_on_each_other_have_the_gradient_of_all(reverse):
    number = 40
    node = lux.SteadyStateODE(Coupled(0.3), rtol=1e-9, atol=1e-9)
    ps, st = setup(node)
    weights, found = gradient_of_rows(node, number, reverse)
    y, _ = node(jnp.zeros((number, 3)), ps, st)
    rate = lambda y, ps: node.model(y.reshape(number, 3), ps.params.model, st.model)[0].ravel()  # noqa: E731
    in_y, in_ps = jax.jacfwd(rate, argnums=(0, 1))(y.ravel(), ps)
    np.testing.assert_allclose(found, -np.linalg.solve(in_y.T, weights.ravel()) @ in_ps.vector, rtol=1e-8)


@pytest.mark.slow
def test_one_sample_without_a_gradient_leaves_those_of_others():
    class Melting(lux.AbstractLayer):
        def initial_parameters(self, key):
            return {"rate": 2.0}

        def __call__(self, y, ps, st):
            # The first sample may rest anywhere.
            first = (jnp.arange(100) == 0)[:, None]
            return jnp.where(first, 0.0, ps.rate - y), st

    node = lux.SteadyStateODE(Melting())
    ps, st = setup(node)
    rows = jax.jit(jax.jacrev(lambda ps: node(jnp.ones((100, 1)), ps, st)[0][jnp.array([0, 5]), 0]))(ps).vector
    np.testing.assert_allclose(rows[:, 0], [0.0, 1.0])


def test_no_matrix_of_the_size_of_the_batch_is_formed():
    node = lux.SteadyStateODE(Coupled(0.0))
    ps, st = setup(node)
    program = str(jax.make_jaxpr(jax.grad(lambda ps, y0: jnp.sum(node(y0, ps, st)[0])))(ps, jnp.zeros((2000, 3))))
    assert "6000,6000" not in program
    assert "2000,3,3" in program
