"""Many starts of a published model (STAT5, Boehm et al. 2014): how many reach the optimum, and how long a start takes.

Fides is given the same likelihood, gradient and Fisher's information, compiled, and the same starts; starts alternate.

python benchmarks/estimation_starts.py [starts]
"""

import logging
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import record, table

import sciml_lux as lux

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
import boehm

jax.config.update("jax_enable_x64", True)
est = lux.estimation
PUBLISHED, TOLERANCE = -boehm.LOG_LIKELIHOOD, 0.1


def ours(problem: Any, start: Any) -> tuple[float, float]:
    began = time.perf_counter()
    fit = est.fit(problem, start, budget=est.Budget(steps=150))
    return fit.objective, time.perf_counter() - began


def fides_of(problem: Any, layout: Any) -> Any:
    """A search by Fides from one start."""
    import fides

    function, arrays, st = problem.function, problem.arrays, problem.state

    @jax.jit
    def evaluate(vector: jax.Array) -> Any:
        def rows(vector: jax.Array) -> Any:
            terms = function(lux.FlatParams(vector, layout).params, st, arrays)
            return jnp.concatenate(list(terms.rows.values())), terms.objective

        residual, tangent, objective = jax.linearize(rows, vector, has_aux=True)
        jacobian = jax.vmap(tangent, out_axes=1)(jnp.eye(vector.size))
        return objective, residual @ jacobian, jacobian.T @ jacobian

    def objective(vector: np.ndarray) -> Any:
        with lux.core.differentiation_mode("forward"), lux.core.failure_mode("nan"):
            value, gradient, information = map(np.asarray, evaluate(jnp.asarray(vector)))
        return float(value), gradient, information

    low, high = (np.full(layout.size, np.log(end)) for end in (1e-5, 1e5))
    settings = {fides.Options.MAXITER: 500}

    def search(start: np.ndarray) -> tuple[float, float]:
        began = time.perf_counter()
        optimizer = fides.Optimizer(objective, ub=high, lb=low, verbose=logging.ERROR, options=settings)
        value = optimizer.minimize(np.array(start))[0]
        return float(value), time.perf_counter() - began

    return search


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    problem = boehm.problem_of(1e-8)
    starts = est.sample_starts(jax.random.key(1), problem, number)
    theirs = fides_of(problem, starts.layout)
    ours(problem, starts.replace(starts.vector[0])), theirs(starts.vector[0])  # compile
    found = {"ours": [], "fides": []}
    for row in starts.vector:
        found["ours"].append(ours(problem, starts.replace(row)))
        found["fides"].append(theirs(np.asarray(row)))
    summary, lines = {}, []
    for name, results in found.items():
        values, seconds = np.array(results).T
        reached = int(np.sum(values <= PUBLISHED + TOLERANCE))
        summary[name] = {"reached": reached, "seconds": float(np.mean(seconds)), "best": float(np.min(values))}
        each = f"{np.sum(seconds) / reached:.1f} s" if reached else "none"
        lines.append([name, f"{reached} of {number}", f"{np.min(values):.4f}", f"{np.mean(seconds):.2f} s", each])
    text = table(["", "within 0.1 of the optimum", "best objective", "a start", "an optimum"], lines)
    text += "\n\nTarget: at least as many starts as Fides."
    record("estimation_starts", "Many starts: STAT5", text, summary, "fides")


if __name__ == "__main__":
    main()
