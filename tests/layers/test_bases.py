"""Bases, tensor products and splines, against NumPy's polynomials and SciPy's splines."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.interpolate
from helpers import refused, setup
from numpy.polynomial import chebyshev, legendre

import sciml_lux as lux

bases = lux.bases
LayerError, ShapeError = lux.LayerError, lux.ShapeError

x = np.concatenate([np.linspace(-1.0, 1.0, 41), [-1.7, 1.3, 4.0]])


def close(got, expected, rtol=1e-12, atol=1e-13):
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


# Polynomials


@pytest.mark.parametrize("number", [1, 2, 3, 12])
def test_polynomials_are_numpys(number):
    close(bases.Chebyshev(number)(jnp.asarray(x)), chebyshev.chebvander(x, number - 1))
    close(bases.Legendre(number)(jnp.asarray(x)), legendre.legvander(x, number - 1))
    close(bases.Polynomial(number)(jnp.asarray(x)), np.vander(x, number, increasing=True))


def test_chebyshev_polynomials_are_cosines_of_multiples_up_to_high_degrees():
    angles = np.linspace(0.0, np.pi, 101)
    close(bases.Chebyshev(200)(jnp.cos(angles)), np.cos(angles[:, None] * np.arange(200)), atol=1e-11)


def test_legendre_polynomials_are_orthogonal():
    nodes, weights = legendre.leggauss(30)
    values = np.asarray(bases.Legendre(30)(jnp.asarray(nodes)))
    close(values.T @ (weights[:, None] * values), np.diag(2 / (2 * np.arange(30) + 1)), atol=1e-12)


@pytest.mark.parametrize("kind", [bases.Chebyshev, bases.Legendre])
def test_another_interval_is_mapped_to_the_standard_one(kind):
    close(kind(6, lower=2.0, upper=5.0)(jnp.asarray(3.5 + 1.5 * x)), kind(6)(jnp.asarray(x)), atol=1e-9)


@pytest.mark.parametrize(
    ("basis", "derivative"),
    [(bases.Chebyshev(7), chebyshev.Chebyshev), (bases.Legendre(7), legendre.Legendre)],
    ids=["Chebyshev", "Legendre"],
)
def test_derivatives_are_numpys_at_the_ends_too(basis, derivative):
    got = jax.vmap(jax.jacfwd(basis))(jnp.asarray(x))
    expected = np.stack([derivative.basis(k).deriv()(x) for k in range(7)], axis=-1)
    close(got, expected, atol=1e-11)


# Sines and cosines


@pytest.mark.parametrize("number", [1, 2, 5, 6])
@pytest.mark.parametrize("period", [2 * math.pi, 0.7])
def test_sines_and_cosines(number, period):
    a = 2 * np.pi * x[:, None] / period
    multiples = np.arange(1, number + 1)
    close(bases.Sine(number, period=period)(jnp.asarray(x)), np.sin(a * multiples), atol=1e-12)
    close(bases.Cosine(number, period=period)(jnp.asarray(x)), np.cos(a * multiples), atol=1e-12)
    series = [np.ones_like(a)] + [f(k * a) for k in range(1, number) for f in (np.cos, np.sin)]
    close(bases.Fourier(number, period=period)(jnp.asarray(x)), np.concatenate(series, axis=1)[:, :number], atol=1e-12)


def test_far_from_0_nothing_is_lost():
    # 1024 periods of 1: whole numbers, so that the distance from 0 costs no digit.
    near = jnp.asarray(np.linspace(0.0, 0.875, 8))
    close(bases.Fourier(21, period=1.0)(near + 1024.0), bases.Fourier(21, period=1.0)(near), atol=1e-15)


def test_the_derivative_of_a_sine_does_not_see_the_periods_taken_off():
    points = jnp.asarray([0.2, 0.5, 3.75, -7.5])
    got = jax.vmap(jax.jacfwd(bases.Sine(2, period=1.0)))(points)
    k = 2 * np.pi * np.arange(1, 3)
    close(got, k * np.cos(k * np.asarray(points)[:, None]), atol=1e-12)


# B-splines


@pytest.mark.parametrize(("number", "degree"), [(1, 0), (4, 0), (2, 1), (5, 1), (6, 2), (4, 3), (9, 3), (8, 5)])
def test_b_splines_are_scipys(number, degree):
    basis = bases.BSpline(number, degree=degree, lower=-0.5, upper=2.0)
    points = np.concatenate([np.linspace(-0.5, 2.0, 23), np.unique(basis.knots)])
    expected = scipy.interpolate.BSpline.design_matrix(points, basis.knots, degree).toarray()
    close(basis(jnp.asarray(points)), expected)
    close(jnp.sum(basis(jnp.asarray(points)), axis=-1), np.ones(len(points)))
    np.testing.assert_array_equal(basis(jnp.asarray([-0.6, 2.1, 1e300])), np.zeros((3, number)))


def test_derivatives_of_b_splines_are_scipys():
    basis = bases.BSpline(7, degree=3)
    points = np.linspace(-0.99, 0.99, 14)
    got = jax.vmap(jax.jacfwd(basis))(jnp.asarray(points))
    for i, weights in enumerate(np.eye(7)):
        close(got[:, i], scipy.interpolate.BSpline(basis.knots, weights, 3).derivative()(points), atol=1e-12)


@pytest.mark.parametrize(
    "basis",
    [bases.Chebyshev(4), bases.Legendre(4), bases.Polynomial(4), bases.Fourier(4), bases.Sine(4), bases.Cosine(4)]
    + [bases.BSpline(4, degree=degree) for degree in (0, 1, 3)],
    ids=repr,
)
def test_every_basis(basis):
    assert eval(repr(basis), vars(lux)) == basis
    assert basis(jnp.zeros((2, 0, 3))).shape == (2, 0, 3, 4)
    assert np.all(np.isnan(np.asarray(basis(jnp.nan * jnp.ones(2)))[:, 1:]))
    for dtype in (jnp.float32, jnp.bfloat16):
        values = basis(jnp.asarray(0.3, dtype))
        assert values.dtype == dtype
        close(values.astype(float), basis(jnp.asarray(0.3, dtype).astype(float)), rtol=1e-2, atol=1e-2)


# Tensor products


def test_a_tensor_product_is_the_sum_of_products():
    layer = lux.TensorProductLayer((bases.Chebyshev(3), bases.Fourier(4), bases.Polynomial(2)), 2)
    ps, st = setup(layer)
    assert ps.weight.shape == (3, 4, 2, 2)
    points = jax.random.normal(jax.random.key(1), (2, 5, 3))
    factors = [np.asarray(basis(points[..., i])) for i, basis in enumerate(layer.bases)]
    expected = np.einsum("...i,...j,...k,ijko->...o", *factors, np.asarray(ps.weight))
    close(layer(points, ps, st)[0], expected)


def test_a_polynomial_of_several_variables_is_numpys():
    layer = lux.TensorProductLayer((bases.Chebyshev(4), bases.Chebyshev(5)), 1)
    ps, st = setup(layer)
    points = np.random.default_rng(0).uniform(-1, 1, (7, 2))
    expected = chebyshev.chebval2d(points[:, 0], points[:, 1], np.asarray(ps.weight)[..., 0])
    close(layer(jnp.asarray(points), ps, st)[0][:, 0], expected)


def test_a_basis_of_ones_own():
    @dataclasses.dataclass(frozen=True, repr=False)
    class Exponentials(bases.AbstractBasis):
        number: int

        def evaluate(self, x):
            return jnp.exp(-x[..., None] * jnp.arange(self.number, dtype=x.dtype)[(None,) * x.ndim])

    layer = lux.TensorProductLayer((Exponentials(3),), 1)
    assert repr(layer).startswith("TensorProductLayer((Exponentials(3),), 1)")
    y, _ = layer(jnp.asarray([0.5]), {"weight": jnp.asarray([[1.0], [2.0], [3.0]])}, {})
    close(y, [1 + 2 * np.exp(-0.5) + 3 * np.exp(-1.0)])


# Splines

knots = (-1.0, 0.0, 0.5, 2.0, 3.0)
inside = np.concatenate([np.linspace(-1.0, 3.0, 37), knots])
values = np.random.default_rng(1).normal(size=(5, 2))


def spline(points, **options):
    layer = lux.SplineLayer(knots, 2, **options)
    return layer(jnp.asarray(points)[:, None], {"weight": jnp.asarray(values)}, {})[0]


def test_lines_and_steps_are_scipys():
    close(spline(inside, degree=1), np.stack([np.interp(inside, knots, v) for v in values.T], axis=-1))
    close(spline(inside, degree=0), scipy.interpolate.interp1d(knots, values, kind="previous", axis=0)(inside))


def test_cubics_are_scipys_natural_splines():
    reference = scipy.interpolate.CubicSpline(knots, values, bc_type="natural")
    close(spline(inside), reference(inside))
    derivatives = jax.vmap(jax.jacfwd(lambda t: spline(t[None])[0]))(jnp.asarray(inside[1:36]))
    close(derivatives, reference(inside[1:36], 1), atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_outside_the_knots_it_goes_on_as_said(degree):
    outside, ends = np.array([-1.5, -3.0, 3.5, 1e6]), np.array([-1.0, -1.0, 3.0, 3.0])
    close(spline(outside, degree=degree), spline(ends, degree=degree))
    assert np.all(np.isnan(spline(outside, degree=degree, extrapolation="nan")))
    close(spline(inside, degree=degree, extrapolation="nan"), spline(inside, degree=degree))
    close(spline(inside, degree=degree, extrapolation="linear"), spline(inside, degree=degree))
    slopes = {
        0: np.zeros((2, 2)),
        1: np.stack([values[1] - values[0], values[4] - values[3]]),
        3: scipy.interpolate.CubicSpline(knots, values, bc_type="natural")(np.array([-1.0, 3.0]), 1),
    }[degree]
    expected = spline(ends, degree=degree) + slopes[[0, 0, 1, 1]] * (outside - ends)[:, None]
    close(spline(outside, degree=degree, extrapolation="linear"), expected)


def test_a_nan_is_not_hidden():
    for degree in (0, 1, 3):
        for extrapolation in ("constant", "linear", "nan"):
            assert np.all(np.isnan(spline(np.array([np.nan]), degree=degree, extrapolation=extrapolation)))


def test_outside_in_nan_mode_the_gradient_is_nan_too():
    layer = lux.SplineLayer(knots, 1, extrapolation="nan")
    ps, st = setup(layer)
    assert np.all(np.isnan(jax.grad(lambda ps: layer(jnp.asarray([5.0]), ps, st)[0][0])(ps).vector))


@pytest.mark.parametrize("degree", [1, 3])
def test_a_grid_is_interpolated_along_each_axis_in_turn(degree):
    axes = (np.array([0.0, 1.0, 3.0]), np.linspace(-1.0, 1.0, 5))
    layer = lux.SplineLayer(axes, 2, degree=degree)
    weight = np.random.default_rng(2).normal(size=(3, 5, 2))
    points = np.stack([np.linspace(0.0, 3.0, 9), np.linspace(1.0, -1.0, 9)], axis=-1)
    y, _ = layer(jnp.asarray(points), {"weight": jnp.asarray(weight)}, {})

    def along(knots, values, at):
        if degree == 1:
            return scipy.interpolate.interp1d(knots, values, axis=0)(at)
        return scipy.interpolate.CubicSpline(knots, values, bc_type="natural")(at)

    expected = [along(axes[1], along(axes[0], weight, p[0]), p[1]) for p in points]
    close(y, np.stack(expected))


def test_it_goes_through_its_values_and_a_line_stays_one():
    layer = lux.SplineLayer(np.linspace(0.0, 1.0, 7), 1)
    line = 2 - 3 * np.linspace(0.0, 1.0, 7)[:, None]
    t = np.linspace(0.0, 1.0, 30)[:, None]
    close(layer(jnp.asarray(t), {"weight": jnp.asarray(line)}, {})[0], 2 - 3 * t)
    pair = lux.SplineLayer((0.0, 2.0), 1)
    close(pair(jnp.asarray([0.5]), {"weight": jnp.asarray([[1.0], [5.0]])}, {})[0], [2.0])
    single = lux.SplineLayer((1.0,), 1, degree=0)
    close(single(jnp.asarray([7.0]), {"weight": jnp.asarray([[4.0]])}, {})[0], [4.0])


def test_knots_may_come_as_arrays_and_lists():
    layer = lux.SplineLayer(np.linspace(0.0, 1.0, 3), 1)
    assert layer == lux.SplineLayer([0, 0.5, 1], 1) == lux.SplineLayer(((0.0, 0.5, 1.0),), 1)
    assert layer.knots == ((0.0, 0.5, 1.0),)
    assert layer != lux.SplineLayer(jnp.linspace(0.0, 2.0, 3), 1)


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bases.Chebyshev(0), "bases.Chebyshev: number is a whole number, 1 or more, got 0"),
        (lambda: bases.Legendre(2.0), "bases.Legendre: number is a whole number, 1 or more, got 2.0"),
        (lambda: bases.Chebyshev(3, lower=1.0), "lower and upper are numbers in this order, got (1.0, 1.0)"),
        (lambda: bases.Legendre(3, upper=math.nan), "lower and upper are numbers in this order"),
        (lambda: bases.Fourier(3, period=-1.0), "bases.Fourier: period is a positive number, got -1.0"),
        (lambda: bases.Sine(3, period="1"), "bases.Sine: period is a positive number, got '1'"),
        (lambda: bases.BSpline(3), "bases.BSpline: number is a whole number, 4 or more, got 3"),
        (lambda: bases.BSpline(3, degree=-1), "bases.BSpline: degree is a whole number, 0 or more, got -1"),
        (lambda: lux.TensorProductLayer((), 2), "bases is a tuple such as (lux.bases.Chebyshev(5),)"),
        (lambda: lux.TensorProductLayer(bases.Chebyshev(2), 2), "one for each input, got bases.Chebyshev(2)"),
        (lambda: lux.TensorProductLayer((3,), 2), "bases is a tuple"),
        (
            lambda: lux.TensorProductLayer((bases.Sine(3),), -1),
            "out_features is a number of features, 0 or more, got -1",
        ),
        (lambda: lux.SplineLayer((0.0, 0.0), 1), "knots are increasing numbers such as np.linspace(0.0, 1.0, 5)"),
        (lambda: lux.SplineLayer((0.0, math.inf), 1), "knots are increasing numbers"),
        (lambda: lux.SplineLayer(5, 1), "knots are increasing numbers"),
        (lambda: lux.SplineLayer("01", 1), "knots are increasing numbers"),
        (lambda: lux.SplineLayer((), 1), "knots are increasing numbers"),
        (lambda: lux.SplineLayer(((0.0, 1.0), ()), 1), "knots are increasing numbers"),
        (lambda: lux.SplineLayer((0.0,), 1), "degree 3 takes at least two knots an axis"),
        (lambda: lux.SplineLayer((0.0, 1.0), 1, degree=2), "degree is one of 0, 1, 3, got 2"),
        (lambda: lux.SplineLayer((0.0, 1.0), 1, extrapolation="cubic"), "extrapolation is one of 'constant'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused(make, message):
    refused(make, LayerError, message)


@pytest.mark.usefixtures("unchecked")
def test_inputs_of_another_size_are_refused():
    for layer in (lux.TensorProductLayer((bases.Sine(2),), 1), lux.SplineLayer((0.0, 1.0), 1)):
        ps, st = setup(layer)
        refused(lambda: layer(jnp.ones((3, 2)), ps, st), ShapeError, "1 features on the last axis", "(3, 2)")  # noqa: B023
        refused(lambda: layer(jnp.ones(()), ps, st), ShapeError, "shape ()")  # noqa: B023
        assert layer(jnp.ones((0, 1)), ps, st)[0].shape == (0, 1)
