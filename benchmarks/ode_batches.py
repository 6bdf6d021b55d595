"""A batch of van der Pol oscillators, each with its own steps, against torchode and vmapped diffrax in the same run.

256 oscillators, mu from 1 to 5, t from 0 to 10, float32. Tolerances are those at which each has the same achieved error, by a search
over tolerances against a float64 solution. Also: the cost of saving at many times, and of the field's own arithmetic.

    python benchmarks/ode_batches.py
"""

import functools
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import scipy.integrate
import torch
import torchode
from harness import alternate, record, shown, table

import sciml_lux as lux

BATCH, END, SAVED = 256, 10.0, 200
WANTED = 1e-4  # the error at the end, in the root mean square over the batch
TOLERANCES = (1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6)  # each is a compilation
MU = np.linspace(1.0, 5.0, BATCH, dtype=np.float32)
START = np.tile(np.array([2.0, 0.0], np.float32), (BATCH, 1))
TIMES = np.linspace(0.0, END, SAVED, dtype=np.float32)


def field(y: Any, mu: Any) -> Any:
    return jnp.stack([y[1], mu * (1.0 - y[0] ** 2) * y[1] - y[0]])


class Oscillator(lux.AbstractLayer):
    """Van der Pol, whose `mu` is the third number of the state."""

    def __call__(self, y: Any, ps: Any, st: Any) -> Any:
        return jnp.append(field(y[:2], y[2]), 0.0), st


def norm(y: Any) -> Any:
    """That of the two numbers that change, as the peers have it."""
    return jnp.sqrt(1.5) * optimistix.rms_norm(y)


def ours(tolerance: float, saved: int = 0) -> Any:
    """A function of nothing that gives the values at the end, or at all times."""
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance, norm=norm)
    node = lux.NeuralODE(
        Oscillator(), t1=END, rtol=tolerance, atol=tolerance, stepsize_controller=controller, batching="each"
    )
    ps, st = lux.setup(jax.random.key(0), node)
    start = jnp.concatenate([START, MU[:, None]], axis=1)

    @jax.jit
    def run(start: Any) -> Any:
        if saved:
            ts = jnp.broadcast_to(jnp.asarray(TIMES), (BATCH, SAVED))
            solution, _ = node.solve(start, ps, st, ts=ts)
            return solution.ys[..., :2], solution.stats["num_steps"]
        solution, _ = node.solve(start, ps, st)
        return solution.ys[..., :2], solution.stats["num_steps"]

    return functools.partial(run, start)


def vmapped_diffrax(tolerance: float, saved: int = 0) -> Any:
    saveat = diffrax.SaveAt(ts=TIMES) if saved else diffrax.SaveAt(t1=True)

    @jax.jit
    @jax.vmap
    def run(start: Any, mu: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, mu: field(y, mu)),
            diffrax.Tsit5(),
            t0=0.0,
            t1=END,
            dt0=None,
            y0=start,
            args=mu,
            saveat=saveat,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        )
        return solution.ys, solution.stats["num_steps"]

    return functools.partial(run, START, MU)


class TorchField(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mu", torch.from_numpy(MU))

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.stack([y[:, 1], self.mu * (1.0 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], dim=1)


def by_torchode(tolerance: float, saved: int = 0, compiled: bool = False) -> Any:
    term = torchode.ODETerm(TorchField())
    method = torchode.Tsit5(term=term)
    controller = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
    solver = torchode.AutoDiffAdjoint(method, controller)
    # PyTorch 2.13 fails in torch.jit.script, which torchode's documentation recommends, with an error of its own.
    solve = torch.compile(solver.solve) if compiled else solver.solve
    times = torch.from_numpy(TIMES if saved else TIMES[[0, -1]]).repeat(BATCH, 1)
    problem = torchode.InitialValueProblem(y0=torch.from_numpy(START), t_eval=times)

    def run() -> Any:
        with torch.no_grad():
            solution = solve(problem)
        return solution.ys, solution.stats["n_steps"]

    return run


def reference() -> np.ndarray:
    def one(mu: float) -> np.ndarray:
        def right(t: float, y: Any) -> Any:
            return [y[1], mu * (1.0 - y[0] ** 2) * y[1] - y[0]]

        return scipy.integrate.solve_ivp(right, (0.0, END), [2.0, 0.0], method="DOP853", rtol=1e-11, atol=1e-11).y[
            :, -1
        ]

    return np.array([one(float(mu)) for mu in MU])


def error(run: Any, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.asarray(run()[0])[:, -1] - exact) ** 2)))


def equally_accurate(make: Any, exact: np.ndarray) -> tuple[Any, float, float]:
    """What `make` makes at the loosest tolerance whose error is no more than wanted, the tolerance and the error."""
    for tolerance in TOLERANCES:
        run = make(tolerance)
        found = error(run, exact)
        if found <= WANTED:
            return run, tolerance, found
    raise RuntimeError(f"{make.__name__} has an error of {found:.1e} at best, and {WANTED:.1e} is wanted")


def field_alone(evaluations: int) -> Any:
    """As many evaluations of the field for the batch as the solve makes, in one loop."""

    @jax.jit
    def run(y: Any, mu: Any, step: Any) -> Any:
        # Each evaluation needs the one before, so that none is left out.
        return jax.lax.fori_loop(0, evaluations, lambda _, y: y + step * jax.vmap(field)(y, mu), y)

    return functools.partial(run, START, MU, np.float32(1e-4))


def main() -> None:
    torch.set_num_threads(2)
    exact = reference()
    makers = {"sciml_lux": ours, "vmapped diffrax": vmapped_diffrax, "torchode": by_torchode}
    found = {name: equally_accurate(make, exact) for name, make in makers.items()}
    # The same program, so the same tolerance.
    fast = functools.partial(by_torchode, compiled=True)
    makers["torchode, torch.compile"] = fast
    _, *same = found["torchode"]
    found["torchode, torch.compile"] = (fast(same[0]), *same)
    runs = {name: run for name, (run, _, _) in found.items()}
    steps = {name: np.asarray(run()[1]) for name, run in runs.items()}
    times = alternate(runs)
    many = {name: make(found[name][1], SAVED) for name, make in makers.items()}
    times_many = alternate(many)
    # The batch goes on until its last sample is done: six new stages a step.
    evaluations = 6 * int(steps["sciml_lux"].max()) + 1
    floor = alternate({"field": field_alone(evaluations)})["field"]
    own = "sciml_lux"
    rows = [
        [
            name,
            f"{found[name][1]:.0e}",
            f"{found[name][2]:.1e}",
            f"{steps[name].mean():.0f} / {steps[name].max()}",
            shown(times[name]),
            f"{times[name] / times[own]:.2f}",
            shown(times_many[name]),
            f"{times_many[name] / times[name]:.2f}",
        ]
        for name in runs
    ]
    rows.append(
        ["the field alone", "", "", f"{evaluations} evaluations", shown(floor), f"{floor / times[own]:.2f}", "", ""]
    )
    head = ["", "tolerance", "error", "steps mean / most", "end only", "x ours", f"at {SAVED} times", "/ end only"]
    text = table(head, rows) + (
        "\n\nTargets: torchode >= 2 and vmapped diffrax >= 1 x ours; saving at many times <= 1.2 x the end only. torchode runs without "
        "gradients; `torch.jit.script` fails on it in this PyTorch."
    )
    figures = {
        "end": times,
        "many": times_many,
        "field_alone": floor,
        "tolerance": {name: value[1] for name, value in found.items()},
        "error": {name: value[2] for name, value in found.items()},
    }
    record("ode_batches", "A batch of van der Pol oscillators", text, figures, "torch", "torchode", "scipy")


if __name__ == "__main__":
    main()
