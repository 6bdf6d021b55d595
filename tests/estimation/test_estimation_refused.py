"""Least squares and curve fitting: failed solves, input that is refused, curves that JAX cannot trace, and what is taken for a start."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from decay_curve import DATA, X, Y, decay, decay_numpy, decay_residual, model_parameters, numbers
from helpers import refused

import sciml_lux as lux
from sciml_lux.estimation import curve_fit, least_squares

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
    "sigma": (lambda: declare((1, 1, 0), sigma=np.zeros(30)), ValueError, "above 0"),
    "sigma shape": (lambda: declare((1, 1, 0), sigma=np.ones((30, 2))), ValueError, r"expected|shape \(30,\)"),
    "sigma not symmetric": (
        lambda: declare((1, 1, 0), sigma=np.eye(30) + np.eye(30, k=1) * 0.1),
        ValueError,
        "symmetric",
    ),
    "sigma not definite": (lambda: declare((1, 1, 0), sigma=np.ones((30, 30))), ValueError, "positive definite"),
    "nan policy": (lambda: declare((1, 1, 0), nan_policy="propagate"), ValueError, "nan_policy is"),
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
