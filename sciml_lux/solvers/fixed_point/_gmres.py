"""GMRES for the systems of all samples at once, of which each stops at its own tolerance."""

from collections.abc import Callable

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from ._least_squares import combine, inner_products
from ._rows import row_lengths, row_products

# A residual that a direction left longer than this part of itself is a poor next direction; its image is then taken instead.
_STALLED = 0.9
_FORWARD_ONLY = "the steps of NewtonKrylov have no reverse-mode derivative; leave out adjoint=, for the implicit derivative of the result"


class _Krylov(eqx.Module):
    """Directions and their images, which are orthonormal; the solution, its residual, and the next direction."""

    directions: Inexact[Array, "samples slots size"]
    images: Inexact[Array, "samples slots size"]
    solution: Inexact[Array, "samples size"]
    residual: Inexact[Array, "samples size"]
    length: Float[Array, " samples"]
    next: Inexact[Array, "samples size"]
    number: Int[Array, " samples"]
    step: Int[Array, ""]


def gmres(
    product: Callable[[Array], Array],
    target: Inexact[Array, "samples size"],
    relative: Float[Array, " samples"],
    most: int,
) -> tuple[Inexact[Array, "samples size"], Int[Array, " samples"]]:
    """The `x` with the smallest residual of `product(x) = target` in each sample's own Krylov space, as soon as the residual is at
    most `relative` of the target or the space has `most` dimensions; and how many products each sample needed.

    The images of the directions are kept orthonormal, so that the residual is known at every step without a small system
    (H. F. Walker and L. Zhou, "A simpler GMRES", Numerical Linear Algebra with Applications 1 (1994), 571-581). The next
    direction is the residual where that falls, the last image where it does not: each is well conditioned where the other is not
    (P. Jiránek and M. Rozložník, Numerical Algorithms 53 (2010), 93-112).
    """
    samples, size = target.shape
    most = min(most, size)
    length = row_lengths(target)
    goal = relative * length
    nothing = jnp.zeros((samples, most, size), target.dtype)
    start = _Krylov(
        directions=nothing,
        images=nothing,
        solution=jnp.zeros_like(target),
        residual=target,
        length=length,
        next=_unit(target, length),
        number=jnp.zeros((samples,), jnp.int32),
        step=jnp.zeros((), jnp.int32),
    )

    def unfinished(krylov: _Krylov) -> Array:
        # A sample that broke down has not counted the last product.
        return (krylov.length > goal) & (krylov.number == krylov.step)

    def again(krylov: _Krylov) -> Array:
        return (krylov.step < most) & jnp.any(unfinished(krylov))

    def body(krylov: _Krylov) -> _Krylov:
        return _extend(krylov, product(krylov.next), unfinished(krylov))

    end = lax.while_loop(again, body, start)
    return eqxi.nondifferentiable_backward(end.solution, msg=_FORWARD_ONLY), end.number


def _extend(krylov: _Krylov, image: Array, active: Array) -> _Krylov:
    """One more direction. Samples that are not active, and those that break down here, stay as they are."""
    direction, before = krylov.next, row_lengths(image)
    for _ in range(2):  # the second time removes the rounding of the first
        overlap = inner_products(krylov.images, image)
        image = image - combine(overlap, krylov.images)
        direction = direction - combine(overlap, krylov.directions)
    length = row_lengths(image)
    active = active & (length > 10 * jnp.finfo(length.dtype).eps * before)
    direction, image = _unit(direction, length), _unit(image, length)
    share = row_products(image, krylov.residual)[:, None]
    residual = krylov.residual - share * image
    remaining = row_lengths(residual)
    stalled = remaining > _STALLED * krylov.length
    following = jnp.where(stalled[:, None], image, _unit(residual, remaining))
    kept, place = active[:, None], krylov.step

    def chosen(new: Array, old: Array | int) -> Array:
        return jnp.where(kept, new, old)

    return _Krylov(
        directions=lax.dynamic_update_index_in_dim(krylov.directions, chosen(direction, 0), place, 1),
        images=lax.dynamic_update_index_in_dim(krylov.images, chosen(image, 0), place, 1),
        solution=chosen(krylov.solution + share * direction, krylov.solution),
        residual=chosen(residual, krylov.residual),
        length=jnp.where(active, remaining, krylov.length),
        next=chosen(following, krylov.next),
        number=krylov.number + jnp.where(active, 1, 0),
        step=krylov.step + 1,
    )


def _unit(rows: Inexact[Array, "samples size"], length: Float[Array, " samples"]) -> Array:
    return rows / jnp.where(length > 0, length, 1).astype(rows.dtype)[:, None]
