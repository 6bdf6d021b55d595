"""What to write where an adapter of differential equations is made or called wrongly."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from helpers import setup

import sciml_lux as lux

from .specimens import DENSE, DRUG, NODE, PAIR, TS, X, called, function_of_two, run


class Unwritten(lux.solvers.AbstractODE):
    """An adapter that lacks its equation."""


class Written(lux.solvers.AbstractODE):
    def derivative(self, t, y, params, state, inputs):
        dy, model = self.model(y, params["model"], state["model"])
        return dy, lux.State(model=model)


CASES = [
    (
        "solvers/differential/_checks.py: write {}(lux.WrappedFunction(f))",
        lambda: lux.NeuralODE(jnp.negative),
        ({"NeuralODE": lux.NeuralODE, "f": jnp.negative}, lambda node: run(node, X)),
    ),
    (
        "solvers/differential/_checks.py: write {}(lux.WrappedFunction(lambda ty",
        lambda: lux.NeuralODE(function_of_two),
        ({"NeuralODE": lux.NeuralODE, "f": function_of_two}, lambda node: run(node, X)),
    ),
    (
        "solvers/differential/_checks.py: write {}(lux.WrappedFunction(lambda pair",
        lambda: lux.SecondOrderODE(function_of_two),
        ({"SecondOrderODE": lux.SecondOrderODE, "f": function_of_two}, lambda node: run(node, PAIR)),
    ),
    (
        "solvers/differential/_checks.py: write lux.HybridODE(f)",
        lambda: lux.NeuralODE(lambda t, y, args: -y),
        ({"f": lambda t, y, terms: -y}, lambda node: run(node, X)),
    ),
    (
        "solvers/ode/_hybrid.py: write lux.HybridODE(lambda t, y, terms: f(t, y))",
        lambda: lux.HybridODE(function_of_two),
        ({"f": function_of_two}, lambda node: run(node, X)),
    ),
    (
        "solvers/ode/_hybrid.py: write lux.NeuralODE(layer)",
        lambda: lux.HybridODE(DENSE),
        lambda: [
            run(lux.NeuralODE(DENSE), X),
            run(lux.HybridODE(lambda t, y, terms: terms.network(y), network=DENSE), X),
        ],
    ),
    (
        "solvers/differential/_values.py: write tuple(y0)",
        lambda: called(lux.HamiltonianODE(lux.Chain(jnp.stack, lux.Dense(2, 1))), [1.0, 2.0]),
        ({"y0": [1.0, 2.0]}, lambda y0: called(lux.HamiltonianODE(lux.WrappedFunction(lambda y: y[0] * y[1])), y0)),
    ),
    (
        "solvers/ode/_second_order.py: write ({}0, {}0)",
        lambda: run(lux.SecondOrderODE(lux.WrappedFunction(lambda y: -y[0])), X),
        ({"x0": X, "v0": X}, lambda y0: run(lux.SecondOrderODE(lux.WrappedFunction(lambda y: -y[0])), y0)),
    ),
    (
        "solvers/ode/_augmented.py: write y0[None]",
        lambda: run(lux.AugmentedODE(lux.Dense(2, 2), 1), jnp.ones(())),
        ({"y0": jnp.ones(())}, lambda y0: run(lux.AugmentedODE(lux.Dense(2, 2), 1), y0)),
    ),
    (
        "solvers/differential/_one.py: write y0 = jnp.zeros(...)",
        lambda: called(lux.NeuralODE(lux.NoOp()), None),
        lambda: run(lux.NeuralODE(lux.NoOp()), jnp.zeros(2)),
    ),
    (
        "solvers/differential/_batching.py: Write y0[None]",
        lambda: run(lux.NeuralODE(lux.NoOp(), batching="each"), jnp.ones(())),
        ({"y0": jnp.ones(())}, lambda y0: run(lux.NeuralODE(lux.NoOp(), batching="each"), y0)),
    ),
    (
        "solvers/differential/_engine.py: write saveat=diffrax.SaveAt(ts=ts, ...)",
        lambda: NODE.solve(X, *setup(NODE), ts=TS, saveat=diffrax.SaveAt(t1=True)),
        lambda: jax.eval_shape(lambda: NODE.solve(X, *setup(NODE), saveat=diffrax.SaveAt(ts=TS, t1=True))[0].ys),
    ),
    (
        "solvers/differential/_values.py: write y0.astype(jnp.float32)",
        lambda: run(NODE, X.astype(jnp.bfloat16)),
        lambda: called(
            lux.NeuralODE(lux.AlternatePrecision(lux.NoOp(), jnp.bfloat16)), X.astype(jnp.bfloat16).astype(jnp.float32)
        ),
    ),
    (
        "solvers/ode/_second_order.py: write velocity=False",
        lambda: lux.SecondOrderODE(DENSE, solver=lux.solvers.StormerVerlet(), dt0=0.1),
        lambda: run(lux.SecondOrderODE(DENSE, velocity=False, solver=lux.solvers.StormerVerlet(), dt0=0.1), PAIR),
    ),
    (
        "solvers/differential/_inputs.py: write jax.vmap(",
        lambda: lux.solvers.linear_input(TS, TS, length=jnp.array([2, 3])),
        ({"ts": np.stack([TS, TS]), "values": np.stack([TS, TS]), "lengths": jnp.array([2, 3])}, None),
    ),
    (
        "solvers/differential/_equation.py: write one that returns (dy, state",
        lambda: run(Unwritten(DENSE), X),
        lambda: run(Written(DENSE), X),
    ),
    (
        "solvers/differential/_checks.py: write adjoint=diffrax.RecursiveCheckpointAdjoint() or",
        lambda: lux.NeuralODE(DENSE, adjoint=diffrax.BacksolveAdjoint()),
        lambda: [
            lux.NeuralODE(DENSE, adjoint=diffrax.RecursiveCheckpointAdjoint()),
            lux.NeuralODE(DENSE, adjoint=lux.solvers.ReversibleAdjoint()),
        ],
    ),
    (
        "solvers/differential/_checks.py: write adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=100)",
        lambda: lux.NeuralODE(DENSE, adjoint=diffrax.DirectAdjoint(), max_steps=None),
        lambda: run(
            lux.NeuralODE(DENSE, adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=100), max_steps=None), X
        ),
    ),
    (
        "solvers/differential/_checks.py: write adjoint=diffrax.RecursiveCheckpointAdjoint()",
        lambda: lux.NeuralODE(DENSE, stiff=True, adjoint=lux.solvers.ReversibleAdjoint()),
        lambda: lux.NeuralODE(DENSE, stiff=True, adjoint=diffrax.RecursiveCheckpointAdjoint()),
    ),
    (
        "solvers/jump/_jump_ode.py: write condition= and jump=",
        lambda: lux.JumpODE(DENSE, event=diffrax.Event(lambda t, y, args, **kw: y[0])),
        lambda: [
            lux.JumpODE(DENSE, condition=lambda t, y, ps: y[0], jump=lambda t, y, ps: -y),
            lux.NeuralODE(DENSE, event=diffrax.Event(lambda t, y, args, **kw: y[0])),
        ],
    ),
    (
        "solvers/jump/_jump_ode.py: write ts=...",
        lambda: DRUG.solve(X, *setup(DRUG), saveat=diffrax.SaveAt(ts=TS)),
        lambda: jax.eval_shape(lambda: DRUG.solve(X, *setup(DRUG), ts=TS)[0].ys),
    ),
    (
        "solvers/jump/_jump_ode.py: write inf",
        lambda: run(DRUG, X, doses=(np.array([np.nan]), np.ones((1, 2)))),
        lambda: run(DRUG, X, doses=(np.array([np.inf]), np.ones((1, 2)))),
    ),
    (
        "solvers/jump/_jump_ode.py: write resume=True",
        lambda: DRUG.solve(X, *setup(DRUG), t0=0.5, doses=(np.array([0.1]), np.ones((1, 2)))),
        lambda: jax.eval_shape(
            lambda: DRUG.solve(X, *setup(DRUG), t0=0.5, doses=(np.array([0.1]), np.ones((1, 2))), resume=True)[0].ys
        ),
    ),
    (
        "solvers/jump/_jump_ode.py: write dose=lambda t, y, amount, ps",
        lambda: run(DRUG, X, doses=(np.array([0.1]), np.ones(1))),
        lambda: run(
            lux.JumpODE(DENSE, dose=lambda t, y, amount, ps: y + amount), X, doses=(np.array([0.1]), np.ones(1))
        ),
    ),
]
