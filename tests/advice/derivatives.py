"""What to write where an adjoint does not give the derivative that was asked for. Derivatives of derivatives take seconds to trace."""

import diffrax
import jax
import jax.numpy as jnp
from helpers import setup

import sciml_lux as lux

from .specimens import DENSE, TS, X, run


def slope(node, derivative=jax.grad):
    """A function that differentiates a solve twice."""
    ps, st = setup(node)
    once = derivative(lambda y: jnp.sum(node(y, ps, st)[0] ** 2))
    return derivative(lambda y: jnp.sum(once(y)))


def slope_in_times(node, derivative):
    ps, st = setup(node)
    once = jax.grad(lambda ts: jnp.sum(node.solve(X, ps, st, ts=ts)[0].ys ** 2))
    return derivative(lambda ts: jnp.sum(once(ts)))


def lower(function, x):
    """What is refused when a program is made, before it is compiled."""
    return jax.jit(function).lower(x)


BENT = lux.Dense(2, 2, jnp.tanh)
BENT_NODE = lux.NeuralODE(BENT)
DIRECT = lux.NeuralODE(BENT, adjoint=diffrax.DirectAdjoint(), max_steps=8)
CHECKPOINTED = lux.NeuralODE(BENT, adjoint=diffrax.RecursiveCheckpointAdjoint(), max_steps=8)

CASES = [
    (
        "solvers/runge_kutta/_replay.py: write adjoint=diffrax.DirectAdjoint()",
        lambda: lower(slope_in_times(BENT_NODE, jax.jacfwd), TS),
        lambda: jax.eval_shape(slope_in_times(DIRECT, jax.jacfwd), TS),
    ),
    (
        "solvers/differential/_integrate.py: write adjoint=diffrax.DirectAdjoint()",
        lambda: lower(slope(BENT_NODE), X),
        lambda: jax.eval_shape(slope(DIRECT), X),
    ),
    (
        "solvers/differential/_integrate.py: write adjoint=diffrax.DirectAdjoint(), or adjoint=diffrax.ForwardMode()",
        lambda: lower(slope(CHECKPOINTED), X),
        lambda: [
            jax.eval_shape(slope(DIRECT), X),
            jax.eval_shape(slope(lux.NeuralODE(BENT, adjoint=diffrax.ForwardMode(), max_steps=8), jax.jacfwd), X),
        ],
    ),
    (
        "solvers/adjoints/_reversible.py: write adjoint={}",
        lambda: lower(slope(lux.NeuralODE(BENT, adjoint=lux.solvers.ReversibleAdjoint())), X),
        lambda: run(lux.NeuralODE(DENSE, adjoint=diffrax.RecursiveCheckpointAdjoint()), X),
    ),
    (
        "solvers/adjoints/_reversible.py: write adjoint={}",
        lambda: run(lux.NeuralODE(DENSE, adjoint=lux.solvers.ReversibleAdjoint(), max_steps=None), X),
        lambda: run(lux.NeuralODE(DENSE, adjoint=diffrax.RecursiveCheckpointAdjoint()), X),
    ),
]
