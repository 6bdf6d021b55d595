"""Constraint maps: bijections between real numbers and the values that are allowed."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sciml_lux as lux
from sciml_lux.flatten import Bounded, Fixed, Positive, PositiveSoftplus, Real, flatten

inf = math.inf
MAPS = {
    "real": (Real(), -inf, inf),
    "positive": (Positive(), 0.0, inf),
    "softplus": (PositiveSoftplus(), 0.0, inf),
    "between": (Bounded(-1.5, 4.0), -1.5, 4.0),
    "narrow": (Bounded(1.0, 1.0 + 1e-9), 1.0, 1.0 + 1e-9),
    "above": (Bounded(2.0, inf), 2.0, inf),
    "below": (Bounded(-inf, 2.0), -inf, 2.0),
    "unbounded": (Bounded(-inf, inf), -inf, inf),
}
every_map = pytest.mark.parametrize(("ravel_map", "lower", "upper"), MAPS.values(), ids=MAPS)
numbers = np.array([[-6.0, -1.0, -1e-3], [0.0, 0.5, 5.0]])


@every_map
def test_inverse_undoes_forward(ravel_map, lower, upper):
    values = ravel_map.forward(jnp.asarray(numbers))
    assert np.all((values >= lower) & (values <= upper))
    # A narrow interval keeps as many digits of the number as the width has in the values.
    precision = 1e-5 if upper - lower < 1e-6 else 1e-12
    np.testing.assert_allclose(ravel_map.inverse(values), numbers, rtol=precision, atol=precision)
    np.testing.assert_allclose(ravel_map.forward(ravel_map.inverse(values)), values, rtol=1e-14, atol=1e-15)


@every_map
def test_the_log_determinant_is_that_of_the_jacobian(ravel_map, lower, upper):
    flat = jnp.asarray(numbers).reshape(-1)
    jacobian = jax.jacobian(ravel_map.forward)(flat)
    sign, expected = np.linalg.slogdet(np.asarray(jacobian))
    assert abs(sign) == 1
    np.testing.assert_allclose(ravel_map.log_abs_det_jacobian(flat), expected, rtol=1e-12, atol=1e-12)
    assert ravel_map.log_abs_det_jacobian(jnp.asarray(numbers)).shape == ()


@every_map
def test_the_derivative_is_the_finite_difference_and_forward_mode(ravel_map, lower, upper):
    flat, step = jnp.asarray(numbers).reshape(-1), 1e-5
    reverse = jax.grad(lambda u: jnp.sum(ravel_map.forward(u)))(flat)
    _, forward = jax.jvp(ravel_map.forward, (flat,), (jnp.ones_like(flat),))
    difference = (ravel_map.forward(flat + step) - ravel_map.forward(flat - step)) / (2 * step)
    np.testing.assert_allclose(reverse, forward, rtol=1e-14)
    if upper - lower > 1e-6:  # the values of the narrow one have too few digits for a difference
        np.testing.assert_allclose(reverse, difference, rtol=1e-6, atol=1e-9)


@every_map
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_extreme_numbers_stay_finite_and_within_bounds(ravel_map, lower, upper, dtype):
    # exp leaves the range of floats beyond +-700 (+-87 in float32): as far as every map must go.
    far = 700.0 if dtype == jnp.float64 else 87.0
    extreme = jnp.array([-far, -40.0, 40.0, far], dtype)
    values = ravel_map.forward(extreme)
    assert values.dtype == dtype
    assert np.all(np.isfinite(values))
    assert np.all((values >= dtype(lower)) & (values <= dtype(upper)))
    assert np.isfinite(ravel_map.log_abs_det_jacobian(extreme))
    assert np.all(np.isfinite(jax.grad(lambda u: jnp.sum(ravel_map.forward(u)))(extreme)))


def test_a_bounded_map_is_finite_everywhere():
    for number in (-1e300, 1e300):
        value, slope = jax.value_and_grad(Bounded(-1.5, 4.0).forward)(number)
        assert value == (-1.5 if number < 0 else 4.0)
        assert slope == 0.0


@given(st.floats(1e-12, 1 - 1e-12), st.sampled_from([(0.0, 1.0), (-3.0, 7.0), (1e6, 1e6 + 1)]))
def test_a_start_between_bounds_is_kept(fraction, bounds):
    lower, upper = bounds
    value = lower + fraction * (upper - lower)
    if lower < value < upper:
        ps = flatten({"a": lux.bounded(value, lower, upper)})
        np.testing.assert_allclose(ps.a, value, rtol=1e-13)


@given(st.floats(1e-300, 1e300))
def test_a_positive_start_is_kept(value):
    # The logarithm carries the relative precision of |log value|, at most 700.
    np.testing.assert_allclose(flatten({"a": lux.positive(value)}).a, value, rtol=2e-13)


def test_values_next_to_either_bound_keep_their_digits():
    tiny = 1e-12
    ps = flatten({"a": lux.bounded(tiny, 0.0, 1.0), "b": lux.bounded(-tiny, -1.0, 0.0)})
    np.testing.assert_allclose([ps.a, -ps.b], tiny, rtol=1e-13)


def test_fixed_takes_no_room_and_shows_its_value():
    ps = flatten({"a": lux.fixed(2.0), "b": lux.fixed([[1.0, 2.0], [3.0, 4.0]]), "c": 1.0})
    assert ps.layout.size == 1
    assert ps.a == 2.0
    np.testing.assert_array_equal(ps.b, [[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(jax.grad(lambda ps: ps.a * jnp.sum(ps.b) * ps.c)(ps).vector, [20.0])
    np.testing.assert_array_equal(jax.jit(lambda ps: ps.b)(ps), ps.b)
    fixed = Fixed(2.0)
    nothing = fixed.inverse(jnp.float64(2.0))
    assert nothing.shape == (0,)
    assert fixed.forward(nothing) == 2.0
    assert fixed.log_abs_det_jacobian(nothing) == 0.0


def test_the_same_value_may_be_set_on_a_fixed_one():
    ps = flatten({"a": lux.fixed(0.1), "b": 1.0}, jnp.float32)
    np.testing.assert_array_equal(ps.set("a", 0.1).vector, ps.vector)
    np.testing.assert_array_equal(ps.set("a", ps.a).vector, ps.vector)


@pytest.mark.parametrize(
    "declare",
    [
        lambda unit: lux.real(0.5, unit=unit),
        lambda unit: lux.positive(0.5, unit=unit),
        lambda unit: lux.positive(0.5, unit=unit, scale=0.1),
        lambda unit: lux.bounded(0.5, 0.0, 1.0, unit=unit),
        lambda unit: lux.fixed(0.5, unit=unit),
    ],
)
def test_units_survive_every_transformation(declare):
    model = lux.ParameterDict(a=declare("kg"), b=1.0)
    ps, _ = lux.setup(jax.random.key(0), model)
    assert ps.layout["a"].unit == "kg"
    assert ps.layout["b"].unit is None
    assert lux.layout_of(model) is ps.layout
    assert jax.jit(lambda ps: ps)(ps).layout["a"].unit == "kg"
    assert jax.grad(lambda ps: ps.b)(ps).layout["a"].unit == "kg"
    assert ps.set("b", 2.0).layout["a"].unit == "kg"
    assert 'unit="kg"' in repr(model).replace("'", '"')


@pytest.mark.parametrize(
    "text",
    [
        "real(0.0)",
        "positive(0.5, unit='1/year')",
        "bounded(0.1, 0.0, 1.0)",
        'bounded(0.1, 0.0, float("inf"))',
        'bounded(0.1, float("-inf"), 1.0)',
        "fixed(2.0)",
        "fixed((1.0, 2.0))",
    ],
)
def test_a_declaration_is_shown_as_it_is_written(text):
    model = lux.ParameterDict(a=eval(text, vars(lux)))
    assert text in repr(model)
    assert eval(repr(model), vars(lux) | {"__builtins__": __builtins__}) == model
