"""What the gradients of explicit Runge-Kutta methods share: the tableau, a state as one vector, the stages of a step."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


class Tableau(NamedTuple):
    """An explicit method with `s` stages: `a` (strictly lower triangular), `b`, `c`, and `b_error`, result minus embedded result."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    b_error: np.ndarray

    def advancing(self) -> "Tableau":
        """Without the stages at the end that the result does not need, but only the error estimate or the interpolation."""
        size = int(np.flatnonzero(self.b)[-1]) + 1
        return Tableau(self.a[:size, :size], self.b[:size], self.c[:size], self.b_error[:size])


def tableau_of(solver: diffrax.AbstractERK) -> Tableau:
    tableau: Any = solver.tableau
    a = np.zeros((tableau.num_stages, tableau.num_stages))
    for i, row in enumerate(tableau.a_lower):
        a[i + 1, : len(row)] = row
    return Tableau(a, np.asarray(tableau.b_sol), np.asarray([0.0, *tableau.c]), np.asarray(tableau.b_error))


class Shape(NamedTuple):
    """How a tree of arrays of one dtype is laid out in a vector."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tree: Any) -> "Shape":
        return cls(jax.tree.structure(tree), tuple(leaf.shape for leaf in jax.tree.leaves(tree)))

    def vector(self, tree: Any) -> Float[Array, " state"]:
        return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])

    def tree(self, vector: Float[Array, " state"]) -> Any:
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        pieces = jnp.split(vector, ends[:-1]) if len(ends) > 1 else [vector]
        leaves = [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


def weighted(weights: Any, k: Float[Array, "stages *state"]) -> Float[Array, "*state"]:
    """The sum of `weights[i] k[i]`, in the full precision of `k` on every device."""
    return jnp.tensordot(jnp.asarray(weights, k.dtype), k, axes=1, precision=lax.Precision.HIGHEST)


def stages(
    slope: Callable[[Any, Any], Any], tableau: Tableau, t0: Any, t1: Any, y0: Float[Array, " state"]
) -> Float[Array, "stages state"]:
    """`k_i = slope(t0 + c_i (t1 - t0), y0 + sum_j a_ij k_j)`, where `slope` is the field times the step.

    The field is traced once, for a loop over the stages; also its derivative is, if this is differentiated.
    """

    def stage(k: Any, row: Any) -> tuple[Any, None]:
        i, a_i, c_i = row
        t = jnp.where(c_i == 1, t1, t0 + c_i * (t1 - t0))
        y = y0 + weighted(a_i, k)
        return k.at[i].set(slope(t, y).astype(k.dtype)), None

    rows = (
        jnp.arange(tableau.b.size),
        jnp.asarray(tableau.a, y0.dtype),
        jnp.asarray(tableau.c, jnp.result_type(t0)),
    )
    return lax.scan(stage, jnp.zeros((tableau.b.size, y0.size), y0.dtype), rows)[0]
