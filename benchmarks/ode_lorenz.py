"""Lorenz in float64: values to t = 100, values and gradients to t = 10, against SciPy and diffrax by hand.

Ours with Tsit5 at a tolerance of 1e-8 sets the error; every other contender has the loosest tolerance whose error is no larger. At t = 100
an error made at the start has grown by about e^90, so that no two programs agree there: the long solve is timed only, and what a contender
achieves is its error at t = 10, before which errors grow by about e^9. Gradients are those of all three states at t = 10 with
respect to the three parameters; SciPy solves the equations of sensitivity beside the states.

    python benchmarks/ode_lorenz.py
"""

import dataclasses
import functools
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numba
import numpy as np
import scipy.integrate
from harness import alternate, record, shown, table

import sciml_lux as lux

jax.config.update("jax_enable_x64", True)

TOLERANCE, LONG, SHORT, MAX_STEPS = 1e-8, 100.0, 10.0, 100_000
TOLERANCES = (1e-6, 3e-7, 1e-7, 3e-8, 1e-8, 3e-9, 1e-9, 3e-10, 1e-10, 1e-11, 1e-12)
START, PARAMETERS = np.array([1.0, 1.0, 1.0]), np.array([10.0, 28.0, 8.0 / 3.0])


class Lorenz(lux.AbstractLayer):
    """Parameters: `rates` (3,), that is sigma, rho and beta."""

    def initial_parameters(self, key: Any) -> Any:
        return {"rates": PARAMETERS}

    def __call__(self, y: Any, ps: Any, st: Any) -> Any:
        return lorenz(0.0, y, ps.rates), st


def lorenz(t: Any, y: Any, rates: Any) -> Any:
    return jnp.stack([rates[0] * (y[1] - y[0]), y[0] * (rates[1] - y[2]) - y[1], y[0] * y[1] - rates[2] * y[2]])


def plain(t: float, y: Any, sigma: float, rho: float, beta: float) -> Any:
    return np.array([sigma * (y[1] - y[0]), y[0] * (rho - y[2]) - y[1], y[0] * y[1] - beta * y[2]])


def sensitivities(t: float, y: Any, sigma: float, rho: float, beta: float) -> Any:
    """The states and, three at a time, their derivatives with respect to sigma, rho and beta."""
    dy = np.empty(12)
    dy[0] = sigma * (y[1] - y[0])
    dy[1] = y[0] * (rho - y[2]) - y[1]
    dy[2] = y[0] * y[1] - beta * y[2]
    for i in (3, 6, 9):
        dy[i] = sigma * (y[i + 1] - y[i])
        dy[i + 1] = (rho - y[2]) * y[i] - y[i + 1] - y[0] * y[i + 2]
        dy[i + 2] = y[1] * y[i] + y[0] * y[i + 1] - beta * y[i + 2]
    dy[3] += y[1] - y[0]
    dy[7] += y[0]
    dy[11] -= y[2]
    return dy


def ours(solver: Any, end: float, gradient: bool, tolerance: float) -> Any:
    node = lux.NeuralODE(
        Lorenz(),
        t1=end,
        solver=solver,
        rtol=tolerance,
        atol=tolerance,
        max_steps=MAX_STEPS,
        # As under least squares; without a gradient nothing need be said.
        adjoint=diffrax.ForwardMode() if gradient else "auto",
    )
    ps, st = lux.setup(jax.random.key(0), node)
    return program(lambda rates: node(START, ps.replace(rates), st)[0], gradient)


def by_hand(solver: Any, end: float, gradient: bool, tolerance: float) -> Any:
    def final(rates: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lorenz),
            solver,
            t0=0.0,
            t1=end,
            dt0=None,
            y0=jnp.asarray(START),
            args=rates,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            adjoint=diffrax.ForwardMode(),
            max_steps=MAX_STEPS,
        )
        return solution.ys[-1]

    return program(final, gradient)


def program(final: Any, gradient: bool) -> Any:
    """The values at the end, and under them, one row each, their derivatives in the three parameters."""

    def twice(rates: Any) -> Any:
        value = final(rates)
        return value, value

    def both(rates: Any) -> Any:
        columns, value = jax.jacfwd(twice, has_aux=True)(rates)
        return jnp.concatenate([value, columns.T.reshape(-1)])

    return functools.partial(jax.jit(both if gradient else final), jnp.asarray(PARAMETERS))


def by_scipy(method: str, compiled: bool, end: float, gradient: bool, tolerance: float) -> Any:
    right = sensitivities if gradient else plain
    right = numba.njit(right) if compiled else right
    start = np.concatenate([START, np.zeros(9)]) if gradient else START

    def run() -> Any:
        solution = scipy.integrate.solve_ivp(
            right, (0.0, end), start, method=method, rtol=tolerance, atol=tolerance, args=tuple(PARAMETERS)
        )
        return solution.y[:, -1]

    return run


@dataclasses.dataclass(frozen=True)
class Contender:
    """`make(end, gradient, tolerance)` is a function of nothing."""

    name: str
    make: Any


CONTENDERS = [
    Contender("sciml_lux, Tsit5", functools.partial(ours, diffrax.Tsit5())),
    Contender("sciml_lux, Dopri8", functools.partial(ours, diffrax.Dopri8())),
    Contender("diffrax by hand, Tsit5", functools.partial(by_hand, diffrax.Tsit5())),
    Contender("diffrax by hand, Dopri8", functools.partial(by_hand, diffrax.Dopri8())),
    Contender("SciPy DOP853", functools.partial(by_scipy, "DOP853", False)),
    Contender("SciPy DOP853, numba", functools.partial(by_scipy, "DOP853", True)),
    Contender("SciPy RK45, numba", functools.partial(by_scipy, "RK45", True)),
    Contender("SciPy LSODA, numba", functools.partial(by_scipy, "LSODA", True)),
]


def field_alone(evaluations: int) -> Any:
    @jax.jit
    def run(y: Any, rates: Any) -> Any:
        return jax.lax.fori_loop(0, evaluations, lambda _, y: y + 1e-5 * lorenz(0.0, y, rates), y)

    return functools.partial(run, jnp.asarray(START), jnp.asarray(PARAMETERS))


def steps_of_tsit5() -> int:
    node = lux.NeuralODE(Lorenz(), t1=LONG, rtol=TOLERANCE, atol=TOLERANCE, max_steps=MAX_STEPS)
    ps, st = lux.setup(jax.random.key(0), node)
    return int(jax.jit(node)(START, ps, st)[1].solution.num_steps)


def error(run: Any, exact: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(run()) - exact)))


def tolerances(exact: np.ndarray) -> dict[str, float]:
    """Of each contender, the loosest with the error of the first one."""
    wanted = error(CONTENDERS[0].make(SHORT, False, TOLERANCE), exact)

    def loosest(make: Any) -> float:
        for tolerance in TOLERANCES:
            # The noise of the error itself is about as large as this.
            if error(make(SHORT, False, tolerance), exact) <= 1.1 * wanted:
                return tolerance
        raise RuntimeError(f"none of the tolerances gives an error of {wanted:.1e}")

    return {CONTENDERS[0].name: TOLERANCE, **{each.name: loosest(each.make) for each in CONTENDERS[1:]}}


def main() -> None:
    exact = by_scipy("DOP853", True, SHORT, True, 1e-13)()
    chosen = tolerances(exact[:3])
    long = {each.name: each.make(LONG, False, chosen[each.name]) for each in CONTENDERS}
    short = {each.name: each.make(SHORT, False, chosen[each.name]) for each in CONTENDERS}
    gradient = {each.name: each.make(SHORT, True, chosen[each.name]) for each in CONTENDERS}
    errors = {name: error(run, exact[:3]) for name, run in short.items()}
    found = {name: np.asarray(run())[3:] for name, run in gradient.items()}
    wrong = {name: float(np.linalg.norm(got - exact[3:]) / np.linalg.norm(exact[3:])) for name, got in found.items()}
    times, gradient_times = alternate(long), alternate(gradient)
    evaluations = 6 * steps_of_tsit5() + 1
    floor = alternate({"field": field_alone(evaluations)})["field"]
    own = CONTENDERS[0].name
    rows = [
        [
            name,
            f"{chosen[name]:.0e}",
            f"{errors[name]:.1e}",
            shown(times[name]),
            f"{times[name] / times[own]:.1f}",
            shown(gradient_times[name]),
            f"{gradient_times[name] / gradient_times[own]:.1f}",
            f"{wrong[name]:.1e}",
        ]
        for name in times
    ]
    rows.append(["the field alone, Tsit5", "", "", shown(floor), f"{floor / times[own]:.2f}", "", "", ""])
    head = [
        "",
        "tolerance",
        "error at 10",
        "values to 100",
        "x ours",
        "values and gradients to 10",
        "x ours",
        "error of the gradients",
    ]
    text = (
        table(head, rows)
        + f"\n\nrtol = atol, the loosest with the error of the first row; `x ours`: of its time. The field alone: {evaluations} calls."
    )
    figures = {
        "long": times,
        "gradient": gradient_times,
        "error": errors,
        "gradient_error": wrong,
        "field_alone": floor,
        "tolerance": chosen,
    }
    record("ode_lorenz", "Lorenz", text, figures, "scipy", "numba")


if __name__ == "__main__":
    main()
