"""The same search by SciPy, which shares nothing with ours but the objective and its derivatives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float

from .._bounds import Box
from ..noise import Normal as NormalNoise
from ..priors import Normal as NormalPrior
from ..problem import Arrays
from ._search import Budget, Search, Task, evaluate

_BY_GRADIENT = ("L-BFGS-B", "TNC", "SLSQP", "trust-constr")
_BY_JACOBIAN = ("trf", "dogbox")
METHODS = tuple(f"scipy:{name}" for name in (*_BY_JACOBIAN, *_BY_GRADIENT))

# What a function value that is not finite counts as: worse than any.
_WORST = 1e300


class _Scaled(NamedTuple):
    """A search in units of what a large change of each coordinate is."""

    task: Task
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    units: np.ndarray
    box: Box
    arrays: Arrays
    steps: int
    name: str


def by_scipy(
    task: Task, vector: Float[Array, " size"], box: Box, arrays: Arrays, budget: Budget, method: str
) -> Search:
    """Over the same coordinates and within the same bounds, in units of what a large change of each is.

    **Errors:** `ValueError` for a method of least squares where what is maximised is no sum of squares.
    """
    units = np.where(np.asarray(task.sizes) > 0, np.asarray(task.sizes, np.float64), 1.0)
    low, high = (np.asarray(end, np.float64) / units for end in (box.lower, box.upper))
    start, name = np.clip(np.asarray(vector, np.float64) / units, low, high), method.removeprefix("scipy:")
    search = _least_squares if name in _BY_JACOBIAN else _minimize
    found, steps = search(_Scaled(task, start, low, high, units, box, arrays, budget.steps, name))
    dtype = task.layout.dtype
    point = jnp.clip(jnp.asarray(found.x * units, dtype), box.lower, box.upper)
    there = task.run(point, box, arrays, Budget(steps=1))
    reason = (
        there.reason
        if not np.isfinite(there.summary.objective)
        else ""
        if found.success
        else f"{method}: {found.message}"
    )
    return there._replace(num_steps=steps, successful=bool(found.success) and not reason, reason=reason)


def _minimize(search: _Scaled) -> tuple[Any, int]:
    task, start, low, high, units, box, arrays, steps, name = search
    dtype = task.layout.dtype

    def objective(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = task.look(jnp.asarray(scaled * units, dtype), box, arrays)
        return (value, gradient * units) if np.isfinite(value) else (_WORST, np.zeros(len(units)))

    tight = {"L-BFGS-B": {"ftol": 1e-14, "gtol": 1e-6}, "TNC": {"ftol": 1e-15, "xtol": 1e-12}, "SLSQP": {"ftol": 1e-14}}
    most = {"maxfun": steps} if name == "TNC" else {"maxiter": steps}
    bounds = scipy.optimize.Bounds(low, high)  # pyright: ignore[reportArgumentType]
    found = scipy.optimize.minimize(
        objective, start, jac=True, method=name, bounds=bounds, options=most | tight.get(name, {"gtol": 1e-8})
    )
    return found, int(found.nit)


def _least_squares(search: _Scaled) -> tuple[Any, int]:
    task, start, low, high, units, _, arrays, steps, name = search
    _check_squares(task)
    # A fixed number has no room between its bounds, which this method wants.
    free = low < high
    whole, dtype = start.copy(), task.layout.dtype

    def looked(scaled: np.ndarray) -> Any:
        whole[free] = scaled
        with task.compiled() as cached:
            return evaluate(
                cached, task.layout, (whole * units).astype(dtype), np.asarray(np.inf, dtype), task.st, arrays
            )

    def rows(scaled: np.ndarray) -> np.ndarray:
        residual = np.asarray(looked(scaled).residual, np.float64)
        return np.where(np.isfinite(residual), residual, 1e100)

    def jacobian(scaled: np.ndarray) -> np.ndarray:
        columns = np.asarray(looked(scaled).jacobian, np.float64)[:, free] * units[free]
        return np.where(np.isfinite(columns), columns, 0.0)

    step: Callable[..., Any] = scipy.optimize.least_squares
    found = step(
        rows,
        start[free],
        jac=jacobian,
        bounds=(low[free], high[free]),
        method=name,
        max_nfev=steps,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    whole[free] = found.x
    found.x = whole
    return found, int(found.nfev)


def _check_squares(task: Task) -> None:
    function = task.problem.function
    known = all(
        type(noise) is NormalNoise and not isinstance(noise.spread, str) and not callable(noise.spread)
        for _, noise in function.simulation.noise
    )
    if not known or not all(type(prior) is NormalPrior for _, prior in function.priors):
        raise ValueError(
            "scipy:trf and scipy:dogbox minimise a sum of squares, which a likelihood is for normal noise of known size and normal priors "
            'alone; write method="scipy:L-BFGS-B"'
        )
