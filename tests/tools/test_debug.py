"""`lux.tools.debug` gives the same model; what it finds wrong with one is in test_debug_reports.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from debugged_model import Weighted, X, model, total
from helpers import bits, refused, setup
from members import LAYERS

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError

pytestmark = pytest.mark.usefixtures("unchecked")


# A model that does nothing wrong


@pytest.mark.parametrize("check", ["forward", "backward", "both"])
def test_it_is_the_same_model(check):
    ps, st = setup(model())
    debugged = lux.tools.debug(model(), check=check)
    other_ps, other_st = setup(debugged)
    assert other_ps.layout is ps.layout
    assert bits((other_ps, other_st)) == bits((ps, st))
    assert bits(debugged(X, ps, st)) == bits(model()(X, ps, st))
    assert jax.tree.structure(debugged(X, ps, st)) == jax.tree.structure(model()(X, ps, st))
    gradients = [jax.grad(total, (1, 2))(layer, X, ps, st) for layer in (model(), debugged)]
    np.testing.assert_allclose(gradients[1][0], gradients[0][0], rtol=1e-14)
    np.testing.assert_allclose(gradients[1][1].vector, gradients[0][1].vector, rtol=1e-14)


def test_a_layer_with_a_ravel_map_keeps_its_vector(ravel_maps):
    class Triangle(lux.Dense):
        pass

    lux.register_ravel_map(Triangle, FirstRow())
    ps, _ = setup(Triangle(2, 2, use_bias=False))
    assert lux.layout_of(lux.tools.debug(Triangle(2, 2, use_bias=False))) is ps.layout


class FirstRow(lux.flatten.AbstractRavelMap):
    """Stores a matrix of equal rows as one of them."""

    def size(self, spec):
        return spec.weight.shape[1]

    def ravel(self, value, spec):
        return value.weight[0]

    def unravel(self, segment, spec):
        return lux.Params(weight=jnp.broadcast_to(segment[None], spec.weight.shape))

    def __eq__(self, other):
        return type(other) is FirstRow

    def __hash__(self):
        return 1


def test_it_runs_compiled_and_mapped():
    ps, st = setup(model())
    debugged = lux.tools.debug(model())
    expected = jax.grad(total, 2)(model(), X, ps, st).vector
    np.testing.assert_allclose(jax.jit(jax.grad(total, 2))(debugged, X, ps, st).vector, expected, rtol=1e-12)
    xs = jnp.stack([X, 2 * X])
    mapped = jax.vmap(lambda x: debugged(x, ps, st)[0])(xs)
    np.testing.assert_allclose(mapped[1], model()(2 * X, ps, st)[0], rtol=1e-12)


def test_forward_differentiation_with_forward_checks():
    ps, st = setup(model())
    tangent = jax.jvp(lambda x: total(lux.tools.debug(model(), "forward"), x, ps, st), (X,), (X,))[1]
    np.testing.assert_allclose(tangent, jnp.sum(jax.grad(total, 1)(model(), X, ps, st) * X), rtol=1e-12)


def test_arguments_by_position_and_by_name():
    weighted = Weighted(lux.Dense(3, 3), lux.Scale(3))
    ps, st = setup(weighted)
    expected = weighted(X, ps, st, 2.0)[0]
    np.testing.assert_array_equal(lux.tools.debug(weighted)(X, ps, st, 2.0)[0], expected)
    np.testing.assert_array_equal(lux.tools.debug(weighted)(X, ps, st, scale=2.0)[0], expected)
    gradient = jax.grad(lambda scale: jnp.sum(lux.tools.debug(weighted)(X, ps, st, scale=scale)[0]))(2.0)
    np.testing.assert_allclose(gradient, jax.grad(lambda scale: jnp.sum(weighted(X, ps, st, scale)[0]))(2.0))


@pytest.mark.slow
@pytest.mark.parametrize("member", LAYERS, ids=lambda member: member.name)
def test_every_layer_is_the_same_in_debug_mode(member):
    layer = member.make()
    ps, st = setup(layer)
    debugged = lux.tools.debug(layer)
    assert lux.layout_of(debugged) is ps.layout

    def total(vector, layer):
        return sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(layer(member.x, ps.replace(vector), st)[0]))

    results = [jax.tree.leaves(one(member.x, ps, st)[0]) for one in (layer, debugged)]
    gradients = [jax.grad(total)(ps.vector, one) for one in (layer, debugged)]
    for one, other in zip(results[0], results[1], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), t1=1.0, stiff=True), marks=pytest.mark.slow),
        lux.DeepEquilibrium(
            lux.WrappedFunction(lambda z_and_x: jnp.sin(z_and_x[0]) / 2 + z_and_x[1]),
            solver=lux.solvers.NewtonKrylov(),
            throw=False,
        ),
    ],
    ids=["stiff", "Newton"],
)
def test_layers_that_a_solver_differentiates_forward_are_checked_too(layer):
    ps, st = setup(layer)
    loss = lambda x, layer: jnp.sum(jnp.sin(layer(x, ps, st)[0]))  # noqa: E731
    x = jnp.asarray([0.3, -0.8])
    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    np.testing.assert_allclose(gradient(x, lux.tools.debug(layer)), gradient(x, layer), rtol=1e-12)


# What it refuses


def test_bad_arguments():
    refused(lambda: lux.tools.debug(jnp.tanh), LayerError, "model is a layer")
    refused(lambda: lux.tools.debug(model(), "everything"), LayerError, "'everything'", "backward")


# Outside debug mode


@pytest.mark.parametrize(
    ("layer", "shape", "path"),
    [
        (lambda: lux.Chain(lux.Dense(3, 2), inner=lux.Chain(lux.NoOp(), lux.Dense(3, 1))), (4, 3), "inner.layer_1"),
        (lambda: lux.Chain(Weighted(lux.Dense(3, 3), lux.Scale(2))), (4, 3), "layer_0.right"),
        (lambda: lux.Chain(lux.NeuralODE(lux.Chain(lux.Dense(3, 3), lux.Scale(2)))), (3,), "layer_0.model.layer_1"),
        (lambda: lux.Repeated(lux.Chain(lux.Dense(3, 3), lux.Scale(2)), 2), (3,), "layer.layer_1"),
        (lambda: lux.Frozen(lux.Chain(lux.Dense(3, 3), lux.Scale(2))), (3,), "layer.layer_1"),
    ],
)
def test_shape_errors_name_the_layer_without_debug_mode(layer, shape, path):
    ps, st = setup(layer())
    refused(lambda: layer()(jnp.ones(shape), ps, st), ShapeError, f"in layer {path}: ")
