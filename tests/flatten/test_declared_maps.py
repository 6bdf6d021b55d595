"""Declarations of parameters with a map: how they are shown, what is stored, what they refuse; complex ones need none."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused

import sciml_lux as lux
from sciml_lux import flatten as lf
from sciml_lux.flatten import (
    ArraySpec,
    ComplexAsReals,
    Composed,
    LowRank,
    Ordered,
    Positive,
    PositiveDefiniteMap,
    Real,
    ScaledMap,
    Simplex,
    Symmetric,
    flatten,
)

declarations = {
    "real(1e-05, scale=1e-06)": 1,
    "positive(0.5, via=\"softplus\", unit='1/year')": 1,
    "positive(0.5, scale=0.001)": 1,
    "ordered((0.0, 1.0, 3.0))": 3,
    "simplex((0.25, 0.75))": 1,
    "unit_vector((0.6, 0.8))": 2,
    "symmetric(((1.0, 2.0), (2.0, 5.0)), scale=10.0)": 3,
    "triangular(((1.0, 0.0), (2.0, 5.0)))": 3,
    "triangular(((0.0, 2.0), (0.0, 0.0)), lower=False, strict=True)": 1,
    "positive_definite(((1.0, 0.5), (0.5, 2.0)), diagonal=\"softplus\", unit='m^2')": 3,
    "orthogonal_matrix(((0.6, -0.8), (0.8, 0.6)))": 1,
    "low_rank(((1.0, 2.0), (2.0, 4.0)), 1)": 4,
    "complex_value((1+2j))": 2,
    "complex_value((1j, (2+0j)), scale=100.0)": 4,
}


@pytest.mark.parametrize(("text", "size"), declarations.items())
def test_a_declaration_is_shown_as_it_is_written(text, size, key):
    names = vars(lf) | vars(lux) | {"__builtins__": __builtins__}
    model = lux.ParameterDict(a=eval(text, names))
    assert text in repr(model)
    assert eval(repr(model), names) == model
    ps, _ = lux.setup(key, model)
    assert ps.layout.size == size
    assert lux.layout_of(model) is ps.layout
    np.testing.assert_allclose(ps.a, np.asarray(dict(model.declarations)["a"].value), rtol=1e-14, atol=1e-15)
    assert isinstance(repr(ps), str)


@pytest.mark.parametrize("ravel_map", [ScaledMap(Simplex(), 2.0), Composed(Positive(), Ordered())])
def test_a_map_without_a_declaration_is_shown_as_a_parameter(ravel_map):
    parameter = lux.Parameter((0.5, 1.5), ravel_map)
    assert eval(repr(parameter), vars(lf)) == parameter


def test_a_scale_makes_stored_numbers_of_order_one():
    ps = flatten(
        {"a": lux.real(3e-6, scale=1e-6), "b": lux.positive(3e9, scale=1e9, unit="Hz"), "c": lux.positive(1.0)}
    )
    np.testing.assert_allclose(ps.vector, [3.0, math.log(3.0), 0.0], rtol=1e-14)
    np.testing.assert_allclose([ps.a, ps.b], [3e-6, 3e9], rtol=1e-15)
    assert "scale 1e-06\n" in str(ps.layout)
    assert "Positive(), scale 1000000000.0  Hz" in str(ps.layout)


mistakes = {
    "not symmetric": (lambda: lf.symmetric([[1.0, 2.0], [0.0, 1.0]]), ["equals its transpose", "differs by 2"]),
    "not square": (lambda: lf.symmetric(np.ones((2, 3))), ["is square in its last two axes, got shape (2, 3)"]),
    "no matrix": (lambda: lf.triangular(np.ones(3)), ["is square in its last two axes, got shape (3,)"]),
    "not triangular": (lambda: lf.triangular(np.ones((2, 2)), lower=False), ["upper triangular matrix is 0 outside"]),
    "not strictly": (
        lambda: lf.triangular(np.eye(2), strict=True),
        ["a strictly lower triangular matrix is 0 outside"],
    ),
    "indefinite": (lambda: lf.positive_definite([[1.0, 2.0], [2.0, 1.0]]), ["eigenvalues above 0", "with -1"]),
    "not symmetric either": (lambda: lf.positive_definite([[1.0, 0.5], [0.0, 1.0]]), ["equals its transpose"]),
    "another diagonal": (lambda: PositiveDefiniteMap("exp"), ['through "log" or "softplus", got \'exp\'']),
    "another way": (lambda: lux.positive(1.0, via="exp"), ['via "log" or "softplus", got \'exp\'']),
    "not positive": (lambda: lux.positive(0.0, via="softplus"), ["a finite number above 0, got 0.0"]),
    "not on the simplex": (lambda: lf.simplex([0.5, 0.6]), ["have the sum 1", "with the sum 1.1"]),
    "on its edge": (lambda: lf.simplex([0.0, 1.0]), ["are above 0"]),
    "an empty simplex": (lambda: lf.simplex(np.zeros((2, 0))), ["at least one number, got shape (2, 0)"]),
    "a scalar": (lambda: lf.ordered(1.0), ["an ordered vector has at least one axis, got a scalar"]),
    "not in order": (lambda: lf.ordered([1.0, 1.0]), ["strictly increasing along its last axis"]),
    "not of length 1": (lambda: lf.unit_vector([1.0, 1.0]), ["has the length 1", "of length 1.414"]),
    "of no length": (lambda: lf.unit_vector(np.zeros((3, 0))), ["at least one element, got shape (3, 0)"]),
    "not orthogonal": (lambda: lf.orthogonal_matrix([[1.0, 0.1], [0.0, 1.0]]), ["length 1 and right angles"]),
    "a reflection": (
        lambda: lf.orthogonal_matrix([[1.0, 0.0], [0.0, -1.0]]),
        ["only rotations", "flip the sign of a column"],
    ),
    "a half turn": (lambda: lf.orthogonal_matrix(-np.eye(2)), ["half a turn (eigenvalue -1) is not reached"]),
    "of higher rank": (lambda: lf.low_rank(np.eye(3), 2), ["rank at most 2 is stored, got one of rank 3"]),
    "ravel of higher rank": (
        lambda: LowRank(1).ravel(jnp.eye(2), ArraySpec((2, 2), np.dtype(float))),
        ["rank at most 1 is stored, got one of rank 2"],
    ),
    "a rank beyond the sides": (lambda: lf.low_rank(np.ones((2, 3)), 3), ["rank 3 has two sides of at least that"]),
    "no rank": (lambda: lf.low_rank(np.ones((2, 3)), 0), ["the rank is at least 1, got 0"]),
    "a negative scale": (lambda: lux.real(1.0, scale=-1.0), ["a scale is a finite number above 0, got -1.0"]),
    "an infinite scale": (lambda: ScaledMap(Real(), math.inf), ["a scale is a finite number above 0, got inf"]),
    "wrong when scaled": (
        lambda: lux.positive(-2.0, scale=2.0),
        ["divided by the scale 2.0: ", "a finite number above 0"],
    ),
    "wrong within": (
        lambda: Composed(Positive(), Ordered()).check(np.array([2.0, 1.0])),
        ["as Positive() stores it: an ordered vector is strictly increasing"],
    ),
    "no triangle": (lambda: Symmetric().forward(jnp.ones(4)), ["no triangle of a matrix has as many numbers"]),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("make", "parts"), mistakes.values(), ids=mistakes)
def test_mistakes(make, parts):
    with pytest.raises(ValueError, match=re.escape(parts[0])) as caught:
        make()
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_a_value_that_is_set_is_checked_too():
    ps = flatten({"cov": lf.positive_definite(np.eye(2)), "b": 1.0})
    refused(lambda: ps.set("cov", -jnp.eye(2)), lux.LayoutError, "cov: a positive definite matrix")
    np.testing.assert_allclose(ps.set("cov", 4 * jnp.eye(2)).cov, 4 * np.eye(2), rtol=1e-15)


# Complex parameters need no declaration


def test_complex_parameters_are_declared_as_they_are(key):
    model = lux.ParameterDict(z=1 + 2j, w=np.array([1j, 2.0]), x=0.5)
    ps, _ = lux.setup(key, model)
    np.testing.assert_array_equal(ps.vector, [1, 2, 0, 1, 2, 0, 0.5])
    assert ps.z.dtype == np.complex128
    assert lux.layout_of(model) is ps.layout
    assert "ComplexAsReals()" in str(ps.layout)
    assert "1+2j" in repr(ps)
    np.testing.assert_array_equal(ps.set("z", 3j).vector[:2], [0, 3])
    np.testing.assert_array_equal(ps.set("z", 4.0).vector[:2], [4, 0])
    gradient = jax.grad(lambda ps: jnp.abs(ps.z) ** 2 + jnp.sum(jnp.abs(ps.w) ** 2) + ps.x)(ps)
    np.testing.assert_allclose(gradient.vector, [2, 4, 0, 2, 4, 0, 1], rtol=1e-15)
    single, _ = lux.setup(key, model, dtype=jnp.float32)
    assert single.z.dtype == np.complex64
    assert flatten({"z": jnp.ones(2, jnp.complex64)}).vector.dtype == jnp.float32
    with_unit = flatten({"z": lux.Parameter(1j, unit="V")})
    assert with_unit.layout["z"].ravel_map == ComplexAsReals()
    assert with_unit.layout["z"].unit == "V"
    batch = ps.replace(jnp.stack([ps.vector, 2 * ps.vector]))
    np.testing.assert_array_equal(batch.z, [1 + 2j, 2 + 4j])
    np.testing.assert_array_equal(ps.layout.ravel(batch.params), batch.vector)


def test_there_is_no_complex_bfloat16():
    refused(
        lambda: flatten({"z": 1j}, jnp.bfloat16), lux.LayoutError, "no complex numbers of two bfloat16", "jnp.float32"
    )
