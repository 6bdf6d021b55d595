"""Iterates on the way to an equilibrium, with gradients, for losses that ask them to be right early."""

from typing import Any

import jax
from jax import lax
from jaxtyping import Array

from ._cell import Cell
from ._find import find


def iterates(solver: Any, cell: Cell, z0: Array, inputs: Any, number: int, steps: int) -> Array:
    """`(number, samples, size)`: after `steps`, `2 * steps`, ... steps of the solver, each of them moved on by one application of the model.

    Only that application is differentiated, as by `JacobianFreeGradient`.
    """
    detached = jax.tree.map(lax.stop_gradient, inputs)

    def segment(z: Array, _: Any) -> tuple[Array, Array]:
        z = find(solver, cell, z, detached, steps).z
        return z, z

    _, zs = lax.scan(segment, lax.stop_gradient(z0), None, length=number)
    return jax.vmap(lambda z: cell(z, inputs))(lax.stop_gradient(zs))
