"""A loop of our own stands for one exact method: a subclass with a method of its own is stepped by diffrax, or refused."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.solvers import ReversibleAdjoint
from sciml_lux.solvers.differential._tolerances import _WeightedPIDController
from sciml_lux.solvers.differential._underflow import StoppingPIDController
from sciml_lux.solvers.runge_kutta import why_not_by_tableau
from sciml_lux.solvers.runge_kutta._plain import why_not_followed

TABLEAUS = [
    diffrax.Heun, diffrax.Midpoint, diffrax.Ralston, diffrax.Bosh3, diffrax.Tsit5, diffrax.Dopri5, diffrax.Dopri8
]  # fmt: skip
CONTROLLERS = [
    diffrax.PIDController(rtol=1e-5, atol=1e-6),
    StoppingPIDController(rtol=1e-5, atol=1e-6),
    _WeightedPIDController(rtol=1e-5, atol=1e-6, weights=(1.0, 0.5)),
    diffrax.ConstantStepSize(),
    diffrax.ClipStepSizeController(diffrax.PIDController(rtol=1e-5, atol=1e-6)),
]
START = jnp.array([1.0, 0.0])


def overriding(base, method):
    """A class that differs from its base in one method, which does the same: nobody can know that."""
    return type(base)("Own", (base,), {method: lambda self, *args: getattr(super(type(self), self), method)(*args)})


class Projected(diffrax.Tsit5):
    """Onto the unit circle, after each step."""

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        y1, error, dense, state, result = super().step(terms, t0, t1, y0, args, solver_state, made_jump)
        y1 = y1 / jnp.linalg.norm(y1)
        return y1, error, {**dense, "y1": y1}, state, result


@pytest.mark.parametrize("base", TABLEAUS)
def test_a_method_with_a_step_of_its_own_is_not_its_tableau(base):
    assert why_not_by_tableau(base()) is None
    assert why_not_by_tableau(type(base)("Renamed", (base,), {})()) is None
    for method in ("step", "init"):
        assert f"Own has its own {method}" in why_not_by_tableau(overriding(base, method)())

    class Line(diffrax.LocalLinearInterpolation):
        pass

    own = type(base)("Own", (base,), {"interpolation_cls": Line})
    assert "own interpolation" in why_not_by_tableau(own())


def test_every_explicit_method_of_diffrax_is_known():
    def below(cls):
        return {cls, *(found for sub in cls.__subclasses__() for found in below(sub))}

    assert {cls for cls in below(diffrax.AbstractERK) if cls.__module__.startswith("diffrax._solver.")} == {
        diffrax.AbstractERK,
        *TABLEAUS,
    }


@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda controller: type(controller).__name__)
def test_a_controller_with_a_method_of_its_own_is_not_followed(controller):
    assert why_not_followed(controller, START) is None
    for method in ("wrap", "init", "adapt_step_size"):
        own = object.__new__(overriding(type(controller), method))
        for name, value in vars(controller).items():
            object.__setattr__(own, name, value)
        assert f"Own has its own {method}" in why_not_followed(own, START)


def test_a_norm_that_may_know_the_shape_of_the_state_is_not_given_a_vector():
    own = diffrax.PIDController(rtol=1e-5, atol=1e-6, norm=lambda y: jnp.max(jnp.abs(y)))
    assert why_not_followed(own, START) is None
    assert "meant for the shapes" in why_not_followed(own, START[None])
    largest = diffrax.PIDController(rtol=1e-5, atol=1e-6, norm=optimistix.max_norm)
    assert why_not_followed(largest, {"a": START[None], "b": START}) is None


@pytest.fixture(scope="module")
def leaving():
    """A field that leaves the unit circle, on which `Projected` stays."""
    return lux.WrappedFunction(lambda y: jnp.stack([y[1], -y[0]]) + 0.3 * y)


def test_a_step_onto_a_manifold_is_taken(leaving):
    settings = {"solver": Projected(), "dt0": 0.25, "stepsize_controller": diffrax.ConstantStepSize(), "max_steps": 8}
    node = lux.NeuralODE(leaving, **settings)
    ps, st = setup(node)
    y = jax.jit(lambda y0: node(y0, ps, st)[0])(START)
    np.testing.assert_allclose(jnp.linalg.norm(y), 1.0, rtol=1e-14)
    assert "Projected has its own step" in str(node.choose_adjoint(START, ps, st))


def test_what_reverses_or_estimates_a_tableau_refuses_another_step(leaving):
    refused(lambda: lux.NeuralODE(leaving, solver=Projected(), adjoint=ReversibleAdjoint()), LayerError, "own step")
    node = lux.NeuralODE(leaving, solver=Projected())
    ps, st = setup(node)
    refused(lambda: lux.solvers.solve_with_estimates(node, START, ps, st), LayerError, "own step")
    term = diffrax.ODETerm(lambda t, y, args: -y)
    alone = lambda: diffrax.diffeqsolve(term, Projected(), 0, 1, 0.1, START, adjoint=ReversibleAdjoint())  # noqa: E731
    refused(alone, LayerError, "own step", "RecursiveCheckpointAdjoint")


# One choice of the first step


class Named(diffrax.PIDController):
    """A class of the user's own, with a field more."""

    name: str = "mine"


ADJOINTS = {
    "recorded": "auto",
    "checkpoints": diffrax.RecursiveCheckpointAdjoint(),
    "direct": diffrax.DirectAdjoint(),
    "forward": diffrax.ForwardMode(),
}


@pytest.mark.parametrize(
    "controller",
    [
        diffrax.PIDController(rtol=1e-4, atol=1e-5),
        pytest.param(Named(rtol=1e-4, atol=1e-5), marks=pytest.mark.slow),
        pytest.param(diffrax.PIDController(rtol=1e-4, atol=1e-5, dtmax=0.3), marks=pytest.mark.slow),
        pytest.param(diffrax.ClipStepSizeController(Named(rtol=1e-4, atol=1e-5)), marks=pytest.mark.slow),
        pytest.param(None, marks=pytest.mark.slow),
    ],
    ids=["PID", "subclass", "with dtmax", "clipped", "default"],
)
def test_the_value_of_a_solve_does_not_depend_on_its_adjoint(controller, request):
    slow = "PID" not in request.node.callspec.id
    values = []
    for adjoint in ADJOINTS.values() if slow else (ADJOINTS["recorded"], ADJOINTS["forward"]):
        settings = {"stepsize_controller": controller, "rtol": 1e-4, "atol": 1e-5, "max_steps": 64}
        node = lux.NeuralODE(lux.WrappedFunction(lambda y: 3 * jnp.stack([y[1], -y[0]])), adjoint=adjoint, **settings)
        ps, st = setup(node)
        solution, _ = jax.jit(lambda y0: node.solve(y0, ps, st))(START)  # noqa: B023
        values.append((solution.ys, solution.stats["num_steps"]))
    for ys, number in values[1:]:
        assert number == values[0][1]
        np.testing.assert_allclose(ys, values[0][0], rtol=1e-13)


@pytest.mark.slow
def test_the_first_step_of_a_stiff_solve_and_of_estimates_is_the_same_choice():
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-5)
    field = lux.WrappedFunction(lambda y: 1e3 * jnp.stack([y[1], -y[0]]))
    for stiff in (False, True):
        numbers = []
        for settings in ({"stepsize_controller": controller}, {"rtol": 1e-4, "atol": 1e-5}):
            node = lux.NeuralODE(field, t1=1e-2, stiff=stiff, **settings)
            ps, st = setup(node)
            numbers.append(int(node.solve(START, ps, st)[0].stats["num_steps"]))
        # A first step of 0.01 would be the whole span; control is not the same for stiff solves.
        assert min(numbers) > 3
        assert stiff or numbers[0] == numbers[1]
