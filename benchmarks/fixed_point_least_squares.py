"""Whether Anderson's least squares by inner products lose digits against those by QR: steps in float32; nothing is timed.

python benchmarks/fixed_point_least_squares.py
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optimistix as optx
from harness import record, table

from sciml_lux import solvers

SIZE, PROBLEMS, MOST = 100, 8, 400
TOLERANCE = 1e-5  # of the residual, relative to the first one
REGULARIZATIONS = (None, 0.0, 1e-4)
NOTE = (
    f"`z = A z + b` with {SIZE} unknowns in float32, A symmetric, its eigenvalues evenly spread from 0 to the largest; {PROBLEMS} random "
    f"problems: median (least to most) steps until the residual is {TOLERANCE:g} of the first one; where some problem does not get there "
    f"within {MOST}, the least residual of each instead. QR: a factorization of the differences by LAPACK in float32, anew at each step."
)


def problem(largest: float, draw: np.random.Generator) -> tuple[Any, Any]:
    basis = np.linalg.qr(draw.normal(size=(SIZE, SIZE)))[0]
    matrix = basis * np.linspace(0.0, largest, SIZE) @ basis.T
    return matrix.astype(np.float32), draw.normal(size=SIZE).astype(np.float32)


def by_qr(matrix: Any, offset: Any, memory: int) -> np.ndarray:
    """The norms of the residuals of all steps."""
    z = np.zeros_like(offset)
    before = None
    residual_steps, value_steps, norms = [], [], []
    for _ in range(MOST):
        value = matrix @ z + offset
        residual = value - z
        norms.append(np.linalg.norm(residual))
        if before is not None:
            residual_steps = [*residual_steps, residual - before[0]][-memory:]
            value_steps = [*value_steps, value - before[1]][-memory:]
        before = residual, value
        z = value
        if residual_steps:
            q, r = np.linalg.qr(np.stack(residual_steps, axis=1))
            z = value - np.stack(value_steps, axis=1) @ np.linalg.lstsq(r, q.T @ residual)[0]
    return np.array(norms)


def _step(z: Any, args: Any) -> Any:
    matrix, offset = args
    return matrix @ z + offset


def by_inner_products(matrix: Any, offset: Any, memory: int, regularization: float | None) -> np.ndarray:
    solver = solvers.Anderson(
        rtol=0.0, atol=1e-30, norm=jnp.linalg.norm, memory=memory, regularization=regularization, trace=MOST
    )
    start = jnp.zeros_like(offset)
    solution = optx.fixed_point(_step, solver, start, (matrix, offset), max_steps=MOST, throw=False)
    return np.asarray(solution.stats["residuals"]).reshape(-1)


def summary(norms: list[np.ndarray]) -> str:
    reached = [np.flatnonzero(each <= TOLERANCE * each[0]) for each in norms]
    if all(each.size for each in reached):
        steps = [each[0] + 1 for each in reached]
        return f"{np.median(steps):.0f} ({min(steps)} to {max(steps)})"
    least = [np.nanmin(each) / each[0] for each in norms]
    return f"{np.median(least):.1e} ({min(least):.1e} to {max(least):.1e})"


def main() -> None:
    rows = []
    for largest in (0.99, 0.999):
        for memory in (5, 10, 20):
            draw = np.random.default_rng(0)
            given = [problem(largest, draw) for _ in range(PROBLEMS)]
            row = [f"{largest}", f"{memory}", summary([by_qr(*each, memory) for each in given])]
            for regularization in REGULARIZATIONS:
                row.append(summary([by_inner_products(*each, memory, regularization) for each in given]))
            rows.append(row)
            print(row)
    head = ["largest eigenvalue", "memory", "QR", "ours", "not regularized", "regularization 1e-4"]
    record(
        "fixed_point_least_squares",
        "Anderson's least squares in float32",
        table(head, rows) + "\n\n" + NOTE,
        {"rows": rows},
    )


if __name__ == "__main__":
    main()
