"""Linear systems with the Jacobian of a field that acts on a whole batch, whose samples as a rule do not depend on each other."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from ..fixed_point import from_rows, gmres, row_lengths, to_rows

# The largest matrix that is formed: of all numbers if they are so few, else of each sample, else of each number.
_WHOLE = 64
_SAMPLE = 256
# Directions of the Krylov space in which a system is solved whose samples do depend on each other.
_MOST = 200


class Jacobian(eqx.Module):
    """The derivative of `field`, a function of vectors, at `y`; `inverses` of its blocks on the diagonal, and which of them have one.

    The blocks come from as many products with the Jacobian as a sample has numbers, which is right where no sample depends on
    another, and looked at: what they leave of the right-hand side is computed with the true Jacobian. Where samples do depend
    on each other, GMRES with the true Jacobian solves the system.
    """

    product: Callable[[Any], Any]
    inverses: Float[Array, "blocks size size"]
    regular: Bool[Array, " blocks"]

    def solve(self, b: Float[Array, " n"]) -> Float[Array, " n"]:
        """`J^-1 b`, which can be transposed; NaN in a block that has no solution."""
        return lax.custom_linear_solve(
            self.product,
            b,
            lambda product, b: self._checked(product, self.inverses, b),
            lambda product, b: self._checked(product, jnp.swapaxes(self.inverses, 1, 2), b),
        )

    def nearest(self, b: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"], Bool[Array, " n"]]:
        """The least `x` with `J x` nearest to `b`, what `J x` leaves of `b`, and which numbers belong to a regular block."""
        x, left = self._solved(self.product, self.inverses, b)
        return x, left, jnp.repeat(self.regular, b.size // self.regular.size)

    def _checked(
        self, product: Callable[[Array], Array], inverses: Float[Array, "blocks size size"], b: Float[Array, " state"]
    ) -> Any:
        x, left = self._solved(product, inverses, b)
        wrong = self._unsolved(left, b)
        # Where samples depend on each other a wrong one makes others wrong.
        first = _by_blocks(inverses, b)
        coupled = jnp.any(self._unsolved(b - product(first), b) & self.regular)
        wrong = wrong | (coupled & jnp.any(wrong))
        return jnp.where(jnp.repeat(wrong, b.size // wrong.size), jnp.nan, x)

    def _solved(
        self, product: Callable[[Array], Array], inverses: Float[Array, "blocks size size"], b: Float[Array, " state"]
    ) -> tuple[Any, Any]:
        x = _by_blocks(inverses, b)
        x = x + _by_blocks(inverses, b - product(x))
        left = b - product(x)
        if self.regular.size == 1:
            return x, left
        relative = jnp.full((1,), 4 * jnp.finfo(b.dtype).eps, b.dtype)

        def by_krylov() -> Any:
            return gmres(lambda rows: product(rows[0])[None], b[None], relative, _MOST)[0][0]

        x = lax.cond(jnp.any(self._unsolved(left, b) & self.regular), by_krylov, lambda: x)
        return x, b - product(x)

    def _unsolved(self, left: Float[Array, " state"], b: Float[Array, " state"]) -> Any:
        rows = (self.regular.size, -1)
        allowed = jnp.finfo(b.dtype).eps ** 0.5 * row_lengths(b.reshape(rows))
        return ~(row_lengths(left.reshape(rows)) <= allowed)


def jacobian(forward: Callable[[Any], Any], field: Callable[[Any], Any], y: Float[Array, " n"], size: int) -> Jacobian:
    """The Jacobian of `field` at `y`, whose samples have `size` numbers each. `forward`: the same function, for the blocks."""
    blocks = y.size // size
    units = jnp.tile(jnp.eye(size, dtype=y.dtype), (1, blocks))
    columns = jax.vmap(functools.partial(_product, forward, y))(units).reshape(size, blocks, size)
    matrices = jnp.transpose(columns, (1, 2, 0))
    inverses, regular = _inverses(matrices)
    product = functools.partial(jnp.matmul, matrices[0]) if blocks == 1 else functools.partial(_product, field, y)
    return Jacobian(product, inverses, regular)


def packed(tree: PyTree[Array]) -> tuple[Float[Array, " n"], Callable[[Any], Any], int]:
    """A state as a vector, sample after sample; the way back; and how many numbers of it are taken to depend on each other."""
    leaves = jax.tree.leaves(tree)
    number = sum(leaf.size for leaf in leaves)
    samples = {leaf.shape[0] if leaf.ndim > 1 else 0 for leaf in leaves}
    batched = number > _WHOLE and len(samples) == 1 and samples != {0}
    rows = to_rows(tree, batched)
    size = rows.shape[1] if rows.shape[1] <= _SAMPLE else 1
    return rows.reshape(-1), lambda vector: from_rows(vector.reshape(rows.shape), tree), size


def _product(field: Callable[[Array], Array], y: Float[Array, " state"], v: Float[Array, " state"]) -> Any:
    return jax.jvp(field, (y,), (v,))[1]


def _by_blocks(inverses: Float[Array, "blocks size size"], b: Float[Array, " state"]) -> Any:
    return jnp.einsum("bij,bj->bi", inverses, b.reshape(inverses.shape[0], -1)).reshape(b.shape)


def _inverses(matrices: Float[Array, "blocks size size"]) -> tuple[Any, Any]:
    """The pseudoinverse of each matrix, and whether it is an inverse up to rounding."""
    left, values, right = jnp.linalg.svd(matrices)
    smallest = matrices.shape[-1] * jnp.finfo(matrices.dtype).eps * jnp.max(values, axis=-1, keepdims=True, initial=0)
    seen = values > smallest
    scaled = jnp.where(seen, 1 / jnp.where(seen, values, 1), 0)
    inverses = jnp.einsum("bji,bj,bkj->bik", right, scaled, left)
    return inverses, jnp.all(seen, axis=-1)
