"""The problems of `estimation.py`: Lotka-Volterra for every contender, and what is timed in a process of its own.

python benchmarks/estimation_problems.py curve|ode|nist     prints seconds, by what was run
"""

import json
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

jax.config.update("jax_enable_x64", True)
est = lux.estimation
TS, NOISE, TOLERANCE = np.linspace(0.0, 3.0, 301), 0.05, 1e-9
Y0, TRUTH = np.array([1.0, 1.0]), {"a": 1.5, "b": 1.0, "c": 3.0, "d": 1.0}
TESTS = pathlib.Path(__file__).parents[1] / "tests"


class LotkaVolterra(lux.AbstractContainer):
    rates: lux.ParameterDict

    def __call__(self, y: Any, ps: Any, st: Any) -> Any:
        prey, predator = y
        p = ps.rates
        return jnp.stack([p.a * prey - p.b * prey * predator, -p.c * predator + p.d * prey * predator]), st


def node() -> Any:
    rates = lux.ParameterDict(**{name: lux.real(value) for name, value in TRUTH.items()})
    return lux.NeuralODE(LotkaVolterra(rates), t1=3.0, rtol=TOLERANCE, atol=TOLERANCE, throw=False)


def measured(model: Any, ps: Any, st: Any) -> np.ndarray:
    ys = np.asarray(model.solve(jnp.asarray(Y0), ps, st, ts=TS)[0].ys)
    return ys + NOISE * np.random.default_rng(0).normal(size=ys.shape)


def problem_of(model: Any, data: np.ndarray) -> Any:
    experiment = est.Experiment("lotka-volterra", TS, {"prey": data[:, 0], "predator": data[:, 1]}, y0=Y0)
    return est.Problem(model, est.Data([experiment]), observe={"prey": 0, "predator": 1}, noise=NOISE)


def starts(n: int) -> np.ndarray:
    """Within a factor of two of the truth."""
    return np.array(list(TRUTH.values())) * 2 ** np.random.default_rng(5).uniform(-1, 1, (n, 4))


def _timed(run: Any) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def curve() -> dict[str, float]:
    x = np.linspace(0.0, 3.0, 30)
    y = 2.5 * np.exp(-1.3 * x) + 0.01 * np.cos(40 * x)
    first = lambda x, a, b: a * jnp.exp(-b * x)  # noqa: E731
    other = lambda x, a, b: a * jnp.exp(-b * x) + 0.0  # noqa: E731
    fit = lambda f, n, **more: lambda: est.curve_fit(f, x[:n], y[:n], (1.0, 1.0), **more)  # noqa: E731
    found = {
        "the first `curve_fit` of a process": _timed(fit(first, 30)),
        "another function": _timed(fit(other, 30)),
        "another number of data": _timed(fit(first, 29)),
        "bounds": _timed(fit(first, 30, bounds=(0.0, 10.0))),
    }
    found["again"] = float(np.median([_timed(fit(first, 30)) for _ in range(30)]))
    return found


def ode() -> dict[str, float]:
    model = node()
    ps, st = lux.setup(jax.random.key(0), model)
    # Data by SciPy: a solve of ours would compile.
    import scipy.integrate

    field = lambda t, y: [1.5 * y[0] - y[0] * y[1], -3 * y[1] + y[0] * y[1]]  # noqa: E731
    ys = scipy.integrate.solve_ivp(field, (0, 3), Y0, t_eval=TS, rtol=1e-10, atol=1e-10).y.T
    data = ys + NOISE * np.random.default_rng(0).normal(size=ys.shape)
    start = ps.replace(jnp.asarray(starts(1)[0]))
    return {
        "the first fit of an ODE": _timed(lambda: est.fit(problem_of(model, data), start, st)),
        "of other data": _timed(lambda: est.fit(problem_of(model, data + 0.01), start, st)),
    }


def nist() -> dict[str, float]:
    sys.path.insert(0, str(TESTS / "estimation"))
    import test_estimation_nist as certified

    def all_of_them() -> None:
        for name, model in certified.MODELS.items():
            x, y, starts, values, *_ = certified.read(name)
            for start in starts:
                result = est.curve_fit(model, x, y, start)
                assert certified.digits([*result.values.values()], values) >= 9

    runs = 2 * len(certified.MODELS)
    return {f"{runs} runs of NIST's problems": _timed(all_of_them)}


if __name__ == "__main__":
    print(json.dumps({"curve": curve, "ode": ode, "nist": nist}[sys.argv[1]]()))
