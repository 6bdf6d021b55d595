"""Constraint maps for matrices: symmetric, triangular, positive definite, orthogonal, of low rank.

They act on the last two axes; leading axes are a stack of matrices. A triangle is stored row by row. Products are taken
in full precision, since some accelerators would otherwise round the factors to a few bits.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..._errors import LayoutError
from ._constraints import AbstractConstraint, Positive, PositiveSoftplus, concrete
from ._ravel_map import AbstractRavelMap, ArraySpec, Spec


@dataclass(frozen=True)
class Symmetric(AbstractConstraint):
    """Symmetric matrices `(..., n, n)`, of which the upper triangle, n (n + 1) / 2 numbers, is stored.

    A bijection, bit for bit; the log-determinant, with respect to the upper triangle, is 0. A start that is symmetric but
    for rounding is taken to be what its upper triangle says.
    """

    def forward(self, unconstrained: Any) -> Any:
        places = _places(_side(unconstrained.shape, strict=False), lower=False, strict=False)
        return jnp.take(unconstrained, np.minimum(places, places.T), axis=-1, mode="clip")

    def inverse(self, value: Any) -> Any:
        return _triangle(value, lower=False, strict=False)

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        return jnp.zeros((), jnp.result_type(unconstrained))

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return _packed_shape(shape, "a symmetric matrix", strict=False)

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        return jnp.reshape(self.inverse(value), (-1,))

    def check(self, value: Any) -> None:
        self.unconstrained_shape(np.shape(value))
        _check_symmetric(value)


@dataclass(frozen=True)
class Triangular(AbstractConstraint):
    """Triangular matrices `(..., n, n)`, of which the triangle is stored and the rest is 0.

    A bijection, bit for bit; the log-determinant, with respect to the triangle, is 0.

    **Arguments:** `lower`: which triangle; `strict`: without the diagonal, which is then 0.
    """

    lower: bool = True
    strict: bool = False

    def forward(self, unconstrained: Any) -> Any:
        return _from_triangle(unconstrained, lower=self.lower, strict=self.strict)

    def inverse(self, value: Any) -> Any:
        return _triangle(value, lower=self.lower, strict=self.strict)

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        return jnp.zeros((), jnp.result_type(unconstrained))

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return _packed_shape(shape, "a triangular matrix", self.strict)

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        return jnp.reshape(self.inverse(value), (-1,))

    def check(self, value: Any) -> None:
        self.unconstrained_shape(np.shape(value))
        cut, offset = (np.tril, -1) if self.lower else (np.triu, 1)
        if not bool(np.all(np.asarray(value) == cut(np.asarray(value), offset if self.strict else 0))):
            kind = f"{'strictly ' if self.strict else ''}{'lower' if self.lower else 'upper'}"
            raise ValueError(f"a {kind} triangular matrix is 0 outside of its triangle, got {value!r}")


@dataclass(frozen=True)
class PositiveDefiniteMap(AbstractConstraint):
    """Symmetric positive definite matrices `(..., n, n)`, stored as their Cholesky factor, n (n + 1) / 2 numbers.

    `A = L L^T` with L lower triangular, stored row by row, its diagonal as `f(u)`: an exponential or a softplus. A
    bijection; with respect to the lower triangle of A the log-determinant is `n log 2 + sum_i (n - i) log L[i, i] +
    log f'(u[i, i])`, i from 0. Results are symmetric bit for bit, and positive definite as far as rounding allows: up to
    condition numbers of about 1 / eps. Elements are of the order of `f(u)**2`, which overflows for logarithms above 350
    (44 in float32).

    **Arguments:** `diagonal`: `"log"` (stored as logarithms) or `"softplus"`.

    Source: J. C. Pinheiro, D. M. Bates (1996), Statistics and Computing 6, section 2.2 (log-Cholesky); the determinant,
    R. J. Muirhead, Aspects of Multivariate Statistical Theory (1982), theorem 2.1.9.
    """

    diagonal: Literal["log", "softplus"] = "log"

    def __post_init__(self) -> None:
        if self.diagonal not in ("log", "softplus"):
            raise ValueError(f'the diagonal is stored through "log" or "softplus", got {self.diagonal!r}')

    def forward(self, unconstrained: Any) -> Any:
        places = _diagonal_places(_side(unconstrained.shape, strict=False))
        positive = self._positive.forward(unconstrained[..., places])
        factor = _from_triangle(unconstrained.at[..., places].set(positive), lower=True, strict=False)
        matrix = _product(factor, factor.mT)
        return (matrix + matrix.mT) / 2

    def inverse(self, value: Any) -> Any:
        value = jnp.asarray(value)
        factor = jnp.linalg.cholesky(_wide(value)).astype(value.dtype)
        triangle = _triangle(factor, lower=True, strict=False)
        places = _diagonal_places(value.shape[-1])
        return triangle.at[..., places].set(self._positive.inverse(triangle[..., places]))

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        side = _side(unconstrained.shape, strict=False)
        stored = unconstrained[..., _diagonal_places(side)]
        diagonal = self._positive.forward(stored)
        powers = jnp.broadcast_to(jnp.arange(side, 0, -1, dtype=stored.dtype), stored.shape)
        # The logarithm of an exponential that underflows is known all the same.
        logarithms = stored if self.diagonal == "log" else jnp.log(diagonal)
        constant = stored.size * math.log(2.0)
        return constant + jnp.sum(powers * logarithms) + self._positive.log_abs_det_jacobian(stored)

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return _packed_shape(shape, "a positive definite matrix", strict=False)

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        return jnp.reshape(_triangle(value, lower=True, strict=False), (-1,))

    def check(self, value: Any) -> None:
        self.unconstrained_shape(np.shape(value))
        _check_symmetric(value)
        smallest = np.linalg.eigvalsh(concrete(value)[0])
        if not bool(np.all(smallest > 0)):
            raise ValueError(
                f"a positive definite matrix has eigenvalues above 0, got {value!r} with {smallest.min():.6g}"
            )

    @property
    def _positive(self) -> Positive | PositiveSoftplus:
        return Positive() if self.diagonal == "log" else PositiveSoftplus()


@dataclass(frozen=True)
class Orthogonal(AbstractConstraint):
    """Rotations `(..., n, n)`, stored as n (n - 1) / 2 numbers: the Cayley transform of a skew-symmetric matrix.

    `Q = (I + S)^-1 (I - S)` with the stored numbers below the diagonal of S = -S^T, row by row; 0 is the identity. A
    bijection with the rotations (orthogonal, determinant 1) that have no eigenvalue -1: all of SO(n) but the half turns,
    which are approached at infinity. Reflections (determinant -1) are not reached: flip the sign of a column outside.
    The log-determinant is with respect to the uniform (Haar) measure, in the coordinates below the diagonal of `Q^T dQ =
    -2 (I - S)^-1 dS (I + S)^-1`: `n (n - 1) / 2 log 2 - (n - 1) log det(I + S)`.

    Source: C. Khatri, K. Mardia (1977), J. R. Stat. Soc. B 39(1), section 2; M. Jauch, P. D. Hoff, D. B. Dunson (2020),
    Bernoulli 26(2), section 2.
    """

    def forward(self, unconstrained: Any) -> Any:
        skew = _wide(self._skew(unconstrained))
        identity = _identity(skew)
        rotation = jnp.linalg.solve(identity + skew, identity - skew)
        # Close to a half turn the solution has lost digits; a step of Newton's method for the polar factor brings them back.
        rotation = _product(rotation, 1.5 * identity - 0.5 * _product(rotation.mT, rotation))
        return rotation.astype(unconstrained.dtype)

    def inverse(self, value: Any) -> Any:
        value = jnp.asarray(value)
        rotation, identity = _wide(value), _identity(_wide(value))
        skew = jnp.linalg.solve(identity + rotation, identity - rotation)
        return _triangle((skew - skew.mT) / 2, lower=True, strict=True).astype(value.dtype)

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        skew = _wide(self._skew(unconstrained))
        _, logarithm = jnp.linalg.slogdet(_identity(skew) + skew)
        constant = unconstrained.size * math.log(2.0)
        return (constant - (skew.shape[-1] - 1) * jnp.sum(logarithm)).astype(unconstrained.dtype)

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return _packed_shape(shape, "an orthogonal matrix", strict=True)

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        """Below the diagonal of `Q^T dQ`: only the derivatives mean anything."""
        turned = _product(jax.lax.stop_gradient(value).mT, value)
        return jnp.reshape(_triangle(turned, lower=True, strict=True), (-1,))

    def check(self, value: Any) -> None:
        self.unconstrained_shape(np.shape(value))
        array, error = concrete(value)
        identity = np.broadcast_to(np.eye(array.shape[-1]), array.shape)
        if not np.allclose(np.swapaxes(array, -1, -2) @ array, identity, rtol=0, atol=16 * error):
            raise ValueError(f"the columns of an orthogonal matrix have length 1 and right angles, got {value!r}")
        if bool(np.any(np.linalg.det(array) < 0)):
            raise ValueError(
                f"only rotations (determinant 1) are reached, got a reflection {value!r}; flip the sign of a column"
            )
        if array.size and bool(np.any(np.linalg.svd(identity + array, compute_uv=False) < 16 * error)):
            raise ValueError(f"a rotation by half a turn (eigenvalue -1) is not reached, got {value!r}")

    @staticmethod
    def _skew(unconstrained: Any) -> Any:
        lower = _from_triangle(unconstrained, lower=True, strict=True)
        return lower - lower.mT


@dataclass(frozen=True)
class LowRank(AbstractRavelMap):
    """Matrices `(..., m, n)` of rank at most `rank`, stored as two factors, `rank (m + n)` numbers.

    `value = left @ right`, all of `left` `(..., m, rank)` first, then `right` `(..., rank, n)`. `ravel` splits the singular
    values evenly between the two. Not a bijection (`left @ G` and `G^-1 @ right` have the same product), so that there is
    no log-determinant. Where both factors are 0 all derivatives are: start from another matrix. A traced value of higher
    rank is stored as its best approximation.

    **Arguments:** `rank`: at least 1, at most the smaller side.

    **Errors:** `ravel` of a concrete matrix of higher rank: `ValueError`.

    Source: C. Eckart, G. Young (1936), Psychometrika 1(3), pages 211-218.
    """

    rank: int

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"the rank is at least 1, got {self.rank}")

    def size(self, spec: Spec) -> int:
        assert isinstance(spec, ArraySpec)
        left, right = self._factor_shapes(spec.shape)
        return math.prod(left) + math.prod(right)

    def ravel(self, value: Any, spec: Spec) -> Float[Array, " size"]:
        if not isinstance(value, Tracer):
            self.check(value)
        value = jnp.asarray(value)
        left, singular, right = jnp.linalg.svd(_wide(value), full_matrices=False)
        root = jnp.sqrt(singular[..., : self.rank])
        factors = left[..., : self.rank] * root[..., None, :], root[..., None] * right[..., : self.rank, :]
        return jnp.concatenate([factor.reshape(-1) for factor in factors]).astype(value.dtype)

    def unravel(self, segment: Float[Array, " size"], spec: Spec) -> Any:
        assert isinstance(spec, ArraySpec)
        left, right = self._factor_shapes(spec.shape)
        count = math.prod(left)
        return _product(segment[:count].reshape(left), segment[count:].reshape(right))

    @property
    def bijective(self) -> bool:
        return False

    def check(self, value: Any) -> None:
        self._factor_shapes(np.shape(value))
        array, error = concrete(value)
        singular = np.linalg.svd(array, compute_uv=False)
        if bool(np.any(singular[..., self.rank :] > 4 * max(array.shape[-2:]) * error * singular[..., :1])):
            ranks = np.linalg.matrix_rank(array, rtol=4 * max(array.shape[-2:]) * error)
            raise ValueError(
                f"a matrix of rank at most {self.rank} is stored, got one of rank {np.max(ranks)}: {value!r}"
            )

    def _factor_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if len(shape) < 2 or self.rank > min(shape[-2:]):
            raise LayoutError(f"a matrix of rank {self.rank} has two sides of at least that, got shape {shape}")
        return (*shape[:-1], self.rank), (*shape[:-2], self.rank, shape[-1])


def _packed_shape(shape: tuple[int, ...], what: str, strict: bool) -> tuple[int, ...]:
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise LayoutError(f"{what} is square in its last two axes, got shape {shape}")
    side = shape[-1]
    return (*shape[:-2], side * (side - 1 if strict else side + 1) // 2)


def _side(packed_shape: tuple[int, ...], strict: bool) -> int:
    """The side of a matrix whose triangle has as many numbers as the last axis; 1 if that is 0 without the diagonal."""
    count = packed_shape[-1] if packed_shape else -1
    root = math.isqrt(max(8 * count + 1, 0))
    side = (root + 1 if strict else root - 1) // 2
    if count != side * (side - 1 if strict else side + 1) // 2:
        raise LayoutError(f"no triangle of a matrix has as many numbers as the last axis of shape {packed_shape}")
    return side


@functools.cache
def _places(side: int, lower: bool, strict: bool) -> np.ndarray:
    """For each element of a square matrix its place in the stored triangle, or the number of places if it has none."""
    rows, columns = _indices(side, lower, strict)
    places = np.full((side, side), len(rows))
    places[rows, columns] = np.arange(len(rows))
    return places


def _indices(side: int, lower: bool, strict: bool) -> tuple[np.ndarray, np.ndarray]:
    return np.tril_indices(side, -1 if strict else 0) if lower else np.triu_indices(side, 1 if strict else 0)


def _diagonal_places(side: int) -> np.ndarray:
    return np.arange(side) * (np.arange(side) + 3) // 2


def _triangle(matrix: Any, lower: bool, strict: bool) -> Any:
    rows, columns = _indices(matrix.shape[-1], lower, strict)
    return jnp.asarray(matrix)[..., rows, columns]


def _from_triangle(packed: Any, lower: bool, strict: bool) -> Any:
    places = _places(_side(packed.shape, strict), lower, strict)
    zero = jnp.zeros((*packed.shape[:-1], 1), packed.dtype)
    return jnp.take(jnp.concatenate([packed, zero], axis=-1), places, axis=-1, mode="clip")


def _product(left: Any, right: Any) -> Any:
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def _identity(matrix: Any) -> Any:
    return jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)


def _wide(matrix: Any) -> Any:
    """In a precision that decompositions are written for: at least float32."""
    return matrix.astype(jnp.float32) if matrix.dtype.itemsize < 4 else matrix


def _check_symmetric(value: Any) -> None:
    array, error = concrete(value)
    difference = np.max(np.abs(array - np.swapaxes(array, -1, -2)), initial=0.0)
    if not bool(difference <= 4 * error * np.max(np.abs(array), initial=0.0)):
        raise ValueError(
            f"a symmetric matrix equals its transpose, got {value!r}, which differs by {difference:.6g}; "
            "write (value + value.T) / 2 if it should"
        )
