"""What saving at many times costs beside the solve itself, for fields from five operations to a network, against vmapped diffrax.

256 samples, each with its own steps and its own times, float32, tolerance 1e-5.

    python benchmarks/ode_saving.py
"""

import functools
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from harness import alternate, record, shown, table

import sciml_lux as lux

BATCH, END, TOLERANCE = 256, 10.0, 1e-5
NUMBERS = (2, 20, 200)


def oscillator(y: Any) -> Any:
    """Van der Pol, with mu = 3."""
    return jnp.stack([y[1], 3.0 * (1.0 - y[0] ** 2) * y[1] - y[0]])


def fields() -> dict[str, Any]:
    def network(width: int) -> Any:
        return lux.Chain(lux.Dense(2, width, jnp.tanh), lux.Dense(width, width, jnp.tanh), lux.Dense(width, 2))

    return {"van der Pol": lux.WrappedFunction(oscillator), **{f"2-{n}-{n}-2": network(n) for n in (16, 64, 256)}}


def times(number: int) -> Any:
    return jnp.asarray(np.tile(np.linspace(0.0, END, number, dtype=np.float32), (BATCH, 1)))


def ours(model: Any, start: Any, number: int) -> Any:
    node = lux.NeuralODE(model, t1=END, rtol=TOLERANCE, atol=TOLERANCE, batching="each")
    ps, st = lux.setup(jax.random.key(0), node)

    @jax.jit
    def run(start: Any, ts: Any) -> Any:
        solution, _ = node.solve(start, ps, st, ts=ts)
        return solution.ys, solution.stats["num_steps"]

    return functools.partial(run, start, times(number) if number else None)


def vmapped_diffrax(model: Any, start: Any, number: int) -> Any:
    ps, st = lux.setup(jax.random.key(0), model)

    @jax.jit
    @jax.vmap
    def run(start: Any, ts: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, _: model(y, ps, st)[0]),
            diffrax.Tsit5(),
            t0=0.0,
            t1=END,
            dt0=None,
            y0=start,
            saveat=diffrax.SaveAt(t1=True) if ts is None else diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
        )
        return solution.ys, solution.stats["num_steps"]

    return functools.partial(run, start, times(number) if number else None)


def main() -> None:
    start = jax.random.normal(jax.random.key(1), (BATCH, 2))
    rows, figures = [], {}
    for name, model in fields().items():
        runs = {
            f"{who} {number}": make(model, start, number)
            for who, make in (("ours", ours), ("diffrax", vmapped_diffrax))
            for number in (0, *NUMBERS)
        }
        steps = int(np.max(runs["ours 0"]()[1]))
        taken = figures[name] = alternate(runs, turns=15)
        alone = taken["ours 0"]
        row = [name, f"{steps}", shown(alone), f"{taken['diffrax 0'] / alone:.2f}"]
        for number in NUMBERS:
            mine, theirs = taken[f"ours {number}"], taken[f"diffrax {number}"]
            row += [f"{mine / alone:.2f}", f"{theirs / mine:.2f}"]
        rows.append(row)
    head = ["field", "most steps", "end only", "diffrax"]
    for number in NUMBERS:
        head += [f"{number} times / end only", "diffrax"]
    text = table(head, rows) + (
        "\n\n`diffrax`: its time over ours for the same. Target: saving at many times <= 1.2 x the end only, under a batch. Saving "
        f"{NUMBERS[-1]} values for each of {BATCH} samples costs what it costs, whatever the field: a search among the steps, a gather of "
        "stages and a polynomial for each value."
    )
    record("ode_saving", "Saving at many times", text, figures)


if __name__ == "__main__":
    main()
