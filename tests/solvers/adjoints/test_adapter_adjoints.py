"""Every adapter with every adjoint of diffrax that goes with it: the gradient is the finite difference."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import directional_difference, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.solvers import StormerVerlet


def field(t, y, terms):
    return -terms.rates.decay * y + terms.network(y) * t


def adapters(**settings):
    tanh = lux.Chain(jnp.concatenate, lux.Dense(2, 1, jnp.tanh))
    return {
        "augmented": (lux.AugmentedODE(lux.Dense(2, 2, jnp.tanh), 1, **settings), jnp.asarray([0.4])),
        "second order": (lux.SecondOrderODE(tanh, **settings), (jnp.asarray([0.4]), jnp.asarray([-0.1]))),
        "Hamiltonian": (lux.HamiltonianODE(tanh, **settings), (jnp.asarray([0.4]), jnp.asarray([-0.1]))),
        "hybrid": (
            lux.HybridODE(
                field, rates=lux.ParameterDict(decay=lux.positive(0.7)), network=lux.Dense(1, 1, jnp.tanh), **settings
            ),
            jnp.asarray([0.4]),
        ),
        "symplectic": (
            lux.SecondOrderODE(
                lux.Dense(1, 1, jnp.tanh), velocity=False, **{**settings, "solver": StormerVerlet(), "dt0": 0.1}
            ),
            (jnp.asarray([0.4]), jnp.asarray([-0.1])),
        ),
    }


ADJOINTS = {
    "checkpointed": diffrax.RecursiveCheckpointAdjoint(),
    "direct": diffrax.DirectAdjoint(),
    "forward": diffrax.ForwardMode(),
}
PAIRS = [
    pytest.param(name, adjoint, id=f"{name}, {adjoint}", marks=() if adjoint == "checkpointed" else pytest.mark.slow)
    for name in adapters()
    for adjoint in ADJOINTS
]


@pytest.mark.parametrize(("name", "adjoint"), PAIRS)
def test_the_gradient_is_the_finite_difference(name, adjoint):
    settings = {"t1": 0.5, "dt0": 0.05, "solver": diffrax.Bosh3(), "max_steps": 16}
    if name != "symplectic":
        settings["stepsize_controller"] = diffrax.ConstantStepSize()
    node, y0 = adapters(**settings, adjoint=ADJOINTS[adjoint])[name]
    ps, st = setup(node)
    loss = jax.jit(
        lambda vector: sum(jnp.sum(jnp.sin(part)) for part in jax.tree.leaves(node(y0, ps.replace(vector), st)[0]))
    )
    direction = jnp.cos(jnp.arange(ps.vector.size, dtype=float))
    derivative = jax.jacfwd if adjoint == "forward" else jax.grad
    found = jax.jit(derivative(loss))(ps.vector) @ direction
    np.testing.assert_allclose(found, directional_difference(loss, ps.vector, direction), rtol=1e-7)


FIELD = lux.Chain(lux.Dense(2, 2))


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"adjoint": diffrax.BacksolveAdjoint()}, ["not that of the solve", "ReversibleAdjoint"]),
        ({"adjoint": diffrax.ImplicitAdjoint()}, ["SteadyStateODE"]),
        ({"adjoint": None}, ['"auto"', "got None"]),
        ({"adjoint": diffrax.DirectAdjoint(), "max_steps": None}, ["max_steps", "RecursiveCheckpointAdjoint"]),
        ({"adjoint": lux.solvers.ReversibleAdjoint(), "stiff": True}, ["explicit", "RecursiveCheckpointAdjoint"]),
    ],
)
def test_what_does_not_go_together_is_refused_when_it_is_built(settings, parts):
    refused(lambda: lux.NeuralODE(FIELD, **settings), LayerError, "NeuralODE", *parts)


@pytest.mark.parametrize(
    ("settings", "start", "parts"),
    [
        ({}, jnp.ones(2), ["recorded steps: many at a time", "2 numbers"]),
        ({"batching": "each"}, jnp.ones((30, 2)), ["recorded steps: many at a time", "2 numbers"]),
        ({}, jnp.ones((30, 2)), ["recorded steps: one by one", "60 numbers"]),
        ({"max_steps": 10**6}, jnp.ones((30, 2)), ["RecursiveCheckpointAdjoint", "MB"]),
        ({"stiff": True}, jnp.ones(2), ["RecursiveCheckpointAdjoint", "Kvaerno5"]),
        ({"adjoint": diffrax.DirectAdjoint()}, jnp.ones(2), ["DirectAdjoint", "asked for"]),
    ],
)
def test_the_choice_can_be_printed(settings, start, parts):
    node = lux.NeuralODE(FIELD, **settings)
    ps, st = setup(node)
    said = str(node.choose_adjoint(start, ps, st))
    assert all(part in said for part in parts), said


def test_backwards_through_forward_mode_says_what_to_do():
    node = lux.NeuralODE(FIELD, adjoint=diffrax.ForwardMode())
    ps, st = setup(node)
    with pytest.raises(RuntimeError, match="leave adjoint out"):
        jax.grad(lambda ps: jnp.sum(node(jnp.ones(2), ps, st)[0]))(ps)
