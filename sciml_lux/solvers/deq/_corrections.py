"""Iterates on the way to an equilibrium, with gradients, for losses that ask them to be right early."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, PyTree

from ._cell import Cell


def iterates(search: Callable[..., Any], cell: Cell, z0: Array, inputs: PyTree, number: int) -> Array:
    """`(number, samples, size)`: where `search` comes to from `z0`, from there, and so on, each moved on by one application of the cell.

    Only that application is differentiated, as by `JacobianFreeGradient`.
    """
    detached = jax.tree.map(lax.stop_gradient, inputs)

    def segment(z: Array, _: None) -> tuple[Array, Array]:
        z = search(cell, z, detached).z
        return z, z

    _, zs = lax.scan(segment, lax.stop_gradient(z0), None, length=number)
    return jax.vmap(lambda z: cell(z, inputs))(lax.stop_gradient(zs))
