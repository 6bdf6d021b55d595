"""Ravel maps of vectors, matrices and complex numbers: exact where they only move numbers, to rounding elsewhere."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, random_bits, refused
from hypothesis import given
from hypothesis import strategies as st

import sciml_lux as lux
from sciml_lux import ParameterError
from sciml_lux import flatten as lf
from sciml_lux.flatten import (
    ArraySpec,
    ComplexAsReals,
    Composed,
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
    Triangular,
    UnitVector,
    flatten,
)

seeds = st.integers(0, 2**32 - 1)
triangles = pytest.mark.parametrize(
    "triangle", [Triangular(), Triangular(True, True), Triangular(False), Triangular(False, True)]
)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def positive_definite(seed, *stack, side=3):
    factor = normal(seed, *stack, side, side)
    return factor @ np.swapaxes(factor, -1, -2) + 0.1 * np.eye(side)


def spec_like(value):
    return ArraySpec(np.shape(value), np.dtype(value.dtype))


def there_and_back(ravel_map, value):
    spec = spec_like(value)
    segment = ravel_map.ravel(jnp.asarray(value), spec)
    assert segment.shape == (ravel_map.size(spec),)
    return ravel_map.unravel(segment, spec)


# Exact


def any_bits(seed, shape, dtype):
    """XLA's CPU backend moves bfloat16 as float32, which keeps every number but not the payload of a NaN."""
    array = np.array(random_bits(seed, shape, dtype))
    if dtype == jnp.bfloat16:
        with np.errstate(invalid="ignore"):
            array[np.isnan(array)] = 1
    return array


matrices = st.sampled_from([(0, 0), (1, 1), (2, 3, 3)])
dtypes = st.sampled_from([np.float32, np.float64, jnp.bfloat16])


@given(seeds, matrices, dtypes)
def test_symmetric_matrices_keep_every_bit(seed, shape, dtype):
    upper = any_bits(seed, shape, dtype)
    rows, columns = np.triu_indices(shape[-1])
    upper[..., columns, rows] = upper[..., rows, columns]
    assert bits(there_and_back(Symmetric(), upper)) == bits(upper)


@triangles
@given(seeds, matrices, dtypes)
def test_triangular_matrices_keep_every_bit(triangle, seed, shape, dtype):
    cut, diagonal = (np.tril, -1) if triangle.lower else (np.triu, 1)
    inside = cut(np.ones(shape[-2:], bool), diagonal if triangle.strict else 0)
    value = np.where(inside, any_bits(seed, shape, dtype), dtype(0))
    assert bits(there_and_back(triangle, value)) == bits(value)


@given(seeds, st.sampled_from([(), (3,), (2, 0), (2, 3)]), st.sampled_from([np.complex64, np.complex128]))
def test_complex_numbers_keep_every_bit(seed, shape, dtype):
    value = random_bits(seed, shape, dtype)
    assert bits(there_and_back(ComplexAsReals(), value)) == bits(value)
    stored = ComplexAsReals().ravel(jnp.asarray(value), spec_like(value))
    assert np.asarray(stored).tobytes() == value.tobytes()  # as in the memory of a complex array


# To rounding

starts = {
    "softplus": (PositiveSoftplus(), lambda seed: np.exp(3 * normal(seed, 2, 3))),
    "ordered": (Ordered(), lambda seed: np.cumsum(np.exp(normal(seed, 2, 3)), axis=-1)),
    "simplex": (Simplex(), lambda seed: np.random.default_rng(seed).dirichlet(np.ones(3), size=2)),
    "unit vector": (UnitVector(), lambda seed: (v := normal(seed, 2, 3)) / np.linalg.norm(v, axis=-1, keepdims=True)),
    "positive definite": (PositiveDefiniteMap(), lambda seed: positive_definite(seed, 2)),
    "positive definite softplus": (PositiveDefiniteMap("softplus"), lambda seed: positive_definite(seed, 2)),
    "orthogonal": (Orthogonal(), lambda seed: np.asarray(Orthogonal().forward(jnp.asarray(normal(seed, 2, 3))))),
    "low rank": (LowRank(2), lambda seed: normal(seed, 2, 4, 2) @ normal(seed + 1, 2, 2, 3)),
    "scaled": (ScaledMap(Ordered(), 1e-3), lambda seed: 1e-3 * np.cumsum(np.exp(normal(seed, 2, 3)), axis=-1)),
    "composed": (Composed(Positive(), Ordered()), lambda seed: np.cumsum(np.exp(normal(seed, 2, 3)), axis=-1)),
}
every_start = pytest.mark.parametrize(("ravel_map", "start"), starts.values(), ids=starts)


@every_start
@given(seeds)
def test_values_come_back_to_a_few_units_in_the_last_place(ravel_map, start, seed):
    value = start(seed)
    ravel_map.check(value)
    size = np.max(np.abs(value))
    np.testing.assert_allclose(there_and_back(ravel_map, value), value, rtol=0, atol=2e-14 * size)


@every_start
def test_single_and_half_precision(ravel_map, start):
    for dtype in (jnp.float32, jnp.bfloat16):
        value = jnp.asarray(start(0), dtype)
        again = there_and_back(ravel_map, value)
        assert again.dtype == dtype
        close = 16 * float(jnp.finfo(dtype).eps) * float(jnp.max(jnp.abs(value)))
        np.testing.assert_allclose(np.asarray(again, float), np.asarray(value, float), rtol=0, atol=close)


@every_start
def test_a_batch_of_batches(ravel_map, start):
    value = jnp.asarray(start(0))
    ps = flatten({"a": lux.Parameter(value, ravel_map), "b": 1.0})
    vectors = jnp.asarray(np.asarray(ps.vector) + 0.1 * normal(1, 2, 3, ps.layout.size))
    mapped = ps.layout.unravel(vectors).a
    looped = [[ps.layout.unravel(vector).a for vector in row] for row in vectors]
    np.testing.assert_allclose(mapped, np.asarray(looped), rtol=1e-12, atol=1e-13)
    again = ps.layout.unravel(ps.layout.ravel(ps.layout.unravel(vectors))).a
    np.testing.assert_allclose(again, mapped, rtol=1e-11, atol=1e-12)


@given(st.floats(1e-300, 1e300))
def test_a_softplus_keeps_its_digits_at_both_ends(value):
    np.testing.assert_allclose(flatten({"a": lux.positive(value, via="softplus")}).a, value, rtol=2e-13)


def test_the_inverse_of_a_softplus_has_a_finite_slope_everywhere():
    values = jnp.array([1e-300, 1e-20, 0.5, math.log(2.0), 0.7, 30.0, 800.0, 1e300])
    slope = jax.vmap(jax.grad(PositiveSoftplus().inverse))(values)
    np.testing.assert_allclose(slope, -1 / np.expm1(-np.asarray(values)), rtol=1e-14)


# Constraints hold wherever the vector goes

far = pytest.mark.parametrize("size", [1.0, 30.0, 300.0])


@far
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_constraints_hold_far_out(size, dtype):
    size = min(size, 40.0) if dtype == jnp.float32 else size
    eps = float(jnp.finfo(dtype).eps)
    for seed in range(5):
        vector = jnp.asarray(size * np.clip(normal(seed, 4, 6), -1, 1), dtype)
        simplex = np.asarray(Simplex().forward(vector), float)
        assert np.all(simplex > 0)
        np.testing.assert_allclose(simplex.sum(-1), 1, rtol=4 * eps)
        assert np.all(np.diff(Ordered().forward(vector)) >= 0)  # equal where a step is lost in rounding
        np.testing.assert_allclose(np.linalg.norm(UnitVector().forward(vector), axis=-1), 1, rtol=4 * eps)
        assert np.all(PositiveSoftplus().forward(vector) > 0)
        rotation = np.asarray(Orthogonal().forward(vector), float)
        np.testing.assert_allclose(
            np.swapaxes(rotation, -1, -2) @ rotation, np.eye(4) + np.zeros((4, 4, 4)), atol=8 * eps
        )
        np.testing.assert_allclose(np.linalg.det(rotation), 1, rtol=16 * eps)
        matrix = np.asarray(PositiveDefiniteMap().forward(vector / 2), float)
        assert np.all(np.isfinite(matrix))
        np.testing.assert_array_equal(matrix, np.swapaxes(matrix, -1, -2))
        if size == 1.0:
            assert np.all(np.linalg.eigvalsh(matrix) > 0)


def test_a_unit_vector_of_any_length():
    huge = jnp.array([3e300, 4e300])
    np.testing.assert_allclose(UnitVector().forward(huge), [0.6, 0.8], rtol=1e-15)
    np.testing.assert_allclose(UnitVector().forward(1e-305 * jnp.array([3.0, 4.0])), [0.6, 0.8], rtol=1e-15)
    assert np.all(np.isnan(UnitVector().forward(jnp.zeros(2))))
    slope = jax.jacobian(UnitVector().forward)(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(slope, [[0.128, -0.096], [-0.096, 0.072]], atol=1e-15)  # (1 - d d^T) / |u|


def test_empty_sizes():
    assert np.all(np.asarray(there_and_back(Simplex(), np.ones((2, 1)))) == 1)
    assert Simplex().size(spec_like(np.ones((2, 1)))) == 0
    for ravel_map in (Symmetric(), PositiveDefiniteMap(), Orthogonal(), Triangular(strict=True)):
        for shape in ((0, 0), (0, 3, 3), (1, 1)):
            value = np.zeros(shape) if isinstance(ravel_map, Triangular) else np.ones(shape)
            np.testing.assert_array_equal(there_and_back(ravel_map, value), value)
    assert there_and_back(Ordered(), np.zeros((3, 0))).shape == (3, 0)
    assert flatten({"a": lf.orthogonal_matrix(np.eye(1)), "b": lf.simplex([1.0])}).layout.size == 0


# Log-determinants, each against one that is made another way


def test_the_determinants_of_square_jacobians():
    numbers = jnp.asarray(normal(0, 6))
    rows, columns = np.tril_indices(3)
    square = {
        Ordered(): Ordered().forward,
        Simplex(): lambda u: Simplex().forward(u)[:-1],
        PositiveDefiniteMap(): lambda u: PositiveDefiniteMap().forward(u)[rows, columns],
        PositiveDefiniteMap("softplus"): lambda u: PositiveDefiniteMap("softplus").forward(u)[rows, columns],
        ScaledMap(Ordered(), 3.0): ScaledMap(Ordered(), 3.0).forward,
    }
    for ravel_map, function in square.items():
        _, expected = np.linalg.slogdet(jax.jit(jax.jacfwd(function))(numbers))
        np.testing.assert_allclose(ravel_map.log_abs_det_jacobian(numbers), expected, rtol=1e-12)


@pytest.mark.parametrize("side", [2, 4])
def test_the_determinant_of_a_rotation_is_that_of_its_surface(side):
    count = side * (side - 1) // 2
    numbers = jnp.asarray(normal(1, count))
    jacobian = np.asarray(jax.jit(jax.jacfwd(lambda u: Orthogonal().forward(u).reshape(-1)))(numbers))
    # Each coordinate below the diagonal of Q^T dQ stands for two elements: a factor sqrt(2) in length.
    surface = 0.5 * np.linalg.slogdet(jacobian.T @ jacobian)[1] - 0.5 * count * math.log(2.0)
    np.testing.assert_allclose(Orthogonal().log_abs_det_jacobian(numbers), surface, rtol=1e-12)


def test_determinants_add_up():
    numbers = jnp.asarray(normal(2, 3))
    composed = Composed(ScaledMap(Positive(), 2.0), Composed(Ordered(), ScaledMap(Real(), 0.5)))
    expected = np.linalg.slogdet(jax.jit(jax.jacfwd(composed.forward))(numbers))[1]
    np.testing.assert_allclose(composed.log_abs_det_jacobian(numbers), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("ravel_map", "parts"),
    [
        (UnitVector(), ["UnitVector() has no log-determinant: u and 2 u are the same direction", "add -sum(u**2) / 2"]),
        (ScaledMap(UnitVector(), 2.0), ["UnitVector() has no log-determinant"]),
        (Composed(Positive(), Simplex()), ["values of Simplex() have more elements than degrees of freedom"]),
    ],
)
def test_what_has_no_determinant_says_why(ravel_map, parts):
    refused(lambda: ravel_map.log_abs_det_jacobian(jnp.ones(3)), ParameterError, *parts)


def test_what_is_a_bijection():
    assert PositiveDefiniteMap().bijective
    assert Composed(Positive(), Ordered()).bijective
    assert not any(
        m.bijective for m in (UnitVector(), LowRank(1), ScaledMap(UnitVector(), 2.0), Composed(Real(), UnitVector()))
    )


# Low rank


def test_low_rank_trains_through_its_factors():
    matrix = jnp.asarray(normal(0, 4, 1) @ normal(1, 1, 3))
    ps = flatten({"a": lf.low_rank(matrix, 1)})
    assert ps.layout.size == 7
    gradient = jax.grad(lambda ps: jnp.sum(ps.a**2))(ps).vector
    left, right = ps.vector[:4], ps.vector[4:]
    np.testing.assert_allclose(
        gradient, jnp.concatenate([2 * left * (right @ right), 2 * right * (left @ left)]), rtol=1e-13
    )
    best = jax.jit(lambda a: LowRank(1).unravel(LowRank(1).ravel(a, spec_like(a)), spec_like(a)))(
        jnp.diag(jnp.array([3.0, 1.0]))
    )
    np.testing.assert_allclose(best, [[3, 0], [0, 0]], atol=1e-15)
