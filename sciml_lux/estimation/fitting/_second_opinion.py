"""The same search by SciPy, which shares nothing with ours but the objective and its gradient."""

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float

from .._bounds import Box
from ..problem import Arrays
from ._search import Budget, Search, Task


def by_scipy(task: Task, vector: Float[Array, " size"], box: Box, arrays: Arrays, budget: Budget) -> Search:
    """L-BFGS-B, over the same coordinates and within the same bounds, in units of what a large change of each is."""
    dtype = task.layout.dtype
    units = np.where(np.asarray(task.sizes) > 0, np.asarray(task.sizes, np.float64), 1.0)

    def objective(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = task.look(jnp.asarray(scaled * units, dtype), box, arrays)
        # A point where the model has no finite result is worse than any.
        return (value, gradient * units) if np.isfinite(value) else (1e300, np.zeros(len(units)))

    low, high = (np.asarray(end, np.float64) / units for end in (box.lower, box.upper))
    found = scipy.optimize.minimize(
        objective,
        np.asarray(vector, np.float64) / units,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low.tolist(), high.tolist(), strict=True)),
        options={"maxiter": budget.steps, "ftol": 1e-15, "gtol": 1e-9},
    )
    point = jnp.clip(jnp.asarray(found.x * units, dtype), box.lower, box.upper)
    there = task.run(point, box, arrays, Budget(steps=1))
    reason = (
        there.reason
        if not np.isfinite(there.summary.objective)
        else ""
        if found.success
        else f"L-BFGS-B: {found.message}"
    )
    return there._replace(num_steps=int(found.nit), successful=bool(found.success) and not reason, reason=reason)
