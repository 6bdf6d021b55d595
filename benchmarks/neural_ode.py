"""A Neural ODE on a spiral, against a hand-written Equinox loop and torchdiffeq in the same run.

A 2-50-2 tanh network of y^3, 30 points on [0, 1.5], tolerances 1e-6, 500 Adam steps, float32, the same starting weights for all.

    python benchmarks/neural_ode.py
"""

import statistics
import time
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torchdiffeq
from harness import record, shown, table

import sciml_lux as lux

STEPS, TORCH_STEPS, TURNS, COLD_TURNS = 500, 10, 7, 3
RATE, TOLERANCE, END = 1e-2, 1e-6, 1.5
START = jnp.array([2.0, 0.0])
TIMES = jnp.linspace(0.0, END, 30)


def measured() -> jax.Array:
    """The spiral dy/dt = y^3 A, solved tightly."""
    matrix = jnp.array([[-0.1, 2.0], [-2.0, -0.1]])
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: y**3 @ matrix),
        diffrax.Tsit5(),
        t0=0.0,
        t1=END,
        dt0=None,
        y0=START,
        saveat=diffrax.SaveAt(ts=TIMES),
        stepsize_controller=diffrax.PIDController(rtol=1e-7, atol=1e-7),
    ).ys


DATA = measured()
MODEL = lux.Chain(lambda y: y**3, lux.Dense(2, 50, jnp.tanh), lux.Dense(50, 2))
NODE = lux.NeuralODE(MODEL, t0=0.0, t1=END, rtol=TOLERANCE, atol=TOLERANCE)
PS, ST = lux.setup(jax.random.key(0), NODE)
WEIGHTS = [np.asarray(PS[f"model.layer_{i}.{name}"]) for i in (1, 2) for name in ("weight", "bias")]


def ours() -> Any:
    """A function that fits, sharing its compilation between calls; a fresh one compiles anew."""

    def loss(ps: Any, st: Any, data: Any) -> Any:
        solution, st = NODE.solve(START, ps, st, ts=TIMES)
        return jnp.mean((solution.ys - data) ** 2), st

    optimizer = optax.adam(RATE)
    return lambda steps: float(lux.fit(loss, PS, ST, optimizer, steps=steps, data=DATA).losses[-1])


class Field(eqx.Module):
    first: eqx.nn.Linear
    second: eqx.nn.Linear

    def __init__(self) -> None:
        keys = jax.random.split(jax.random.key(0))
        weight_1, bias_1, weight_2, bias_2 = (jnp.asarray(w) for w in WEIGHTS)
        first, second = eqx.nn.Linear(2, 50, key=keys[0]), eqx.nn.Linear(50, 2, key=keys[1])
        self.first = eqx.tree_at(lambda layer: (layer.weight, layer.bias), first, (weight_1.T, bias_1))
        self.second = eqx.tree_at(lambda layer: (layer.weight, layer.bias), second, (weight_2.T, bias_2))

    def __call__(self, t: Any, y: Any, args: Any) -> Any:
        return self.second(jnp.tanh(self.first(y**3)))


def equinox_by_hand() -> Any:
    optimizer = optax.adam(RATE)

    @eqx.filter_jit
    def step(field: Any, state: Any) -> Any:
        @eqx.filter_value_and_grad
        def loss(field: Any) -> Any:
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(field),
                diffrax.Tsit5(),
                t0=0.0,
                t1=END,
                dt0=None,
                y0=START,
                saveat=diffrax.SaveAt(ts=TIMES),
                stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
            )
            return jnp.mean((solution.ys - DATA) ** 2)

        value, gradient = loss(field)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(field, updates), state, value

    def run(steps: int) -> float:
        field = Field()
        state = optimizer.init(eqx.filter(field, eqx.is_inexact_array))
        value = jnp.nan
        for _ in range(steps):
            field, state, value = step(field, state)
        return float(value)

    return run


def torch_by_hand() -> Any:
    class TorchField(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(2, 50), torch.nn.Tanh(), torch.nn.Linear(50, 2))
            for parameter, value in zip(self.net.parameters(), WEIGHTS, strict=True):
                parameter.data = torch.from_numpy(np.array(value.T))

        def forward(self, t: Any, y: Any) -> Any:
            return self.net(y**3)

    times, data = torch.from_numpy(np.array(TIMES)), torch.from_numpy(np.array(DATA))
    start = torch.from_numpy(np.array(START))

    def run(steps: int) -> float:
        field = TorchField()
        optimizer = torch.optim.Adam(field.parameters(), lr=RATE)
        value = torch.tensor(float("nan"))
        for _ in range(steps):
            optimizer.zero_grad()
            predicted = torchdiffeq.odeint(field, start, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")
            value = torch.mean((predicted - data) ** 2)
            value.backward()
            optimizer.step()
        return value.item()

    return run


def field_alone() -> Any:
    """As many evaluations of the field, and of its adjoint, as the solves of a fit and their gradients need."""
    solution = NODE.solve(START, PS, ST, ts=TIMES)[0]
    evaluations = 6 * int(solution.stats["num_steps"]) + 1

    @jax.jit
    def once(ps: Any, scale: Any) -> Any:
        def one(_: Any, carry: Any) -> Any:
            y, gradient = carry
            slope, pull = jax.vjp(lambda y, ps: MODEL(y, ps.model, ST.model)[0], y, ps)
            y_bar, ps_bar = pull(y)
            # Each evaluation needs the one before, so that none is left out.
            return y + scale * (slope + y_bar), gradient + ps_bar.vector

        return jax.lax.fori_loop(0, evaluations * STEPS, one, (START, jnp.zeros_like(ps.vector)))

    return lambda steps: jax.block_until_ready(once(PS, 1e-6))


def seconds(run: Any, steps: int) -> float:
    begin = time.perf_counter()
    run(steps)
    return time.perf_counter() - begin


def main() -> None:
    makers = {"sciml_lux": ours, "Equinox + diffrax by hand": equinox_by_hand}
    cold: dict[str, list[float]] = {name: [] for name in makers}
    first: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(COLD_TURNS):
        for name, make in makers.items():
            jax.clear_caches()
            run = make()
            first[name].append(seconds(run, 1))
            cold[name].append(first[name][-1] + seconds(run, STEPS))
    runs = {name: make() for name, make in makers.items()}
    losses = {name: run(STEPS) for name, run in runs.items()}
    torch_run = torch_by_hand()
    warm: dict[str, list[float]] = {name: [] for name in [*makers, "torchdiffeq"]}
    alone, floor = field_alone(), []
    alone(STEPS)
    for _ in range(TURNS):
        for name, run in runs.items():
            warm[name].append(seconds(run, STEPS))
        warm["torchdiffeq"].append(seconds(torch_run, TORCH_STEPS) * STEPS / TORCH_STEPS)
        floor.append(seconds(alone, STEPS))
    losses["torchdiffeq"] = torch_run(STEPS)
    median = {name: statistics.median(values) for name, values in warm.items()}
    median_cold = {name: statistics.median(values) for name, values in cold.items()} | {
        "torchdiffeq": median["torchdiffeq"]
    }
    median_first = {name: statistics.median(values) for name, values in first.items()} | {
        "torchdiffeq": median["torchdiffeq"] / STEPS
    }
    own = "sciml_lux"
    rows = [
        [
            name,
            shown(median[name]),
            f"{median[name] / median[own]:.1f}",
            shown(median_cold[name]),
            f"{median_cold[name] / median_cold[own]:.1f}",
            shown(median_first[name]),
            f"{losses[name]:.2e}",
        ]
        for name in median
    ]
    rows.append(
        ["the field alone", shown(statistics.median(floor)), f"{statistics.median(floor) / median[own]:.2f}", *[""] * 4]
    )
    head = ["", f"{STEPS} steps", "x ours", "with compile", "x ours", "to the first step", "last loss"]
    text = table(head, rows) + (
        "\n\nTargets, x ours: by hand >= 4 without and >= 2 with compile, torchdiffeq >= 80; to the first step by hand >= 2. "
        f"torchdiffeq is timed over {TORCH_STEPS} steps a turn and scaled. The field alone: its evaluations and their adjoints, one by one."
    )
    figures = {"warm": median, "with_compile": median_cold, "first_step": median_first, "last_loss": losses}
    figures["field_alone"] = statistics.median(floor)
    record("neural_ode", "Neural ODE, spiral", text, figures, "torch", "torchdiffeq")


if __name__ == "__main__":
    main()
