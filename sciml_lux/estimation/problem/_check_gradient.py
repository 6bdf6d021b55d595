"""Whether a gradient is right: automatic differentiation beside differences, for each parameter by its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ...flatten import FlatParams


@dataclass(frozen=True)
class GradientCheck:
    """For each number of the vector: `names`, `gradient` by automatic differentiation, `differences`, and `errors`: how uncertain these
    are.

    `agrees`: whether they differ by no more than their errors, ten times over, for every name.
    """

    names: tuple[str, ...]
    gradient: Float[np.ndarray, " size"]
    differences: Float[np.ndarray, " size"]
    errors: Float[np.ndarray, " size"]

    @property
    def okay(self) -> np.ndarray:
        """For each name."""
        floor = np.sqrt(np.finfo(np.float64).eps) * np.max(np.abs(self.gradient), initial=0.0)
        return np.abs(self.gradient - self.differences) <= 10 * self.errors + floor

    @property
    def agrees(self) -> bool:
        return bool(np.all(self.okay))

    def __str__(self) -> str:
        width = max([len(name) for name in self.names], default=4)
        lines = [f"{'name':{width}}  {'gradient':>14}  {'difference':>14}  {'its error':>10}"]
        for name, one, other, error, okay in zip(
            self.names, self.gradient, self.differences, self.errors, self.okay, strict=True
        ):
            lines.append(f"{name:{width}}  {one:14.7g}  {other:14.7g}  {error:10.2g}{'' if okay else '  <- differs'}")
        return "\n".join(lines)


def compare_gradients(objective: Callable[[Any], Any], ps: FlatParams) -> GradientCheck:
    """Central differences of fourth order at three steps: the middle one, and how far the others are from it."""
    dtype, at = ps.layout.dtype, np.asarray(ps.vector, np.float64)
    epsilon = float(jnp.finfo(dtype).eps)
    gradient = np.asarray(jax.jacfwd(objective)(ps.vector), np.float64)
    differences, errors = np.zeros_like(at), np.zeros_like(at)
    for i in range(at.size):
        steps = epsilon ** np.array([0.15, 0.2, 0.25]) * max(1.0, abs(at[i]))

        def along(step: float, i: int = i) -> float:
            moved = at.copy()
            moved[i] += step
            return float(objective(jnp.asarray(moved, dtype)))

        found = [(8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h) for h in steps]
        spreads = np.abs(np.diff(found))
        differences[i], errors[i] = found[1], np.max(spreads)
    labels = [
        f"{entry.path}[{j}]" if entry.size > 1 else entry.path for entry in ps.layout.entries for j in range(entry.size)
    ]
    return GradientCheck(tuple(labels), gradient, differences, errors)
