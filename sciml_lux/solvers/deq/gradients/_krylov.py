"""Linear systems `u - A u = g` by Krylov methods, one for each row, all at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...fixed_point import gmres as one_cycle
from ...fixed_point import row_lengths, row_products


def divided(rows: Array, by: Array) -> Array:
    """Rows divided by numbers of their own, 0 where that number is 0."""
    return rows * jnp.where(by > 0, 1 / jnp.where(by > 0, by, 1), 0)[..., None]


def gmres(
    operator: Callable[[Array], Array], g: Array, wanted: Array, max_steps: int, restart: int
) -> tuple[Array, Array]:
    """The solution of each row by GMRES up to a residual of the norm `wanted`, and how many products with the operator it took.

    At each restart the residual is computed anew, with the true operator.
    """

    def product(rows: Array) -> Array:
        return rows - operator(rows)

    def cycle(carry: tuple[Array, ...]) -> Any:
        u, residual, num_steps, taken = carry
        length = row_lengths(residual)
        relative = jnp.where(length > 0, wanted / jnp.where(length > 0, length, 1), 1)
        correction, used = one_cycle(product, residual, relative, min(restart, max_steps))
        u = u + correction
        num_steps = num_steps + used + jnp.where(used > 0, 1, 0)
        return u, g - product(u), num_steps.astype(jnp.int32), (taken + jnp.max(used) + 1).astype(jnp.int32)

    start = (jnp.zeros_like(g), g, jnp.zeros((len(g),), jnp.int32), jnp.zeros((), jnp.int32))
    u, _, num_steps, _ = lax.while_loop(
        lambda carry: (carry[3] < max_steps) & jnp.any(row_lengths(carry[1]) > wanted), cycle, start
    )
    return u, num_steps


class _Half(NamedTuple):
    """Bi-CGSTAB between two products. `second`: whether the next one stabilizes what the one before it did."""

    second: Array
    u: Array
    residual: Array
    direction: Array
    image: Array
    rho: Array
    alpha: Array
    peak: Array  # the largest norm of the residual on the way
    done: Array
    num_steps: Array
    taken: Array


def bicgstab(operator: Callable[[Array], Array], g: Array, wanted: Array, max_steps: int) -> tuple[Array, Array]:
    """The solution of each row by stabilized biconjugate gradients up to a residual of the norm `wanted`, and how many products with
    the operator it took.

    Needs the memory of a few rows, whatever the number of steps. A step has two halves, each with one product: along the direction, and
    along the residual. Both move `u` and the residual alike, so that one program does for both.
    Where the residual was once so large that its rounding matters, it is computed anew, and rows that are not there yet go on from it.

    **Source:** van der Vorst 1992, Bi-CGSTAB.
    """

    eps = float(jnp.finfo(g.dtype).eps)

    def unsure(peak: Array) -> Array:
        # A residual that was large on the way, as where a length is nearly a quotient by 0, leaves its rounding in the one that is
        # carried on.
        return 4 * eps * peak > wanted

    def cycle(carry: tuple[Array, ...]) -> Any:
        u, peak, num_steps, taken = carry
        residual = lax.cond(taken > 0, lambda: g - (u - operator(u)), lambda: g)
        done = ~(row_lengths(residual) > wanted) | ~(unsure(peak) | (taken == 0))
        again = ((taken > 0) & unsure(peak)).astype(jnp.int32)
        taken = taken + jnp.max(again)
        return _bicgstab_from(operator, u, residual, wanted, done, num_steps + again, taken, max_steps)

    steps = jnp.zeros((len(g),), jnp.int32)
    start = (jnp.zeros_like(g), row_lengths(g), steps, jnp.zeros((), jnp.int32))
    u, _, num_steps, _ = lax.while_loop(
        lambda carry: (carry[3] == 0) | ((carry[3] < max_steps) & jnp.any(unsure(carry[1]))), cycle, start
    )
    return u, num_steps


def _bicgstab_from(
    operator: Callable[[Array], Array],
    u: Array,
    residual: Array,
    wanted: Array,
    done: Array,
    num_steps: Array,
    taken: Array,
    max_steps: int,
) -> tuple[Array, Array, Array, Array]:
    """Bi-CGSTAB from `u` with its `residual`: `u`, the largest norm of the residual, and the counts of products."""
    shadow = residual

    def half(carry: _Half) -> _Half:
        second, residual = carry.second, carry.residual
        along = jnp.where(second, residual, carry.direction)
        image = along - operator(along)
        upper = jnp.where(second, row_products(image, residual), carry.rho)
        length = jnp.where(carry.done, 0, _ratio(upper, row_products(jnp.where(second, image, shadow), image)))
        u, residual = carry.u + length[:, None] * along, residual - length[:, None] * image
        rho, size = row_products(shadow, residual), row_lengths(residual)
        beta = _ratio(rho, carry.rho) * _ratio(carry.alpha, length)
        turned = residual + beta[:, None] * (carry.direction - length[:, None] * carry.image)
        return _Half(
            ~second,
            u,
            residual,
            direction=jnp.where(second, turned, carry.direction),
            image=jnp.where(second, carry.image, image),
            rho=jnp.where(second, rho, carry.rho),
            alpha=jnp.where(second, carry.alpha, length),
            peak=jnp.maximum(carry.peak, size),
            done=carry.done | ~(size > wanted),
            num_steps=carry.num_steps + (~carry.done).astype(jnp.int32),
            taken=carry.taken + 1,
        )

    rho, peak = row_products(shadow, shadow), jnp.where(done, 0, row_lengths(residual))
    start = _Half(jnp.asarray(False), u, residual, residual, residual, rho, rho, peak, done, num_steps, taken)
    end = lax.while_loop(lambda c: (c.taken < max_steps) & ~jnp.all(c.done), half, start)
    return end.u, end.peak, end.num_steps, jnp.maximum(end.taken, 1)


def _ratio(a: Array, b: Array) -> Array:
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))
