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


def bicgstab(operator: Callable[[Array], Array], g: Array, wanted: Array, max_steps: int) -> tuple[Array, Array]:
    """The solution of each row by stabilized biconjugate gradients, and how many products with the operator it took.

    Needs the memory of a few rows, whatever the number of steps.

    **Source:** van der Vorst 1992, Bi-CGSTAB.
    """
    dot = lambda a, b: jnp.sum(a * b, axis=-1)  # noqa: E731
    ratio = lambda a, b: jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))  # noqa: E731
    by_row = lambda scalars, rows: scalars[:, None] * rows  # noqa: E731

    def step(carry: Any) -> Any:
        u, r, p, rho, done, num_steps, count = carry
        v = p - operator(p)
        alpha = ratio(rho, dot(g, v))
        s = r - by_row(alpha, v)
        t = s - operator(s)
        omega = ratio(dot(t, s), dot(t, t))
        new_u = u + by_row(alpha, p) + by_row(omega, s)
        new_r = s - by_row(omega, t)
        new_rho = dot(g, new_r)
        beta = ratio(new_rho, rho) * ratio(alpha, omega)
        new_p = new_r + by_row(beta, p - by_row(omega, v))
        keep = lambda old, new: jnp.where(done.reshape(-1, *[1] * (old.ndim - 1)), old, new)  # noqa: E731
        u, r, p, rho = (keep(*pair) for pair in ((u, new_u), (r, new_r), (p, new_p), (rho, new_rho)))
        num_steps = num_steps + 2 * (~done).astype(jnp.int32)
        return u, r, p, rho, done | ~(norms(r) > wanted), num_steps, count + 2

    steps = jnp.zeros((len(g),), jnp.int32)
    start = (jnp.zeros_like(g), g, g, dot(g, g), ~(norms(g) > 0), steps, jnp.zeros((), jnp.int32))
    u, *_, num_steps, _ = lax.while_loop(lambda c: (c[-1] < max_steps) & ~jnp.all(c[4]), step, start)
    return u, num_steps
