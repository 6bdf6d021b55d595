"""The product behind dense layers whose outputs are few: the numbers of `x @ weight`, to every order, under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import jet
from members import array

from sciml_lux.kernels._product import product

X, WEIGHT = array(130, 128), array(128, 3)  # enough of each for the transposed gradient


def plain(x, weight):
    return x @ weight


def derivatives(multiply, x, weight):
    """Values and derivatives of a function of samples and weight, by name."""

    def f(x, weight):
        return jnp.sum(jnp.sin(multiply(x, weight)) * jnp.arange(1.0, 4.0)[None])

    directions = (jnp.cos(x), jnp.sin(weight))
    tangent = lambda x, weight: jax.jvp(f, (x, weight), directions)[1]  # noqa: E731
    in_weight = jax.grad(f, argnums=1)
    xs, weights = jnp.stack([x, 2 * x]), jnp.stack([weight, 2 * weight])
    return {
        "value": f(x, weight),
        "forward": tangent(x, weight),
        "reverse": jax.grad(f, argnums=(0, 1))(x, weight),
        "reverse over forward": jax.grad(tangent, argnums=(0, 1))(x, weight),
        "forward over reverse": jax.jvp(in_weight, (x, weight), directions)[1],
        "reverse over reverse": jax.grad(lambda x, w: jnp.sum(in_weight(x, w) ** 2), argnums=(0, 1))(x, weight),
        "several weights": jax.vmap(in_weight, (None, 0))(x, weights),
        "several samples": jax.vmap(in_weight, (0, None))(xs, weight),
        "several of both": jax.vmap(in_weight)(xs, weights),
    }


def test_derivatives_are_those_of_the_plain_product():
    ours, expected = (jax.jit(derivatives, static_argnums=0)(multiply, X, WEIGHT) for multiply in (product, plain))
    for name, value in expected.items():
        for a, b in zip(jax.tree.leaves(ours[name]), jax.tree.leaves(value), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("samples", "inputs", "outputs", "transposed"),
    [(130, 128, 3, True), (130, 128, 1, False), (130, 128, 33, False), (40, 512, 11, False), (127, 128, 3, False)],
    ids=["few outputs", "one output", "many for the inputs", "many for the samples", "few numbers"],
)
def test_outputs_are_transposed_where_they_are_few(samples, inputs, outputs, transposed):
    x, weight = jnp.ones((samples, inputs)), jnp.ones((inputs, outputs))
    f = lambda weight: jnp.sum(product(x, weight) ** 2)  # noqa: E731
    text = str(jax.make_jaxpr(jax.grad(f))(weight))
    assert (text.count("name=transpose") == 2) is transposed


def test_samples_one_by_one_under_vmap_are_many_samples():
    f = lambda weight: jnp.sum(jax.vmap(lambda x: product(x, weight))(X) ** 2)  # noqa: E731
    assert str(jax.make_jaxpr(jax.grad(f))(WEIGHT)).count("name=transpose") == 2
    np.testing.assert_allclose(jax.grad(f)(WEIGHT), 2 * X.T @ (X @ WEIGHT), rtol=1e-10)


def test_leading_axes_are_kept_and_gpus_left_alone(monkeypatch):
    x = X.reshape(2, 65, 128)
    np.testing.assert_allclose(jax.jit(product)(x, WEIGHT), x @ WEIGHT, rtol=1e-12)
    assert "product" in str(jax.make_jaxpr(product)(x, WEIGHT))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "product" not in str(jax.make_jaxpr(lambda x, weight: product(x, weight))(x, WEIGHT))


def test_types_that_differ_are_left_to_jax():
    x = X.astype(jnp.float32)
    with jax.numpy_dtype_promotion("standard"):
        y = jax.jit(product)(x, WEIGHT)
    assert y.dtype == jnp.float64
    np.testing.assert_allclose(y, x.astype(float) @ WEIGHT, rtol=1e-12)


def test_taylor_series_and_transposes_of_functions_go_through():
    f = lambda x: jnp.sum(product(x, WEIGHT), axis=0)  # noqa: E731
    value, series = jet.jet(lambda x: f(x) ** 2, (X,), ((X, jnp.zeros_like(X)),))
    np.testing.assert_allclose(series[0], 2 * value, rtol=1e-10)  # d/dt (1 + t)^2 = 2, then 2, at t = 0
    np.testing.assert_allclose(series[1], 2 * value, rtol=1e-10)
    cotangent = jnp.arange(3.0)
    (transposed,) = jax.linear_transpose(f, X)(cotangent)
    np.testing.assert_allclose(transposed, jnp.broadcast_to(WEIGHT @ cotangent, X.shape), rtol=1e-10)
