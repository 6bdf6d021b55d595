"""Least squares over a parameter vector and curve fitting: against SciPy, the delta method, what is flagged, what is refused."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest
import scipy.optimize
import scipy.special
from helpers import refused

import sciml_lux as lux
from sciml_lux.core import cached_function
from sciml_lux.estimation import curve_fit, least_squares
from sciml_lux.estimation._evaluate import evaluate
from sciml_lux.estimation._warnings import find_warnings

RANDOM = np.random.default_rng(0)
X = np.linspace(0.1, 5.0, 30)
Y = 2.5 * np.exp(-0.7 * X) + 0.3 + 0.02 * RANDOM.normal(size=30)
SIGMA = 0.01 + 0.02 * RANDOM.random(30)


def decay(x, a, b, c):
    return a * jnp.exp(-b * x) + c


def decay_numpy(x, a, b, c):
    return a * np.exp(-b * x) + c


def decay_residual(ps, st, data):
    x, y = data
    return decay(x, ps.a, ps.b, ps.c) - y, st


def numbers(params):
    return np.array([float(value) for value in params.values()])


@pytest.fixture(scope="module")
def fitted():
    return curve_fit(decay, X, Y, (1.0, 1.0, 0.0))


# Against SciPy


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"sigma": SIGMA},
        {"sigma": SIGMA, "absolute_sigma": True},
        {"bounds": ([0.0, 0.0, -np.inf], [10.0, np.inf, 1.0])},
        {"bounds": (-5.0, 5.0), "sigma": SIGMA},
    ],
    ids=["plain", "sigma", "absolute sigma", "bounds", "scalar bounds"],
)
def test_the_same_as_scipy(arguments):
    bounds = {"bounds": arguments["bounds"]} if "bounds" in arguments else {}
    others = {key: value for key, value in arguments.items() if key != "bounds"}
    popt, pcov = scipy.optimize.curve_fit(
        decay_numpy, X, Y, (1.0, 1.0, 0.1), ftol=1e-14, xtol=1e-14, gtol=1e-14, **bounds, **others
    )
    result = curve_fit(decay, X, Y, (1.0, 1.0, 0.1), **arguments)
    np.testing.assert_allclose(numbers(result.values), popt, rtol=1e-6)
    np.testing.assert_allclose(result.covariance, pcov, rtol=2e-5)
    np.testing.assert_allclose(numbers(result.stderr), np.sqrt(np.diag(pcov)), rtol=1e-5)


def test_statistics_of_a_line():
    """Against the textbook formulas for a straight line."""
    result = curve_fit(lambda x, slope, shift: slope * x + shift, X, Y, (0.0, 0.0))
    design = np.stack([X, np.ones_like(X)], axis=1)
    estimate, (rss,), _, _ = np.linalg.lstsq(design, Y)
    np.testing.assert_allclose(numbers(result.values), estimate, rtol=1e-10)
    np.testing.assert_allclose(result.covariance, rss / 28 * np.linalg.inv(design.T @ design), rtol=1e-10)
    assert (result.num_data, result.degrees_of_freedom) == (30, 28)
    np.testing.assert_allclose(result.chi_square, rss)
    np.testing.assert_allclose(result.residual_std, np.sqrt(rss / 28))
    np.testing.assert_allclose(result.aic, 30 * np.log(rss / 30) + 4)
    np.testing.assert_allclose(result.bic, 30 * np.log(rss / 30) + 2 * np.log(30))
    np.testing.assert_allclose(result.residuals, design @ estimate - Y, atol=1e-10)


# The delta method


def test_the_covariance_does_not_depend_on_how_parameters_are_stored(fitted):
    declared = {"a": lux.positive(1.0), "b": lux.bounded(1.0, 0.1, 3.0), "c": lux.real(0.0)}
    result = curve_fit(decay, X, Y, declared)
    np.testing.assert_allclose(numbers(result.values), numbers(fitted.values), rtol=1e-9)
    np.testing.assert_allclose(result.covariance, fitted.covariance, rtol=1e-6)


def test_the_covariance_of_parameters_that_share_storage():
    """A map that shows more than it stores: the covariance of what is shown is singular, and right."""

    def residual(ps, st, data):
        return ps.shares @ jnp.stack([jnp.asarray(X), jnp.asarray(X) ** 2]) - data, st

    data = jnp.asarray(0.3 * X + 0.7 * X**2 + 0.1 * np.cos(9 * X))
    shares = lux.Parameter(np.array([0.5, 0.5]), Shares())
    result = least_squares(residual, lux.flatten.flatten({"shares": shares}), data=data)
    assert result.names == ("shares[0]", "shares[1]")
    assert result.degrees_of_freedom == 29
    np.testing.assert_allclose(np.sum(result.values.shares), 1.0)
    np.testing.assert_allclose(result.covariance, result.covariance[0, 0] * np.array([[1, -1], [-1, 1]]), rtol=1e-9)


class Shares(lux.flatten.AbstractRavelMap):
    """Two numbers that add up to 1, stored as the first."""

    def size(self, spec):
        return 1

    def ravel(self, value, spec):
        return value[:1]

    def unravel(self, segment, spec):
        return jnp.concatenate([segment, 1 - segment])

    def __eq__(self, other):
        return type(other) is Shares

    def __hash__(self):
        return 0


# Over a model, with state, constants, trees and units


def model_parameters(**changes):
    declared = {"a": lux.positive(1.0, unit="mg"), "b": lux.positive(1.0, unit="1/h"), "c": lux.real(0.0)}
    return lux.flatten.flatten({**declared, **changes})


def test_least_squares_over_a_layer(fitted, key):
    rates = lux.ParameterDict(a=lux.positive(1.0), b=lux.positive(1.0), c=lux.real(0.0))
    ps, st = lux.setup(key, rates)
    result = least_squares(decay_residual, ps, st, (jnp.asarray(X), jnp.asarray(Y)))
    np.testing.assert_allclose(numbers(result.values), numbers(fitted.values), rtol=1e-9)
    assert isinstance(result.ps, lux.FlatParams)
    np.testing.assert_allclose(result.ps.b, result.values.b)
    assert result.jacobian.shape == (30, 3)


def test_names_constants_and_structure():
    def residual(ps, st, data):
        curve = ps.net.weight[0, 0] * X**2 + ps.net.weight[0, 1] * X + ps.c
        return {"all": curve - Y, "prior": ps.net.weight - 1.0}, st

    tree = {"net": {"weight": jnp.zeros((1, 2))}, "c": lux.fixed(0.5)}
    result = least_squares(residual, lux.flatten.flatten(tree))
    assert result.names == ("net.weight[0,0]", "net.weight[0,1]")
    assert result.stderr.net.weight.shape == (1, 2)
    assert (float(result.values.c), float(result.stderr.c)) == (0.5, 0.0)
    assert result.residuals["prior"].shape == (1, 2)
    assert result.num_data == 32


def test_the_state_advances_once():
    def residual(ps, st, data):
        return ps.a - jnp.arange(4.0), st.set("calls", st.calls + 1)

    result = least_squares(residual, lux.flatten.flatten({"a": 0.0}), lux.State(calls=jnp.array(0)))
    assert int(result.st.calls) == 1
    np.testing.assert_allclose(result.values.a, 1.5)


def test_nothing_to_estimate():
    result = least_squares(
        decay_residual, model_parameters(a=lux.fixed(1.0), b=lux.fixed(1.0), c=lux.fixed(0.0)), data=DATA
    )
    assert (result.names, result.covariance.shape, result.degrees_of_freedom) == ((), (0, 0), 30)
    assert "fixed" in repr(result)


DATA = (jnp.asarray(X), jnp.asarray(Y))


@pytest.mark.parametrize(
    "solver", [optx.LevenbergMarquardt(1e-10, 1e-10), optx.BFGS(1e-10, 1e-10)], ids=lambda s: type(s).__name__
)
def test_any_solver_of_optimistix(solver, fitted):
    result = least_squares(decay_residual, model_parameters(), data=DATA, solver=solver)
    np.testing.assert_allclose(numbers(result.values), numbers(fitted.values), rtol=1e-5)


def test_the_report(fitted):
    result = least_squares(decay_residual, model_parameters(c=lux.fixed(0.3)), data=DATA)
    text = str(result)
    for piece in ("converged", "estimate", "std. error", "1/h", "fixed", "30 data, 2 parameters, 28 degrees", "AIC"):
        assert piece in text
    assert "unit" not in str(fitted)
    correlated = str(curve_fit(lambda x, a, b: a * (x + 100.0) + b, X, Y, (0.0, 0.0)))
    assert "a, b: -0.99" in correlated


def test_a_second_call_compiles_nothing():
    traced = []

    def curve(x, a):
        traced.append(a)
        return a * x

    curve_fit(curve, X, Y, (1.0,))
    before = len(traced)
    curve_fit(curve, X, 2 * Y, (3.0,), max_steps=2000)
    assert len(traced) == before


# What the data do not determine


def test_rank_deficiency_is_flagged():
    result = curve_fit(lambda x, a, b, c: a * b * x + c, X, Y, (1.0, 1.0, 0.0))
    assert result.unidentified == ("a", "b")
    assert np.isinf(result.stderr.a)
    assert np.isinf(result.stderr.b)
    assert np.isnan(result.covariance[0, 2])
    line = curve_fit(lambda x, a, c: a * x + c, X, Y, (1.0, 0.0))
    # One degree of freedom fewer.
    np.testing.assert_allclose(result.stderr.c, line.stderr.c * np.sqrt(28 / 27), rtol=1e-6)
    assert "do not determine a, b" in str(result)


def test_a_parameter_without_influence_is_flagged():
    result = curve_fit(lambda x, a, b: a * x + 0.0 * b, X, Y, (1.0, 1.0))
    assert result.unidentified == ("b",)
    assert np.isfinite(result.stderr.a)


def test_as_many_data_as_parameters():
    result = curve_fit(lambda x, a, b: a * x + b, X[:2], Y[:2], (0.0, 0.0))
    assert np.all(np.isinf(numbers(result.stderr)))
    assert np.isnan(result.residual_std)
    assert "as many residuals as parameters" in str(result)


def test_an_estimate_at_its_bound_is_flagged():
    result = curve_fit(lambda x, a, b: a * x + b, X, Y, (-0.1, 1.0), bounds=((-1.0, 0.0), (-0.01, 1.5)))
    slope = np.sum(X * (Y - 1.5)) / np.sum(X**2)
    assert -1.0 < slope < -0.01
    assert result.outcome == "converged"
    assert result.active == {"b": "upper"}
    assert result.values.b == 1.5
    np.testing.assert_allclose(result.values.a, slope, rtol=1e-9)
    assert np.isnan(result.stderr.b)
    # What the line through (0, 1.5) alone says of its slope, with b counted as a parameter.
    residual = Y - 1.5 - slope * X
    np.testing.assert_allclose(result.stderr.a, np.sqrt(np.sum(residual**2) / (len(X) - 2) / np.sum(X**2)), rtol=1e-9)
    assert "at a bound: b (upper)" in str(result)
    assert "at upper bound" in str(result)


# Failures


def test_a_failed_solve_raises_or_says_so():
    with pytest.raises(lux.SolveError, match=r"max_steps=2, after 2 steps; .*\(a=.*Raise max_steps"):
        curve_fit(decay, X, Y, (30.0, 5.0, 0.0), max_steps=2)
    result = curve_fit(decay, X, Y, (30.0, 5.0, 0.0), max_steps=2, throw=False)
    assert not result.successful
    assert result.outcome == "stalled"
    assert np.all(np.isfinite(numbers(result.values)))
    assert np.all(np.isfinite(result.covariance))
    assert result.chi_square < np.sum((decay_numpy(X, 30.0, 5.0, 0.0) - Y) ** 2)
    assert np.all(np.isfinite(result.ps.vector))
    assert "STALLED after 2 steps" in str(result)


def nan_at(index):
    y = Y.copy()
    y[index] = np.nan
    return y


declare = functools.partial(curve_fit, decay, X, Y)

BAD = {
    "NaN in y": (lambda: curve_fit(decay, X, nan_at(7), (1, 1, 0)), ValueError, r"y: 1 of 30 .*first at \[7\] \(nan\)"),
    "infinite x": (lambda: curve_fit(decay, X * np.inf, Y, (1, 1, 0)), ValueError, "x: 30 of 30"),
    "lengths": (
        lambda: curve_fit(decay, X[:-1], Y, (1, 1, 0)),
        ValueError,
        r"x has shape \(29,\), y has shape \(30,\)",
    ),
    "empty": (lambda: curve_fit(decay, [], [], (1, 1, 0)), ValueError, "y is a sequence"),
    "text": (lambda: curve_fit(decay, X, ["a", "b"], (1, 1, 0)), TypeError, "y is an array of real numbers"),
    "p0 a text": (lambda: declare("a"), TypeError, "starting value for each parameter"),
    "no p0": (lambda: curve_fit(lambda x, *p: p[0] * x, X, Y), TypeError, "write p0, a starting value for each"),
    "p0 too short": (lambda: declare((1.0, 1.0)), TypeError, "p0 has 2 values, and f has 3 parameters: a, b, c"),
    "p0 unknown": (lambda: declare({"a": 1.0, "b": 1.0, "d": 0.0}), TypeError, r"missing \['c'\], unknown \['d'\]"),
    "p0 not finite": (lambda: declare((1.0, np.nan, 0.0)), ValueError, "p0, b"),
    "p0 an array": (lambda: declare((1.0, np.ones(2), 0.0)), TypeError, "b is one real number"),
    "bounds reversed": (lambda: declare((1, 1, 0), bounds=(1.0, -1.0)), ValueError, "bounds of a: .*lower <= upper"),
    "p0 outside": (lambda: declare((1, 9, 0), bounds=(-2.0, 5.0)), ValueError, "bounds of b: the start 9.0 is outside"),
    "bounds length": (lambda: declare((1, 1, 0), bounds=([0, 0], 5)), ValueError, "lower bounds .* a, b, c"),
    "bounds alone": (lambda: declare((1, 1, 0), bounds=5.0), ValueError, "pair"),
    "bounds twice": (lambda: declare((lux.positive(1.0), 1, 0), bounds=(0, 5)), TypeError, "one of the two"),
    "sigma": (lambda: declare((1, 1, 0), sigma=np.zeros(30)), ValueError, "above 0"),
    "sigma shape": (lambda: declare((1, 1, 0), sigma=np.eye(30)), ValueError, r"expected shape \(30,\)"),
    "constant": (lambda: curve_fit(lambda x, a: a, X, Y, (1.0,)), ValueError, "ones_like"),
    "too few data": (lambda: curve_fit(decay, X[:2], Y[:2], (1, 1, 0)), ValueError, "2 residuals do not determine 3"),
    "not finite at the start": (
        lambda: curve_fit(lambda x, a: jnp.log(a * x), X, Y, (-1.0,)),
        RuntimeError,
        r"residual: 30 of 30 .* starting parameters \(a=-1\)",
    ),
    "derivative not finite": (
        lambda: curve_fit(lambda x, a: jnp.sqrt(a) * x, X, Y, (0.0,)),
        RuntimeError,
        "derivative by a is not",
    ),
    "not a vector": (lambda: least_squares(decay_residual, {"a": 1.0}, data=DATA), TypeError, "FlatParams"),
    "a batch": (
        lambda: least_squares(decay_residual, model_parameters().replace(jnp.zeros((2, 3))), data=DATA),
        ValueError,
        "one vector",
    ),
    "no state": (lambda: least_squares(lambda ps, st, data: ps.vector, model_parameters()), TypeError, "return r, st"),
    "not an array": (
        lambda: least_squares(lambda ps, st, data: ("r", st), model_parameters()),
        TypeError,
        "array of differences first",
    ),
    "integers": (
        lambda: least_squares(lambda ps, st, data: (jnp.arange(5), st), model_parameters()),
        TypeError,
        "floating-point numbers, got int64, which have no derivative",
    ),
    "complex": (
        lambda: least_squares(
            lambda ps, st, data: (jax.lax.complex(ps.a, ps.b) * jnp.ones(9, complex), st), model_parameters()
        ),
        TypeError,
        r"real numbers, got complex128; write jnp.stack\(\[r.real, r.imag\]\)",
    ),
    "NaN in data": (
        lambda: least_squares(decay_residual, model_parameters(), data=(DATA[0], jnp.asarray(nan_at(3)))),
        ValueError,
        r"data\[1\]: 1 of 30 .*\[3\]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, unchecked):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def power(x, a):
    return np.exp(a) * x


def branch(x, a):
    return x * a if a > 0 else -x * a


def number(x, a):
    return math.exp(a) * x


def masked(x, a):
    curve = a * x
    return curve[curve > 0]


def special(x, a):
    return scipy.special.erf(a * x)


def cast(x, a):
    return x * float(a)


def counted(x, a):
    return sum(x for _ in range(a.astype(int)))


# A curve that needs numbers, what is said of it, and the curve that follows what is said.
UNTRACEABLE = {
    "numpy": (power, ["np.exp(a) * x", "np.exp, which needs numbers", "write jnp.exp"], lambda x, a: jnp.exp(a) * x),
    "if": (
        branch,
        ["if a > 0", "decides by a value", "write jnp.where(condition, a, b)"],
        lambda x, a: jnp.where(a > 0, x * a, -x * a),
    ),
    "math": (
        number,
        ["math.exp(a) * x", "math.exp, which needs numbers", "write jnp.exp"],
        lambda x, a: jnp.exp(a) * x,
    ),
    "mask": (
        masked,
        ["curve[curve > 0]", "by a mask", "write jnp.where(mask, values, 0.0)"],
        lambda x, a: jnp.where(a * x > 0, a * x, 0.0),
    ),
    "scipy": (special, ["scipy.special.erf", "write jax.scipy.special.erf"], lambda x, a: jax.scipy.special.erf(a * x)),
    "float": (cast, ["float(a)", "leave float() and .item() out"], lambda x, a: x * a),
    "range": (counted, ["range(a.astype(int))", "write jax.lax.fori_loop"], None),
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_a_curve_that_needs_numbers_is_told_where_and_what_to_write(name):
    curve, parts, advised = UNTRACEABLE[name]
    text = refused(
        lambda: curve_fit(curve, X, Y, (1.0,)), lux.LayerError, "f, the curve, is compiled", __file__, *parts
    )
    assert len(text) < 500
    residual = lambda ps, st, data: (curve(X, ps.a) - Y, st)  # noqa: E731
    refused(lambda: least_squares(residual, model_parameters()), lux.LayerError, "the residual is compiled", *parts)
    loss = lambda ps, st, data: (jnp.mean(curve(X, ps.a)), st)  # noqa: E731
    refused(
        lambda: lux.fit(loss, model_parameters(), {}, optax.sgd(0.1), steps=2),
        lux.LayerError,
        "the loss is compiled",
        *parts,
    )
    if advised is not None:
        assert np.all(np.isfinite(jax.jit(jax.grad(lambda a: jnp.sum(advised(jnp.asarray(X), a))))(0.5)))


def test_what_is_taken_for_a_start():
    line = [0, 1, 2, 3], [1, 3, 5, 7]  # integers
    for p0 in ((1, 1), [1.0, 1.0], np.ones(2), {"b": 1.0, "a": 1.0}):
        result = curve_fit(lambda x, a, b: a * x + b, *line, p0)
        np.testing.assert_allclose(numbers(result.values), [2.0, 1.0])
        assert result.names == ("a", "b")
    result = curve_fit(lambda x, *p: p[0] * x + p[1], *line, (1.0, 1.0))
    assert result.names == ("p0", "p1")
    result = curve_fit(lambda x, a, b=1.0: a * x + b, *line, (1.0,))
    np.testing.assert_allclose(result.values.a, 2.0)


# Where a solve may end


def test_exact_data_of_a_parameter_that_is_zero():
    for y, expected in ((X, (0.0, 1.0)), (0 * X, (0.0, 0.0)), (1e-9 * X, (0.0, 1e-9)), (2.0 + 0 * X, (2.0, 0.0))):
        result = curve_fit(line, X, y, (0.5, 0.5))
        np.testing.assert_allclose([*result.values.values()], expected, atol=1e-15 * max(1.0, np.max(y)), rtol=1e-12)


def line(x, a, b):
    return a + b * x


def square(x, a, b):
    return a**2 * x + b


def test_a_start_without_slope_says_so():
    """At a = 0 the sum of squares is highest in a, and its derivative is 0."""
    for b in (lux.fixed(0.0), 1.0):
        with pytest.raises(lux.SolveError, match=r"does not depend on a there.*\(a=0.*Start it elsewhere"):
            curve_fit(square, X, 2 * X, {"a": 0.0, "b": b})
    # What the message says to write.
    np.testing.assert_allclose(curve_fit(square, X, 2 * X, (0.1, 1.0)).values.a, 2**0.5, rtol=1e-9)
    # Where it is lowest, nothing but the slope is missing.
    found = curve_fit(square, X, 1.0 - X, (0.0, 0.0), throw=False)
    assert found.successful
    assert "does not depend on a there" in str(found)


def test_a_symmetric_start_is_left():
    """Between a = b and a = -b lies a saddle, which no step from a = b leaves; the data want a b < 0."""
    result = curve_fit(lambda x, a, b, c: a * b * x + c, X, 1 - X, (1.0, 1.0, 0.0))
    np.testing.assert_allclose(float(result.values.a * result.values.b), -1.0, rtol=1e-9)


@pytest.mark.parametrize(
    "declare", [lux.positive, lambda v: lux.bounded(v, 0.0, jnp.inf), lambda v: lux.bounded(v, 0.0, 3.0)]
)
def test_an_optimum_at_a_bound_is_found(declare):
    """The free parameters are those of a fit with the bounded one fixed there; the units of x change nothing."""
    free = curve_fit(lambda x, a: a * x, X, Y, (1.0,))
    for unit in (1.0, 1e6):
        result = curve_fit(lambda x, a, b: a * x - b * jnp.ones_like(x), unit * X, Y, {"a": 1.0, "b": declare(1.0)})
        assert result.successful
        np.testing.assert_allclose(result.values.b, 0.0, atol=1e-5)
        np.testing.assert_allclose(result.values.a * unit, free.values.a, rtol=1e-4)
        assert "at a bound" in str(result)


# At a bound


def constant(ps, st, data):
    return jnp.ravel(ps["b"])[-1] + 0.0 * data - data, st


# A value next to an edge of its map, and one in the middle, in units of `scale`.
EDGES = {
    "positive": (lambda s: lux.positive(1e-20 * s), lambda s: lux.positive(s), -1.0),
    "softplus": (
        lambda s: lux.positive(1e-20 * s, via="softplus", scale=s),
        lambda s: lux.positive(s, via="softplus", scale=s),
        -1.0,
    ),
    "upper": (
        lambda s: lux.bounded(s * (1 - 1e-14), -np.inf, s),
        lambda s: lux.bounded(0.5 * s, -np.inf, s),
        2.0,
    ),
    "between": (lambda s: lux.bounded(s * (1 - 1e-14), 0.0, s), lambda s: lux.bounded(0.5 * s, 0.0, s), 2.0),
    "ordered": (
        lambda s: lux.flatten.ordered(np.array([0.0, 1e-20]) * s),
        lambda s: lux.flatten.ordered(np.array([0.0, 1.0]) * s),
        -1.0,
    ),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_what_is_held_by_the_edge_of_any_map_is_flagged_in_any_units(name, scale):
    at_edge, inside, beyond = EDGES[name]
    noise = 0.01 * scale * np.resize([1.0, -1.0], 30)
    for declared, flagged in ((at_edge(scale), True), (inside(scale), False)):
        ps = lux.flatten.flatten({"b": declared})
        # Data whose mean lies beyond the edge, or is the value itself, so that the residual is orthogonal to its derivative.
        level = beyond * scale if flagged else float(jnp.ravel(ps["b"])[-1])
        found = evaluate(cached_function((constant, None, ())), ps, lux.State(), jnp.asarray(level + noise))
        jacobian, residual = np.asarray(found.jacobian), np.asarray(found.residual)
        sentences = find_warnings(ps, (), 29, False, jacobian, residual, True)
        assert ("at a bound, where standard errors mean little: b" in " ".join(sentences)) == flagged


def test_a_number_without_bounds_is_never_at_one():
    ps = lux.flatten.flatten({"b": lux.real(1.0), "m": lux.flatten.symmetric(np.eye(2))})
    jacobian, residual = np.zeros((30, 4)), np.ones(30)
    assert find_warnings(ps, (), 26, False, jacobian, residual, True) == ()
