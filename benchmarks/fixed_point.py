"""Evaluations that each fixed-point solver needs on ten problems; nothing is timed.

python benchmarks/fixed_point.py
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from harness import record, table

from sciml_lux import solvers

TOLERANCE = 1e-6
MOST = 400

NOTE = (
    f"Evaluations of the map until `rms(f(z) - z) <= {TOLERANCE:g} rms(f(z))` in float64, from the start that the problem names, on "
    "average over the samples of those problems that have several; for Newton-Krylov, products with the Jacobian included. A dash: not "
    f"reached by some sample within {MOST} steps.\n\n"
    "Defaults. Anderson: memory 5 solves all ten, with as few evaluations as any longer memory where the map contracts well; 10 or 20 pay "
    "where it hardly contracts, and cost that much more memory and work a step. Type II, as type I gains little and its systems are not "
    "definite. No safeguard and no restart: neither gains on these. Broyden: the good update and a memory of 20, as the bad one and "
    "shorter memories lose somewhere; a search that lets the residual grow fourfold, as a stricter one (tried: 1, 1.5, 2) shortens steps "
    "that would have learned something. Damped: from 0.05 to 10, as at most 1, tried too, is up to four times slower and fails "
    "where the map hardly contracts. Newton-Krylov comes close only on linear "
    "problems; its first and largest forcing term hardly matters (0.1, 0.3, 0.9). 30 products at most in one of its steps, as with 20 two "
    "samples of the tanh cell of gain 1.5 stay next to a point where the Jacobian is all but singular."
)


class Problem(NamedTuple):
    name: str
    map: Callable[[Any, Any], Any]
    start: Any  # (samples, size)


def problems() -> list[Problem]:
    """Small, varied, and the same on every machine."""
    draw = np.random.default_rng(0)
    n = 100
    basis = np.linalg.qr(draw.normal(size=(n, n)))[0]
    offset = draw.normal(size=(1, n))

    def linear(name: str, matrix: Any) -> Problem:
        return Problem(name, lambda z, _: z @ jnp.asarray(matrix) + offset, jnp.zeros((1, n)))

    slow = basis * np.linspace(-0.99, 0.99, n) @ basis.T
    rotating = draw.normal(size=(n, n)) / n**0.5 * 0.95
    expansive = basis * np.linspace(-4.0, 0.5, n) @ basis.T
    return [
        Problem("cosine", lambda z, _: jnp.cos(z), jnp.ones((1, 1))),
        linear("linear, spectrum [-0.99, 0.99]", slow),
        linear("linear, disc of radius 0.95", rotating),
        linear("linear, spectrum [-4, 0.5]", expansive),
        _radiation(),
        _ignition(),
        _nonnegative(draw),
        _transport(draw),
        _cell("tanh cell, gain 0.9", 0.9, draw),
        _cell("tanh cell, gain 1.5", 1.5, draw),
    ]


def _radiation(n: int = 100, albedo: float = 0.9999) -> Problem:
    """Chandrasekhar's H-equation, close to where its Jacobian is singular."""
    angles = (np.arange(n) + 0.5) / n
    kernel = jnp.asarray(albedo / 2 / n * angles[:, None] / (angles[:, None] + angles[None, :]))
    return Problem("H-equation, albedo 0.9999", lambda z, _: 1 / (1 - z @ kernel.T), jnp.ones((1, n)))


def _ignition(n: int = 63, parameter: float = 3.0) -> Problem:
    """Bratu's equation `u'' + parameter exp(u) = 0`, by Picard's iteration; it has no solution beyond 3.51."""
    stencil = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    inverse = jnp.asarray(np.linalg.inv(stencil) / (n + 1) ** 2)
    return Problem("Bratu, parameter 3", lambda z, _: parameter * jnp.exp(z) @ inverse.T, jnp.zeros((1, n)))


def _nonnegative(draw: np.random.Generator) -> Problem:
    """Projected gradient steps for nonnegative least squares: piecewise linear."""
    a, b = draw.normal(size=(80, 40)), draw.normal(size=80)
    step = 1 / np.linalg.norm(a, 2) ** 2
    hessian, slope = jnp.asarray(np.eye(40) - step * a.T @ a), jnp.asarray(step * a.T @ b)
    return Problem("nonnegative least squares", lambda z, _: jax.nn.relu(z @ hessian + slope[None]), jnp.zeros((1, 40)))


def _transport(draw: np.random.Generator, sharpness: float = 20.0) -> Problem:
    """Sinkhorn's iteration for entropic transport between two sets of points, on the logarithms."""
    cost = jnp.asarray(np.abs(draw.uniform(size=(40, 1)) - draw.uniform(size=(1, 40))) * sharpness)

    def iteration(z: Any, _: Any) -> Any:
        rows = -jax.nn.logsumexp(z[:, None, :] - cost[None], axis=2)
        return -jax.nn.logsumexp(rows[:, :, None] - cost[None], axis=1)

    return Problem("Sinkhorn", iteration, jnp.zeros((1, 40)))


def _cell(name: str, gain: float, draw: np.random.Generator) -> Problem:
    """The cell of a deep equilibrium: 32 samples of 128 numbers."""
    weight = jnp.asarray(draw.normal(size=(128, 128)) * gain / 128**0.5)
    inputs = jnp.asarray(draw.normal(size=(32, 128)))
    return Problem(name, lambda z, _: jnp.tanh(z @ weight + inputs), jnp.zeros((32, 128)))


def contenders() -> dict[str, Any]:
    """The solvers, those of optimistix that are meant for this among them."""
    settings = {"rtol": TOLERANCE, "atol": 0.0, "criterion": "relative", "batched": True}
    make = {
        "plain iteration": functools.partial(solvers.Damped, adaptive=False),
        "Damped": solvers.Damped,
        "Anderson": solvers.Anderson,
        "Anderson, memory 10": functools.partial(solvers.Anderson, memory=10),
        "Anderson, memory 20": functools.partial(solvers.Anderson, memory=20),
        "Anderson, type I": functools.partial(solvers.Anderson, kind=1),
        "Anderson, safeguard 10": functools.partial(solvers.Anderson, safeguard=10.0),
        "Anderson, restart 10": functools.partial(solvers.Anderson, memory=10, restart=10),
        "Broyden": solvers.Broyden,
        "Broyden, bad": functools.partial(solvers.Broyden, kind="bad"),
        "Broyden, memory 5": functools.partial(solvers.Broyden, memory=5),
        "Broyden, no search": functools.partial(solvers.Broyden, line_search=False),
        "NewtonKrylov": solvers.NewtonKrylov,
    }
    return {name: maker(**settings) for name, maker in make.items()}


def evaluations(problem: Problem, solver: Any) -> float | None:
    """The mean over the samples, or nothing if one of them has not converged; what it says is checked against the map."""
    solution = optx.fixed_point(problem.map, solver, problem.start, max_steps=MOST, throw=False)
    if not bool(jnp.all(solution.stats["converged"])):
        return None
    image = problem.map(solution.value, None)
    size = jnp.linalg.norm(image - solution.value, axis=1) / jnp.linalg.norm(image, axis=1)
    assert float(jnp.max(size)) <= TOLERANCE * (1 + 1e-6), (problem.name, solver)
    return float(jnp.mean(solution.stats["num_steps"]))


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    chosen = problems()
    figures = {
        name: {problem.name: evaluations(problem, solver) for problem in chosen}
        for name, solver in contenders().items()
    }
    rows = [
        [problem.name, *("-" if row[problem.name] is None else f"{row[problem.name]:.0f}" for row in figures.values())]
        for problem in chosen
    ]
    solved = ["solved", *(str(sum(value is not None for value in row.values())) for row in figures.values())]
    text = table(["problem", *figures], [*rows, solved]) + "\n\n" + NOTE
    record("fixed_point", "Fixed-point solvers", text, figures)


if __name__ == "__main__":
    main()
