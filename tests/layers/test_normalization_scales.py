"""Normalizing has no unit: float32 gives the closed form for numbers of any size, wherever one of them is far from the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import setup

import sciml_lux as lux

SHAPE = (6, 3, 4)
COTANGENT = np.cos(1.0 + np.arange(72.0) ** 1.5).reshape(SHAPE)
SCALES = (1e-30, 1e-22, 1e-15, 1e-7, 1.0, 1e7, 3e12, 1e15, 1e22, 1e30)


def inputs(scales=SCALES):
    """`(scales, outliers, *SHAPE)`: none of them far from the others, the first, one in the middle, the last."""
    plain = 0.3 + np.random.default_rng(0).standard_normal(SHAPE)
    several = [plain]
    for at in (0, 30, 71):
        several.append(plain.copy())
        several[-1].flat[at] = 1e3
    return np.multiply.outer(scales, np.stack(several)).astype(np.float32)


# Closed forms in NumPy: values, and the gradient of their sum with weights `c`.


def centred(axes, epsilon, groups=None):
    def closed(x, c):
        shape = x.shape
        x, c = ((a if groups is None else a.reshape(*shape[:-1], groups, -1)) for a in (x, c))
        mean = lambda a: np.mean(a, axes, keepdims=True)  # noqa: E731
        std = np.sqrt(mean((x - mean(x)) ** 2) + epsilon)
        y = (x - mean(x)) / std
        return y.reshape(shape), ((c - mean(c) - y * mean(y * c)) / std).reshape(shape)

    return closed


def root_mean_square(epsilon):
    def closed(x, c):
        size = np.sqrt(np.mean(x**2, -1, keepdims=True) + epsilon)
        y = x / size
        return y, (c - y * np.mean(y * c, -1, keepdims=True)) / size

    return closed


def unit_columns(x, c):
    x, c = x.reshape(12, 6), c.reshape(12, 6)
    length = np.linalg.norm(x, axis=0)
    y = x / length
    return y, (c - y * np.sum(y * c, 0)) / length


def unit_spectral_norm(x, c):
    x, c = x.reshape(12, 6), c.reshape(12, 6)
    left, values, right = np.linalg.svd(x)
    y = x / values[0]
    return y, (c - np.sum(y * c) * np.outer(left[:, 0], right[0])) / values[0]


NORMS = {
    "BatchNorm": (lux.BatchNorm(4), centred((0, 1), 1e-5)),
    "LayerNorm": (lux.LayerNorm(4), centred(2, 1e-5)),
    "LayerNorm of two axes, epsilon that float32 lacks": (
        lux.LayerNorm((3, 4), epsilon=1e-300),
        centred((1, 2), 1e-300),
    ),
    "GroupNorm": (lux.GroupNorm(4, 2, 1), centred((1, 3), 1e-5, 2)),
    "InstanceNorm": (lux.InstanceNorm(4, 1, affine=True, epsilon=1e-38), centred(1, 1e-38)),
    "RMSNorm": (lux.RMSNorm(4, epsilon=1e-20), root_mean_square(1e-20)),
    "WeightNorm": (lux.WeightNorm(lux.Dense(12, 6, use_bias=False)), unit_columns),
    "SpectralNorm": (lux.SpectralNorm(lux.Dense(12, 6, use_bias=False), iterations=200), unit_spectral_norm),
}
# `WeightNorm` and `SpectralNorm` normalize a weight, the others an input.
PATHS = {"WeightNorm": "layer.weight.direction", "SpectralNorm": "layer.weight"}
every_norm = pytest.mark.parametrize("name", NORMS)
# Whose statistics are those of its neighbours, over other axes.
REPEATED = ("LayerNorm", "InstanceNorm")


def loss_of(name, dtype):
    """The sum with weights of what is normalized, and that, of the numbers to normalize."""
    layer, path = NORMS[name][0], PATHS.get(name)
    ps, st = setup(layer, dtype=dtype)

    def loss(x):
        if path is None:
            y, _ = layer(x, ps, st)
        else:
            params = ps.params.set(path, x.reshape(12, 6))
            if name == "WeightNorm":
                params = params.set("layer.weight.magnitude", jnp.ones((1, 6), dtype))
            y, _ = layer(jnp.eye(12, dtype=dtype), params, st)
        return jnp.sum(y * COTANGENT.reshape(y.shape).astype(dtype)), y

    return loss


def same_but_for_rounding(got, exact):
    """Each of the rows, whose units differ, to 1e-5 of its largest number."""
    got, exact = (np.asarray(each, float).reshape(40, -1) for each in (got, exact))
    size = np.max(np.abs(exact), 1, keepdims=True)
    assert np.isfinite(exact).all()
    assert (size > 0).all()
    np.testing.assert_allclose(got / size, exact / size, atol=1e-5)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in REPEATED)) for n in NORMS])
def test_values_and_gradients_are_the_closed_form_at_any_scale(name):
    x = inputs()
    program = jax.jit(jax.vmap(jax.grad(loss_of(name, jnp.float32), has_aux=True)))
    gradients, values = program(x.reshape(-1, *SHAPE))
    exact = [NORMS[name][1](each, COTANGENT) for each in x.reshape(-1, *SHAPE).astype(float)]
    same_but_for_rounding(values, [y for y, _ in exact])
    same_but_for_rounding(gradients, [gradient for _, gradient in exact])


@pytest.mark.slow
@every_norm
def test_second_derivatives_and_forward_mode_are_those_of_float64(name):
    # Where the second derivative, which has the unit of 1 / numbers**2, is a number of float32.
    x = inputs((1e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e9, 1e11, 3e12)).reshape(-1, *SHAPE)
    figures = []
    for dtype in (jnp.float32, jnp.float64):
        loss = loss_of(name, dtype)

        def both(x, loss=loss):
            along = jnp.asarray(np.roll(COTANGENT, 7), x.dtype)
            _, second = jax.jvp(jax.grad(lambda x: loss(x)[0]), (x,), (along,))
            return second, jax.jvp(lambda x: loss(x)[1], (x,), (along,))[1]

        figures.append(jax.jit(jax.vmap(both))(x.astype(dtype)))
    for got, exact in zip(*figures, strict=True):
        same_but_for_rounding(got, exact)


@pytest.mark.parametrize("name", ["BatchNorm", "RMSNorm"])
def test_sums_of_numbers_near_the_largest_do_not_overflow(name):
    layer, closed = NORMS[name]
    x = float(np.finfo(np.float32).max) / 4 * np.sign(COTANGENT).astype(np.float32)
    y, _ = jax.jit(layer)(x, *setup(layer, dtype=jnp.float32))
    np.testing.assert_allclose(y, closed(x.astype(float), COTANGENT)[0], rtol=1e-5, atol=1e-6)


def test_an_outlier_harms_the_others_equally_wherever_it_stands():
    x = np.random.default_rng(1).standard_normal((1, 1024))
    layer = lux.LayerNorm(1024)
    ps, st = setup(layer, dtype=jnp.float32)
    for at in (0, 500, 1023):
        far = x.copy()
        far[0, at] = 1e4
        exact, _ = centred(1, 1e-5)(far, far)
        error = np.asarray(jax.jit(layer)(jnp.asarray(far, jnp.float32), ps, st)[0]) - exact
        assert np.max(np.abs(np.delete(error, at))) < 2e-8


def test_a_variance_that_the_state_cannot_hold_is_not_taken_for_one():
    layer = lux.BatchNorm(4)
    ps, st = setup(layer, dtype=jnp.float32)

    @jax.jit
    def program(x):
        _, after = layer(x, ps, st)
        return layer(x, ps, lux.test_mode(after))[0]

    assert jnp.all(jnp.isnan(program(inputs((1e30,))[0, 0])))
