"""Every adapter with every adjoint of diffrax that goes with it: the gradient is the finite difference."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import directional_difference, setup

import sciml_lux as lux
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
    "backsolve": diffrax.BacksolveAdjoint(),
}
PAIRS = [
    pytest.param(name, adjoint, id=f"{name}, {adjoint}", marks=() if adjoint == "checkpointed" else pytest.mark.slow)
    for name in adapters()
    for adjoint in ADJOINTS
    # The backward equation has one field, and a splitting method takes two.
    if (name, adjoint) != ("symplectic", "backsolve")
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
    # The backward solve has an error of its own, of the third power of the step.
    rtol = 1e-4 if adjoint == "backsolve" else 1e-7
    np.testing.assert_allclose(found, directional_difference(loss, ps.vector, direction), rtol=rtol)
