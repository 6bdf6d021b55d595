"""Ravel maps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sciml_lux.flatten import (
    AbstractRavelMap,
    ArraySpec,
    Bounded,
    ComplexAsReals,
    Composed,
    Fixed,
    LowRank,
    Ordered,
    Orthogonal,
    Positive,
    PositiveDefiniteMap,
    PositiveSoftplus,
    Real,
    ScaledMap,
    Simplex,
    Symmetric,
    Transposed,
    Triangular,
    UnitVector,
)

from .base import Map, array


def shown(name: str, ravel_map: AbstractRavelMap, value: Any) -> Map:
    """A map with a value; the spec is that of the value."""
    return Map(name, ravel_map, ArraySpec(value.shape, value.dtype), value)


_symmetric = array(3, 3) + array(3, 3).T
_matrix = ArraySpec((2, 3), np.dtype(np.float64))

RAVEL_MAPS = [
    Map("transposed", Transposed(), _matrix, array(2, 3)),
    Map("axes permuted", Transposed((1, 2, 0)), ArraySpec((2, 3, 4), np.dtype(np.float64)), array(2, 3, 4)),
    Map("real", Real(), _matrix, array(2, 3)),
    Map("real scalar", Real(), ArraySpec((), np.dtype(np.float64)), jnp.float64(1.5)),
    Map("positive", Positive(), _matrix, array(2, 3) ** 2),
    Map("bounded", Bounded(-2.0, 2.0), _matrix, array(2, 3)),
    Map("bounded below", Bounded(-2.0, float("inf")), _matrix, array(2, 3)),
    Map("bounded above", Bounded(float("-inf"), 2.0), _matrix, array(2, 3)),
    Map(
        "fixed",
        Fixed(((1.0, 2.0), (3.0, 4.0))),
        ArraySpec((2, 2), np.dtype(np.float64)),
        jnp.arange(1.0, 5.0).reshape(2, 2),
    ),
    shown("positive softplus", PositiveSoftplus(), array(2, 3) ** 2),
    shown("ordered", Ordered(), jnp.cumsum(array(2, 3) ** 2, axis=1)),
    shown("simplex", Simplex(), jax.nn.softmax(array(2, 3))),
    shown("simplex of one", Simplex(), jnp.ones((2, 1))),
    shown("unit vector", UnitVector(), array(3) / jnp.linalg.norm(array(3))),
    shown("symmetric", Symmetric(), _symmetric),
    shown("symmetric of none", Symmetric(), jnp.zeros((0, 0))),
    shown("triangular", Triangular(), jnp.tril(array(3, 3))),
    shown("strictly upper triangular", Triangular(lower=False, strict=True), jnp.triu(array(2, 3, 3), 1)),
    shown("positive definite", PositiveDefiniteMap(), _symmetric @ _symmetric + jnp.eye(3)),
    shown("positive definite softplus", PositiveDefiniteMap("softplus"), jnp.stack([2 * jnp.eye(2), jnp.eye(2)])),
    shown("orthogonal", Orthogonal(), jnp.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])),
    shown("orthogonal of one", Orthogonal(), jnp.ones((1, 1))),
    shown("low rank", LowRank(2), array(2, 4, 2) @ array(2, 2, 3)),
    shown("complex", ComplexAsReals(), jax.lax.complex(array(2, 3), array(3, 2).T)),
    shown("positive ordered", Composed(Positive(), Ordered()), jnp.array([0.1, 0.5, 2.0])),
    shown("symmetric of positive", Composed(Symmetric(), Positive()), _symmetric**2),
    shown("scaled", ScaledMap(Positive(), 1e-6), 1e-6 * array(2, 3) ** 2),
    shown("scaled matrix", ScaledMap(PositiveDefiniteMap(), 8.0), jnp.eye(2)),
]
