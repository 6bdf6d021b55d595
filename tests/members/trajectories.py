"""Equations with the series that they solve exactly: what training strategies are judged by."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

import sciml_lux as lux
from sciml_lux.solvers import hold_input, linear_input

ACCURATE = {"t1": 4.0, "rtol": 1e-9, "atol": 1e-9}
TS = np.array([0.0, 0.3, 0.5, 1.0, 1.2, 2.0, 2.4, 2.5, 3.1, 3.2, 4.0])


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """A node, where its series begins, and what drives it; how it is observed, and whether its states can be taken up again."""

    name: str
    node: lux.AbstractLayer
    y0: Any
    doses: Any = None
    inputs: Any = None
    observation: Any = None
    hidden: bool = False
    ts: np.ndarray = dataclasses.field(default_factory=lambda: TS)


class Decay(lux.AbstractLayer):
    """`-rate y`, plus inputs."""

    def initial_parameters(self, key):
        return {"rate": 0.8}

    def __call__(self, x, ps, st):
        y, u = x if isinstance(x, tuple) else (x, 0.0)
        return -ps.rate * y + u, st


class Spring(lux.AbstractLayer):
    """`-stiffness x - friction v`, of `(x, v)`."""

    def initial_parameters(self, key):
        return {"stiffness": 2.0, "friction": 0.3}

    def __call__(self, x, ps, st):
        position, velocity = x
        return -ps.stiffness * position - ps.friction * velocity, st


class Energy(lux.AbstractLayer):
    """That of a pendulum."""

    def initial_parameters(self, key):
        return {"weight": 1.5}

    def __call__(self, x, ps, st):
        q, p = x
        return jnp.sum(p**2 / 2 - ps.weight * jnp.cos(q)), st


class Gravity(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"g": 9.81}

    def __call__(self, y, ps, st):
        return jnp.stack([y[1], -ps.g]), st


class Field(lux.AbstractLayer):
    """A field of any width."""

    def initial_parameters(self, key):
        return {"rate": 1.3}

    def __call__(self, y, ps, st):
        return ps.rate * (jnp.flip(y, -1) - 1.5 * y), st


def height(t, y, ps):
    return y[0]


def bounce(t, y, ps):
    return y * jnp.array([1.0, -0.8])


def below(t, y, ps):
    return y[0] - 0.3


def refill(t, y, ps):
    return y + 1.0


def rate_of(t, y, terms):
    return -terms.rates.k * y


def started(x, terms):
    return terms.rates.k * x


def position(pair):
    return pair[0]


FIRST = np.sqrt(2 * 1.0 / 9.81)  # when a ball from 1 reaches the floor
BOUNCES = FIRST * np.array([1.0, 2.6])
FALLING = {"t1": 2.0, "rtol": 1e-9, "atol": 1e-9, "condition": height, "jump": bounce, "direction": False}
AT_BOUNCES = np.sort(np.concatenate([[0.0, 0.2, 0.3, 0.6, 0.9, 1.3, 1.6], BOUNCES]))
DOSES = (np.array([2.0, 0.0, 3.15]), np.array([[1.0], [0.5], [2.0]]))
AT = np.array([0.0, 1.2, 1.9, 4.0])
RATES = lux.ParameterDict(k=lux.positive(0.7))

TRAJECTORIES = [
    Trajectory("linear", lux.NeuralODE(Field(), **ACCURATE), np.array([1.0, 0.2])),
    Trajectory("each", lux.NeuralODE(Field(), batching="each", **ACCURATE), np.array([1.0, 0.2])),
    Trajectory(
        "driven",
        lux.NeuralODE(Decay(), **ACCURATE),
        np.ones(1),
        inputs=linear_input(AT, np.array([[0.0], [1.0], [0.5], [2.0]])),
    ),
    Trajectory(
        "switched",
        lux.NeuralODE(Decay(), **ACCURATE),
        np.ones(1),
        inputs=hold_input(AT, np.array([[0.0], [1.0], [0.5], [2.0]])),
    ),
    Trajectory("doses", lux.JumpODE(Decay(), **ACCURATE), np.ones(1), doses=DOSES),
    Trajectory("doses of each", lux.JumpODE(Decay(), batching="each", **ACCURATE), np.ones(1), doses=DOSES),
    Trajectory(
        "doses, events and inputs",
        lux.JumpODE(Decay(), condition=below, jump=refill, direction=False, **ACCURATE),
        np.ones(1),
        doses=DOSES,
        inputs=hold_input(AT, np.array([[0.0], [0.2], [-0.5], [0.0]])),
    ),
    Trajectory("ball", lux.JumpODE(Gravity(), **FALLING), np.array([1.0, 0.0]), ts=AT_BOUNCES),
    Trajectory(
        "second order", lux.SecondOrderODE(Spring(), **ACCURATE), (np.ones(2), np.zeros(2)), observation=position
    ),
    Trajectory(
        "hamiltonian", lux.HamiltonianODE(Energy(), **ACCURATE), (np.ones(1), np.zeros(1)), observation=position
    ),
    Trajectory("hybrid", lux.HybridODE(rate_of, rates=RATES, **ACCURATE), np.ones(1)),
    Trajectory(
        "hybrid with a learned start",
        lux.HybridODE(rate_of, rates=RATES, initial=started, **ACCURATE),
        np.ones(1),
        hidden=True,
    ),
    Trajectory("augmented", lux.AugmentedODE(Field(), 1, **ACCURATE), np.ones(1), hidden=True),
]
