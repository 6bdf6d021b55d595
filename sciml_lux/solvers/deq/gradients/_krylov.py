"""Linear systems `u - A u = g` by Krylov methods, one for each row, all at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def norms(rows: Array) -> Array:
    """The Euclidean norm of each row."""
    return jnp.sqrt(jnp.sum(jnp.square(rows), axis=-1))


def divided(rows: Array, by: Array) -> Array:
    """Rows divided by numbers of their own, 0 where that number is 0."""
    return rows * jnp.where(by > 0, 1 / jnp.where(by > 0, by, 1), 0)[..., None]


class _Cycle(NamedTuple):
    """GMRES between two restarts. `k`: the number of basis vectors that were multiplied, 0 where a residual is due.

    `basis`: `(restart + 1, samples, size)`; `rotation`: the product of all Givens rotations; `triangle`: what they make of the
    Hessenberg matrix, by columns; `rhs`: what they make of the residual.
    """

    k: Array
    u: Array
    basis: Array
    rotation: Array
    triangle: Array
    rhs: Array
    done: Array
    num_steps: Array
    count: Array


def gmres(
    operator: Callable[[Array], Array], g: Array, wanted: Array, max_steps: int, restart: int
) -> tuple[Array, Array]:
    """The solution of each row by restarted GMRES up to a residual of the norm `wanted`, and how many products with the operator it took.

    A row that is done is frozen; the loop ends when all are. The operator appears once in the program: a restart, whose residual
    needs a product too, is a step like any other.

    **Source:** Saad and Schultz 1986, GMRES; the Gram-Schmidt process is repeated once (Giraud, Langou and Rozloznik 2005).
    """
    samples, size = g.shape
    m = min(restart, size, max_steps)

    def begin(carry: _Cycle, residual: Array) -> _Cycle:
        beta = norms(residual)
        basis = jnp.zeros((m + 1, samples, size), g.dtype).at[0].set(divided(residual, beta))
        eye = jnp.broadcast_to(jnp.eye(m + 1, dtype=g.dtype), (samples, m + 1, m + 1))
        triangle = jnp.broadcast_to(jnp.eye(m, dtype=g.dtype), (samples, m, m))
        rhs = jnp.zeros((samples, m + 1), g.dtype).at[:, 0].set(beta)
        done = carry.done | ~(beta > wanted)
        return carry._replace(
            k=jnp.ones_like(carry.k), basis=basis, rotation=eye, triangle=triangle, rhs=rhs, done=done
        )

    def extend(carry: _Cycle, product: Array) -> _Cycle:
        k = carry.k
        column, vector = _orthogonalized(carry.basis, product)
        length = norms(vector)
        basis = carry.basis.at[k].set(divided(vector, length))
        column = jnp.einsum("sij,sj->si", carry.rotation, column.at[:, k].set(length))
        rotation, column, rhs = _rotated(carry.rotation, column, carry.rhs, k)
        # A frozen row solves for 0 in what follows.
        unit = jnp.broadcast_to(jnp.eye(m, dtype=g.dtype)[k - 1], (samples, m))
        triangle = carry.triangle.at[:, :, k - 1].set(jnp.where(carry.done[:, None], unit, column[:, :m]))
        before = carry.rhs.at[:, k - 1].set(jnp.where(carry.done, 0, carry.rhs[:, k - 1]))
        rhs = jnp.where(carry.done[:, None], before, rhs)
        done = carry.done | ~(jnp.abs(rhs[:, k]) > wanted)
        return carry._replace(k=k + 1, basis=basis, rotation=rotation, triangle=triangle, rhs=rhs, done=done)

    def close(carry: _Cycle) -> _Cycle:
        y = lax.linalg.triangular_solve(carry.triangle, carry.rhs[:, :m, None], left_side=True, lower=False)[..., 0]
        # Beyond the last column rhs holds the residual, which is not to be solved for.
        y = jnp.where(jnp.arange(m, dtype=jnp.int32)[None, :] < carry.k - 1, y, 0)
        return carry._replace(u=carry.u + jnp.einsum("sk,ksn->sn", y, carry.basis[:m]), k=jnp.zeros_like(carry.k))

    def step(carry: _Cycle) -> _Cycle:
        vector = jnp.where(carry.k == 0, carry.u, carry.basis[jnp.maximum(carry.k - 1, 0)])
        product = vector - operator(vector)
        active = ~carry.done
        carry = lax.cond(carry.k == 0, lambda c, p: begin(c, g - p), extend, carry, product)
        carry = carry._replace(num_steps=carry.num_steps + active.astype(jnp.int32), count=carry.count + 1)
        full = (carry.k > m) | jnp.all(carry.done) | (carry.count >= max_steps)
        return lax.cond(full, close, lambda c: c, carry)

    zero = jnp.zeros((), jnp.int32)
    steps = jnp.zeros((samples,), jnp.int32)
    empty: Any = (None,) * 4
    carry = begin(_Cycle(zero, jnp.zeros_like(g), *empty, jnp.zeros((samples,), bool), steps, zero), g)
    carry = lax.while_loop(lambda c: (c.count < max_steps) & ~jnp.all(c.done), step, carry)
    return carry.u, carry.num_steps


def _orthogonalized(basis: Array, vector: Array) -> tuple[Array, Array]:
    """The components of a vector along the basis, and what is left of it. Basis vectors that are not there yet are 0."""
    column = jnp.einsum("ksn,sn->sk", basis, vector)
    vector = vector - jnp.einsum("sk,ksn->sn", column, basis)
    again = jnp.einsum("ksn,sn->sk", basis, vector)
    return column + again, vector - jnp.einsum("sk,ksn->sn", again, basis)


def _rotated(rotation: Array, column: Array, rhs: Array, k: Array) -> tuple[Array, Array, Array]:
    """All three after the Givens rotation of rows `k - 1` and `k` that makes entry `k` of the column 0."""
    a, b = column[:, k - 1], column[:, k]
    length = jnp.sqrt(a * a + b * b)
    cosine = jnp.where(length > 0, a / jnp.where(length > 0, length, 1), 1)
    sine = jnp.where(length > 0, b / jnp.where(length > 0, length, 1), 0)
    upper, lower = rotation[:, k - 1], rotation[:, k]
    rotation = rotation.at[:, k - 1].set(cosine[:, None] * upper + sine[:, None] * lower)
    rotation = rotation.at[:, k].set(cosine[:, None] * lower - sine[:, None] * upper)
    # A column of zeros belongs to a singular system: its residual, which stays, is what tells.
    column = column.at[:, k - 1].set(jnp.where(length > 0, length, 1)).at[:, k].set(0)
    rhs = rhs.at[:, k].set(-sine * rhs[:, k - 1]).at[:, k - 1].set(cosine * rhs[:, k - 1])
    return rotation, column, rhs


class _Half(NamedTuple):
    """Bi-CGSTAB between two products. `second`: whether the next one stabilizes what the one before it did."""

    second: Array
    u: Array
    residual: Array
    direction: Array
    image: Array
    rho: Array
    alpha: Array
    done: Array
    num_steps: Array
    count: Array


def bicgstab(operator: Callable[[Array], Array], g: Array, wanted: Array, max_steps: int) -> tuple[Array, Array]:
    """The solution of each row by stabilized biconjugate gradients up to a residual of the norm `wanted`, and how many products with
    the operator it took.

    Needs the memory of a few rows, whatever the number of steps. A step has two halves, each with one product: along the direction, and
    along the residual. Both move `u` and the residual alike, so that one program does for both.

    **Source:** van der Vorst 1992, Bi-CGSTAB.
    """

    def half(carry: _Half) -> _Half:
        second, residual = carry.second, carry.residual
        along = jnp.where(second, residual, carry.direction)
        image = along - operator(along)
        upper = jnp.where(second, _dot(image, residual), carry.rho)
        length = jnp.where(carry.done, 0, _ratio(upper, _dot(jnp.where(second, image, g), image)))
        u, residual = carry.u + length[:, None] * along, residual - length[:, None] * image
        rho = _dot(g, residual)
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
            done=carry.done | ~(norms(residual) > wanted),
            num_steps=carry.num_steps + (~carry.done).astype(jnp.int32),
            count=carry.count + 1,
        )

    rho, zero = _dot(g, g), jnp.zeros((), jnp.int32)
    steps = jnp.zeros((len(g),), jnp.int32)
    start = _Half(jnp.asarray(False), jnp.zeros_like(g), g, g, g, rho, rho, ~(norms(g) > wanted), steps, zero)
    end = lax.while_loop(lambda c: (c.count < max_steps) & ~jnp.all(c.done), half, start)
    return end.u, end.num_steps


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)


def _ratio(a: Array, b: Array) -> Array:
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))
