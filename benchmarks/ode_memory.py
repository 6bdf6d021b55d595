"""The memory and the time of a gradient, by adjoint: a batch of 1000 solved jointly through a 2-64-64-2 network."""

from typing import Any

import jax
import jax.numpy as jnp
from diffrax import (
    ConstantStepSize,
    DirectAdjoint,
    ODETerm,
    RecursiveCheckpointAdjoint,
    SaveAt,
    Tsit5,
    diffeqsolve,
)
from harness import alternate, block, record, shown, table

import sciml_lux as lux
from sciml_lux.solvers import ReversibleAdjoint

BATCH = 1000
LENGTH = 10.0
STEPS = (250, 1000, 4000)
TIMED = 1000

MODEL = lux.Chain(lux.Dense(2, 64, jnp.tanh), lux.Dense(64, 64, jnp.tanh), lux.Dense(64, 2))
PS, ST = lux.setup(jax.random.key(0), MODEL)
Y0 = jax.random.normal(jax.random.key(1), (BATCH, 2))


def loss_with(adjoint, steps):
    def loss(ps):
        solution = diffeqsolve(
            ODETerm(lambda t, y, params: MODEL(y, params, ST)[0]),
            Tsit5(),
            0.0,
            LENGTH,
            LENGTH / steps,
            Y0,
            ps.params,
            saveat=SaveAt(t1=True),
            stepsize_controller=ConstantStepSize(),
            adjoint=adjoint,
            max_steps=steps,
        )
        ys: Any = solution.ys
        return jnp.sum(ys**2)

    return loss


def store_all(steps):
    """The same steps in a `lax.scan`, which keeps all that their derivatives need."""
    a, b, h = Tsit5().tableau.a_lower, Tsit5().tableau.b_sol, LENGTH / steps

    def loss(ps):
        params = ps.params

        def step(y, _):
            ks = []
            for i in range(6):  # the seventh is for the error estimate
                stage = (
                    y + sum((float(w) * k for w, k in zip(a[i - 1], ks, strict=True)), jnp.zeros_like(y)) if i else y
                )
                ks.append(h * MODEL(stage, params, ST)[0])
            return y + sum(float(w) * k for w, k in zip(b, ks, strict=False)), None

        return jnp.sum(jax.lax.scan(step, Y0, None, length=steps)[0] ** 2)

    return loss


def compiled(loss):
    return jax.jit(jax.value_and_grad(loss)).lower(PS).compile()


ADJOINTS = {
    "`ReversibleAdjoint`": lambda steps: loss_with(ReversibleAdjoint(coupling=1e-2), steps),
    "store all, `lax.scan`": store_all,
    "diffrax, `DirectAdjoint`": lambda steps: loss_with(DirectAdjoint(), steps),
    "diffrax, `RecursiveCheckpointAdjoint`": lambda steps: loss_with(RecursiveCheckpointAdjoint(), steps),
}

# The other peer is a chain of checkpoints as well, for two modes of differentiation.
CONTENDERS = ("`ReversibleAdjoint`", "store all, `lax.scan`", "diffrax, `RecursiveCheckpointAdjoint`")


def main():
    memory, programs = {}, {}
    for name, make in ADJOINTS.items():
        for steps in STEPS:
            program = compiled(make(steps))
            analysis: Any = program.memory_analysis()
            memory[name, steps] = analysis.temp_size_in_bytes
            if steps == TIMED and name in CONTENDERS:
                programs[name] = program
    values = {name: block(program(PS)) for name, program in programs.items()}
    value, gradient = values["store all, `lax.scan`"]
    for other_value, other in values.values():
        assert abs(other_value / value - 1) < 1e-3
        assert jnp.linalg.norm(other.vector - gradient.vector) < 1e-2 * jnp.linalg.norm(gradient.vector)
    seconds = alternate(
        {name: (lambda p=program: p(PS)) for name, program in programs.items()}, turns=3
    )  # of many seconds each
    base, peer = "`ReversibleAdjoint`", "store all, `lax.scan`"
    rows = [
        [
            name,
            *(f"{memory[name, steps] / 1e6:.3g}" for steps in STEPS),
            shown(seconds[name]) if name in seconds else "",
        ]
        for name in ADJOINTS
    ]
    ratios = {
        "memory of ours / store all": memory[base, TIMED] / memory[peer, TIMED],
        "memory of ours, 4000 steps / 250": memory[base, STEPS[-1]] / memory[base, STEPS[0]],
        "time of ours / store all": seconds[base] / seconds[peer],
        "time of ours / checkpoints": seconds[base] / seconds["diffrax, `RecursiveCheckpointAdjoint`"],
    }
    targets = {
        "memory of ours / store all": "<= 1/15",
        "memory of ours, 4000 steps / 250": "1",
        "time of ours / store all": "<= 1.3",
    }
    text = (
        f"Value and gradient, {BATCH} initial values solved jointly through a 2-64-64-2 network, Tsit5 with equal steps, float32. Memory "
        "is what the compiled program allocates beside arguments and results.\n\n"
        + table(["adjoint", *(f"{steps} steps, MB" for steps in STEPS), f"{TIMED} steps"], rows)
        + "\n\n"
        + table(
            ["ratio", "measured", "target"],
            [[name, f"{ratio:.3g}", targets.get(name, "")] for name, ratio in ratios.items()],
        )
    )
    figures = {
        "bytes": {f"{name}, {steps}": size for (name, steps), size in memory.items()},
        "seconds": seconds,
        "ratios": ratios,
    }
    record("ode_memory", "Neural ODE, memory", text, figures)


if __name__ == "__main__":
    main()
