"""A solver of fixed points and a loss as CONTRIBUTING shows them: what they write is all that they need to."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError
from sciml_lux.solvers.fixed_point._fixed_point import FixedPointSolver
from sciml_lux.training.losses._evaluate import evaluate


class Picard(FixedPointSolver):
    """`z <- f(z)`."""

    def start(self, value):
        return jnp.zeros_like(value)

    def since(self, value, residual, memory):
        return memory, residual - memory

    def propose(self, point, memory):
        return point.value + point.residual, point.residual, 0


def test_the_solver_stops_each_sample_on_its_own_and_claims_no_drift():
    solver = Picard(rtol=1e-10, atol=1e-10, batched=True)
    rates = jnp.asarray([0.1, 0.9])[:, None]
    found = optx.fixed_point(lambda z, _: rates * z + 1.0, solver, jnp.zeros((2, 3)), max_steps=1000)
    np.testing.assert_allclose(found.value, jnp.broadcast_to(1 / (1 - rates), (2, 3)), rtol=1e-8)
    drift = optx.fixed_point(lambda z, _: z + 1.0, solver, jnp.full((2, 3), 1e9), max_steps=1000, throw=False)
    assert drift.result != optx.RESULTS.successful


def test_the_solver_serves_an_equilibrium_and_its_gradient(key):
    layer = lux.DeepEquilibrium(lux.WrappedFunction(lambda zx: 0.5 * jnp.tanh(zx[0]) + zx[1]), solver=Picard())
    ps, st = lux.setup(key, layer)
    x = jnp.asarray([[0.3, -0.2]])
    slope = jax.grad(lambda x: jnp.sum(layer(x, ps, st)[0]))(x)
    z, _ = layer(x, ps, st)
    np.testing.assert_allclose(z, 0.5 * jnp.tanh(z) + x, atol=1e-3)
    np.testing.assert_allclose(slope, 1 / (1 - 0.5 / jnp.cosh(z) ** 2), rtol=1e-3)


def log_ratio(predictions, targets, *, agg="mean", weights=None, mask=None):
    """`log(predictions / targets)**2`."""
    formula = lambda p, t: jnp.log(p / t) ** 2  # noqa: E731
    return evaluate("log_ratio", formula, predictions, targets, agg=agg, weights=weights, mask=mask)


def test_the_loss_aggregates_weighs_and_leaves_out_as_every_loss(unchecked):
    p, t = jnp.asarray([1.0, 2.0, jnp.nan]), jnp.asarray([2.0, 2.0, 2.0])
    mask = jnp.asarray([True, True, False])
    square = np.log(2.0) ** 2
    np.testing.assert_allclose(log_ratio(p, t, mask=mask), square / 2)
    np.testing.assert_allclose(log_ratio(p, t, mask=mask, agg="sum", weights=jnp.asarray([3.0, 1.0, 1.0])), 3 * square)
    assert np.isfinite(jax.grad(lambda p: log_ratio(p, t, mask=mask))(p)).all()
    with pytest.raises(ShapeError, match="log_ratio"):
        log_ratio(p, t[:2])
    with pytest.raises(LayerError, match="agg is 'mean', 'sum' or 'none'"):
        log_ratio(p, t, agg="total")
