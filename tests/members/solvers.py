"""Layers whose call runs a solver."""

import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array


def append_time(t_and_y):
    t, y = t_and_y
    return jnp.append(y, t)


def controlled_field():
    return lux.Chain(append_time, lux.Dense(3, 2, jnp.tanh))


def hybrid(t, y, terms):
    return -terms.rates.decay * y + terms.network(y) * t


def shifted(y, terms):
    return y + terms.rates.offset


def energy():
    return lux.Chain(jnp.concatenate, lux.Dense(4, 3, jnp.tanh), lux.Dense(3, 1))


def well():
    return lux.Chain(lux.Dense(2, 3, jnp.tanh), lux.Dense(3, 1))


def due(t, y, ps):
    """Changes sign once between 0.1 and 0.3, when depends on the state."""
    return t - 0.2 - 0.1 * jnp.tanh(y[0])


def flipped(t, y, ps):
    return jnp.stack([0.5 * y[1], -y[0]])


def on_time(t, y, ps):
    """Once, wherever a jump leads: one that is learned might lead back to where it is due."""
    return t - 0.2


def second(t_and_y):
    return t_and_y[1]


def relaxed(rate, y):
    return 0.5 * rate - y


# Tolerances at which finite differences do not see the choice of the steps.
accurate = {"t1": 0.5, "rtol": 1e-9, "atol": 1e-9}
ode_dtypes = (jnp.float32, jnp.float64)  # times are sums of many small steps

LAYERS = [
    Layer("NeuralODE", lambda: lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), **accurate), array(2), dtypes=ode_dtypes),
    Layer(
        "NeuralODE with time",
        lambda: lux.NeuralODE(controlled_field(), time=True, **accurate),
        array(2),
        dtypes=ode_dtypes,
        names={"append_time": append_time},
        slow=True,
    ),
    Layer(
        "NeuralODE of three samples",
        lambda: lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), batching="each", **accurate),
        array(3, 2),
        dtypes=ode_dtypes,
        slow=True,
    ),
    Layer(
        "NeuralODE with a tolerance for each component",
        lambda: lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), t1=0.5, rtol=1e-9, atol=(1e-9, 1e-8)),
        array(2),
        dtypes=ode_dtypes,
        slow=True,
    ),
    Layer(
        "Scaled",
        lambda: lux.NeuralODE(lux.Scaled(lux.Dense(2, 2, jnp.tanh), scale=(0.1, 3.0), shift=0.2, time=2.0), **accurate),
        array(2),
        dtypes=ode_dtypes,
    ),
    Layer("Scaled alone", lambda: lux.Scaled(lux.Dense(2, 1), scale=(0.1, 3.0), outputs=5.0), array(3, 2)),
    Layer(
        "AugmentedODE",
        lambda: lux.AugmentedODE(lux.Dense(3, 3, jnp.tanh), 1, **accurate),
        array(2, 2),
        dtypes=ode_dtypes,
    ),
    Layer(
        "AugmentedODE with a learned start",
        lambda: lux.AugmentedODE(lux.Dense(4, 4, jnp.tanh), 2, initial=lux.Dense(2, 2), keep=True, **accurate),
        array(2),
        dtypes=ode_dtypes,
        slow=True,
    ),
    Layer(
        "SecondOrderODE",
        lambda: lux.SecondOrderODE(lux.Chain(jnp.concatenate, lux.Dense(4, 2, jnp.tanh)), **accurate),
        (array(2), array(2)),
        dtypes=ode_dtypes,
    ),
    Layer(
        "SecondOrderODE in turn",
        lambda: lux.SecondOrderODE(
            lux.Dense(2, 2, jnp.tanh), velocity=False, solver=lux.solvers.StormerVerlet(), dt0=0.1
        ),
        (array(2), array(2)),
        dtypes=ode_dtypes,
        names={"StormerVerlet": lux.solvers.StormerVerlet},
        slow=True,
    ),
    Layer("HamiltonianODE", lambda: lux.HamiltonianODE(energy(), **accurate), (array(2), array(2)), dtypes=ode_dtypes),
    Layer(
        "HamiltonianODE, separable",
        lambda: lux.HamiltonianODE(well(), kinetic=well(), solver=lux.solvers.Yoshida4(), dt0=0.25),
        (array(2), array(2)),
        dtypes=ode_dtypes,
        names={"Yoshida4": lux.solvers.Yoshida4},
        slow=True,
    ),
    Layer(
        "HybridODE",
        lambda: lux.HybridODE(
            hybrid,
            rates=lux.ParameterDict(decay=lux.positive(0.7), offset=0.2),
            network=lux.Dense(2, 2, jnp.tanh),
            initial=lux.Dense(3, 2),
            observation=shifted,
            **accurate,
        ),
        array(3),
        dtypes=ode_dtypes,
        names={"hybrid": hybrid, "shifted": shifted},
    ),
    Layer(
        "JumpODE",
        lambda: lux.JumpODE(lux.Dense(2, 2, jnp.tanh), condition=due, jump=flipped, max_jumps=8, **accurate),
        array(2),
        dtypes=ode_dtypes,
        names={"due": due, "flipped": flipped},
        slow=True,
    ),
    Layer(
        "JumpODE with a learned jump",
        lambda: lux.JumpODE(
            lux.Dense(2, 2, jnp.tanh),
            condition=on_time,
            jump=lux.Chain(second, lux.Dense(2, 2)),
            max_jumps=8,
            **accurate,
        ),
        array(2),
        dtypes=ode_dtypes,
        names={"on_time": on_time, "second": second},
        slow=True,
    ),
    Layer(
        "SteadyStateODE",
        lambda: lux.SteadyStateODE(lux.SkipConnection(lux.Dense(2, 2, jnp.tanh), relaxed), rtol=1e-9, atol=1e-9),
        array(2),
        dtypes=ode_dtypes,
        names={"relaxed": relaxed},
    ),
]
