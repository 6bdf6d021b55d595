"""The small linear systems of all samples at once, without a library call for each of them."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact


def inner_products(
    left: Inexact[Array, "samples slots size"], right: Inexact[Array, "samples size"]
) -> Inexact[Array, "samples slots"]:
    """The inner product of every slot of each sample with its row of `right`.

    The sample axis leads in every history: with the slots first it would be a strided product, which is slow on a CPU.
    """
    return jnp.einsum("smd,sd->sm", left.conj(), right, precision=lax.Precision.HIGHEST)


def combine(
    weights: Inexact[Array, "samples slots"], slots: Inexact[Array, "samples slots size"]
) -> Inexact[Array, "samples size"]:
    """The sum of the slots of each sample, each with its weight."""
    return jnp.einsum("sm,smd->sd", weights, slots, precision=lax.Precision.HIGHEST)


def solve_scaled(
    matrix: Inexact[Array, "samples slots slots"],
    target: Inexact[Array, "samples slots"],
    used: Bool[Array, "samples slots"],
    rows: Float[Array, "samples slots"],
    columns: Float[Array, "samples slots"],
    damping: float,
    pivot: bool,
) -> Inexact[Array, "samples slots"]:
    """`x` of `matrix x = target` over the slots that are `used`, 0 elsewhere, by elimination.

    `rows` and `columns` are the lengths of the vectors of which `matrix` holds the inner products: divided by them, it holds cosines,
    to whose diagonal `damping` is added. Without `pivot` the matrix must be positive definite then.
    """
    slots = target.shape[1]
    used = used & (rows > 0) & (columns > 0)
    left, right = (jnp.where(used, 1 / jnp.where(used, length, 1), 0) for length in (rows, columns))
    pairs = used[:, :, None] & used[:, None, :]
    cosines = jnp.where(pairs, matrix * (left[:, :, None] * right[:, None, :]).astype(matrix.dtype), 0)
    diagonal = jnp.where(used, damping, 1).astype(matrix.dtype)[:, :, None] * jnp.eye(slots, dtype=matrix.dtype)[None]
    scaled = jnp.where(used, target * left.astype(target.dtype), 0)
    # The samples last, so that each operation of the elimination is one on whole vectors of them.
    system = jnp.concatenate([cosines + diagonal, scaled[:, :, None]], axis=2).transpose(1, 2, 0)
    x = _eliminate(system, pivot).T
    return jnp.where(used & jnp.isfinite(x), x * right.astype(x.dtype), 0)


def _eliminate(system: Inexact[Array, "slots columns samples"], pivot: bool) -> Inexact[Array, "slots samples"]:
    """Gauss-Jordan elimination of all samples at once; the right-hand side is the last column."""
    places = jnp.arange(system.shape[0])

    def body(k: Array, system: Array) -> Array:
        if pivot:
            system = _largest_first(system, k, places)
        row = system[k] / system[k, k][None]
        column = jnp.where((places == k)[:, None], 0, system[:, k])
        return (system - column[:, None] * row[None]).at[k].set(row)

    return lax.fori_loop(0, system.shape[0], body, system)[:, -1]


def _largest_first(system: Array, k: Array, places: Array) -> Array:
    """Rows swapped such that the pivot of column `k` is the largest of those at and below it."""
    size = jnp.where((places >= k)[:, None], jnp.abs(system[:, k]), -1)
    chosen = places[:, None] == jnp.argmax(size, axis=0)[None]
    here = (places == k)[:, None]
    best = jnp.sum(jnp.where(chosen[:, None], system, 0), axis=0)
    swapped = jnp.where(chosen[:, None], system[k][None], system)
    return jnp.where(here[:, None], best[None], swapped)
