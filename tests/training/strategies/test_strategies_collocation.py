"""Estimated derivatives: their order, what they are exact for, and the field that is found from them."""

import jax
import numpy as np
import optimistix
import pytest
import scipy.linalg
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError
from sciml_lux.training.strategies import Collocation, CollocationLoss, collocate_kernel, collocate_spline

kernels = pytest.mark.parametrize("kernel", ["epanechnikov", "gaussian"])


@kernels
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_polynomial_of_the_degree_is_reproduced(kernel, degree):
    ts = np.sort(np.random.default_rng(0).uniform(0.0, 2.0, 25))
    coefficients = np.array([0.3, -1.0, 0.7, 0.4])[: degree + 1]
    at = np.linspace(0.0, 2.0, 7)
    got = collocate_kernel(
        ts, np.polynomial.Polynomial(coefficients)(ts), at=at, kernel=kernel, degree=degree, bandwidth=0.8
    )
    np.testing.assert_allclose(got.ys, np.polynomial.Polynomial(coefficients)(at), atol=1e-9)
    np.testing.assert_allclose(got.dys, np.polynomial.Polynomial(coefficients).deriv()(at), atol=1e-8)


@kernels
@pytest.mark.parametrize(("degree", "order"), [(1, 2), (2, 2), (3, 4)])
def test_kernel_derivatives_converge_with_their_order(kernel, degree, order):
    ts, at = np.linspace(0.0, 4.0, 4001), np.array([1.1, 1.9, 2.7])
    errors = []
    for bandwidth in (0.2, 0.1):
        got = collocate_kernel(ts, np.sin(2.0 * ts), at=at, kernel=kernel, degree=degree, bandwidth=bandwidth)
        errors.append(np.linalg.norm(got.dys - 2.0 * np.cos(2.0 * at)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_spline_derivatives_converge_with_the_third_order():
    errors = []
    for points in (41, 81):
        ts = np.linspace(0.0, 4.0, points)
        got = collocate_spline(ts, np.sin(2.0 * ts), smoothing=0.0)
        errors.append(np.max(np.abs(got.dys - 2.0 * np.cos(2.0 * ts))[10:-10]))
    assert np.log2(errors[0] / errors[1]) > 2.8


@pytest.mark.parametrize("collocate", [collocate_kernel, collocate_spline])
def test_the_smoothing_that_is_chosen_takes_noise_away(collocate):
    ts = np.linspace(0.0, 6.0, 121)
    clean = np.stack([np.sin(2.0 * ts), 100.0 * np.cos(ts)], axis=1)
    noise = np.array([0.2, 5.0]) * np.random.default_rng(0).normal(size=clean.shape)
    got = collocate(ts, clean + noise)
    assert (np.std(got.ys - clean, axis=0) < 0.5 * np.array([0.2, 5.0])).all()
    slopes = np.stack([2.0 * np.cos(2.0 * ts), -100.0 * np.sin(ts)], axis=1)
    assert (np.std(got.dys - slopes, axis=0) < 0.45 * np.std(slopes, axis=0)).all()


@pytest.mark.parametrize("collocate", [collocate_kernel, collocate_spline])
def test_each_component_is_estimated_from_its_own_observations(collocate):
    ts = np.linspace(0.0, 3.0, 31)
    ys = np.stack([np.sin(ts), np.cos(ts)], axis=1)
    holes = ys.copy()
    holes[3:5, 0] = np.nan
    holes[20, 1] = np.nan
    got = collocate(ts, holes)
    assert np.isfinite(got.ys).all()
    for index, seen in ((0, np.isfinite(holes[:, 0])), (1, np.isfinite(holes[:, 1]))):
        alone = collocate(ts[seen], ys[seen, index], at=ts)
        np.testing.assert_allclose(got.ys[:, index], alone.ys, rtol=1e-12)
        np.testing.assert_allclose(got.dys[:, index], alone.dys, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("collocate", [collocate_kernel, collocate_spline])
def test_backward_in_time_is_the_same_and_single_precision_stays(collocate):
    ts = np.linspace(0.0, 3.0, 31, dtype=np.float32)
    forward, backward = collocate(ts, np.sin(ts)), collocate(ts[::-1], np.sin(ts[::-1]))
    assert {leaf.dtype for leaf in forward[:3]} == {np.dtype(np.float32)}
    np.testing.assert_allclose(backward.dys[::-1], forward.dys, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("collocate", [collocate_kernel, collocate_spline])
def test_what_was_never_observed_does_not_count(collocate):
    """Neither before nor after all observations of any component, since the field depends on all."""
    ts = np.linspace(0.0, 3.0, 31)
    ys = np.stack([np.sin(ts), np.cos(ts)], axis=1)
    ys[:4, 0] = ys[25:, 1] = ys[10, 0] = np.nan
    got = collocate(ts, ys)
    expected = np.ones((31, 2), bool)
    expected[:4, 0] = expected[25:, 1] = False
    np.testing.assert_array_equal(got.mask, expected)
    ps, st = setup(NODE)
    wild = got._replace(ys=np.where(got.mask, got.ys, 1e200), dys=np.where(got.mask, got.dys, -1e200))
    function = jax.value_and_grad(lambda ps, data: CollocationLoss(NODE)(ps, st, data)[0])
    inside = Collocation(*(leaf[4:25] for leaf in got))
    for found, wanted in zip(jax.tree.leaves(function(ps, wild)), jax.tree.leaves(function(ps, inside)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


# The field that is found from them

A = np.array([[-0.1, 2.0], [-2.0, -0.3]])
NEVER = np.stack([np.zeros(9), np.full(9, np.nan)], axis=1)
APART = np.where([[True, False]] * 10 + [[False, True]] * 10, 1.0, np.nan)
APART = collocate_spline(np.arange(20.0), APART)
NODE = lux.NeuralODE(lux.Dense(2, 2, use_bias=False), t1=3.0)


def test_a_linear_system_is_recovered():
    ts = np.linspace(0.0, 3.0, 121)
    ys = np.stack([scipy.linalg.expm(A * t) @ [1.0, 0.5] for t in ts])
    for collocation in (collocate_kernel(ts, ys, degree=3), collocate_spline(ts, ys, smoothing=0.0)):
        inner = Collocation(*(leaf[10:-10] for leaf in collocation))
        optimizer = optimistix.BFGS(rtol=1e-9, atol=1e-9)
        fitted = lux.fit(CollocationLoss(NODE), *setup(NODE), optimizer, steps=50, data=inner)
        np.testing.assert_allclose(fitted.ps["model.weight"].T, A, atol=2e-3)


def test_it_is_the_mean_error_of_the_field():
    ps, st = setup(NODE)
    data = Collocation(np.zeros(3), np.arange(6.0).reshape(3, 2), np.ones((3, 2)))
    value, new = CollocationLoss(NODE)(ps, st, data)
    np.testing.assert_allclose(value, np.mean((data.ys @ np.asarray(ps["model.weight"]) - 1.0) ** 2))
    assert jax.tree.structure(new) == jax.tree.structure(st)
    absolute, _ = CollocationLoss(NODE, error=lux.losses.absolute_error)(ps, st, data)
    np.testing.assert_allclose(absolute, np.mean(np.abs(data.ys @ np.asarray(ps["model.weight"]) - 1.0)))


def test_the_field_is_given_time_and_inputs():
    def field(args):
        t, y, u = args
        return t * y + u

    node = lux.NeuralODE(lux.WrappedFunction(field), time=True)
    ts, ys = np.array([0.0, 1.0, 2.0]), np.ones((3, 1))
    data = Collocation(ts, ys, (ts + ts**2)[:, None])
    value, _ = CollocationLoss(node, inputs=lambda t: t**2)(*setup(node), data)
    assert value == 0.0


@pytest.mark.parametrize(
    ("call", "kind", "part"),
    [
        (lambda: collocate_kernel(np.arange(9.0), np.zeros(8)), ShapeError, "one row for each time"),
        (lambda: collocate_kernel(np.zeros((3, 3)), np.zeros(3)), ShapeError, "vector"),
        (lambda: collocate_kernel(np.arange(9.0), np.zeros(9), at=1.0), ShapeError, "at is a vector"),
        (lambda: collocate_kernel(np.arange(9.0), np.zeros(9), kernel="box"), LayerError, "epanechnikov"),
        (lambda: collocate_kernel(np.arange(9.0), np.zeros(9), degree=0), LayerError, "degree"),
        (lambda: collocate_kernel(np.arange(9.0), np.zeros(9), bandwidth=0.0), LayerError, "bandwidth"),
        (lambda: collocate_kernel(np.arange(4.0), np.zeros(4)), LayerError, "at least 5"),
        (lambda: collocate_spline(np.arange(4.0), np.zeros(4)), LayerError, "at least 5"),
        (lambda: collocate_spline(np.arange(9.0), np.zeros(9), smoothing=-1.0), LayerError, "smoothing"),
        (lambda: collocate_spline(np.arange(9.0) // 2, np.zeros(9)), LayerError, "average them"),
        (lambda: CollocationLoss(lux.Dense(2, 2)), LayerError, "derivative"),
        (lambda: CollocationLoss(NODE)(*setup(NODE), (0, 0, 0)), LayerError, "collocate_spline"),
        (lambda: CollocationLoss(lux.AugmentedODE(lux.Dense(3, 3), 1)), LayerError, "hidden"),
        (lambda: collocate_spline(np.arange(9.0), np.r_[np.inf, np.zeros(8)]), LayerError, "ys[0, 0] is inf"),
        (lambda: collocate_spline(np.arange(9.0), np.full(9, np.nan)), LayerError, "nothing was observed"),
        (lambda: CollocationLoss(NODE)(*setup(NODE), APART), LayerError, "nothing counts"),
        (lambda: collocate_spline(np.arange(9.0), NEVER), LayerError, "component 1 was observed 0 times"),
        (lambda: collocate_spline(np.arange(9.0), np.zeros(9), at=[np.nan]), ShapeError, "finite"),
        (
            lambda: collocate_spline(np.arange(9.0), np.zeros(9), breaks=[7.0]),
            LayerError,
            "between breaks at 7 and inf",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, kind, part, unchecked):
    refused(call, kind, part)
