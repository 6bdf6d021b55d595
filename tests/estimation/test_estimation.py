"""Least squares over a parameter vector and curve fitting: against SciPy, the delta method, what is flagged, where a solve ends."""

import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize
from decay_curve import DATA, SIGMA, X, Y, decay, decay_numpy, decay_residual, model_parameters, numbers

import sciml_lux as lux
from sciml_lux.core import cached_function
from sciml_lux.estimation import curve_fit, least_squares
from sciml_lux.estimation._evaluate import evaluate, evaluation_of
from sciml_lux.estimation._warnings import find_warnings


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
        found = evaluation_of(
            evaluate(
                cached_function((constant, None, ())),
                ps.layout,
                ps.vector,
                np.asarray(np.inf),
                lux.State(),
                jnp.asarray(level + noise),
            )
        )
        jacobian, residual = np.asarray(found.jacobian), np.asarray(found.residual)
        sentences = find_warnings(ps, (), 29, False, jacobian, residual, True)
        assert ("at a bound, where standard errors mean little: b" in " ".join(sentences)) == flagged


def test_a_number_without_bounds_is_never_at_one():
    ps = lux.flatten.flatten({"b": lux.real(1.0), "m": lux.flatten.symmetric(np.eye(2))})
    jacobian, residual = np.zeros((30, 4)), np.ones(30)
    assert find_warnings(ps, (), 26, False, jacobian, residual, True) == ()
