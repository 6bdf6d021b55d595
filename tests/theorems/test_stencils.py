"""What is not finite at one place reaches exactly the results that depend on that place: forward, in tangents, and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import setup
from members import array

import sciml_lux as lux

LAYERS = {
    "nearest": (lux.Upsample((1.7,)), (5, 1)),
    "nearest, shrinking": (lux.Upsample((0.4,)), (9, 1)),
    "linear": (lux.Upsample((2,), mode="linear"), (5, 1)),
    "linear, shrinking": (lux.Upsample((0.4,), mode="linear"), (9, 1)),
    "linear, images": (lux.Upsample((2, 3), mode="linear"), (3, 4, 1)),
    "linear, corners": (lux.Upsample((2,), mode="linear", align_corners=True), (7, 1)),
    "cubic": (lux.Upsample((1.5,), mode="cubic"), (6, 1)),
    "cubic, shrinking": (lux.Upsample((0.4,), mode="cubic"), (9, 1)),
    "cubic, corners": (lux.Upsample(size=(11,), mode="cubic", align_corners=True), (5, 1)),
    "convolution": (lux.Conv(2, 3, (3,), stride=2, padding=2, dilation=2), (9, 2)),
    "convolution, images": (lux.Conv(2, 2, (2, 3), padding=1), (4, 4, 2)),
    "convolution, many taps": (lux.Conv(1, 1, (6, 6), padding=3), (6, 6, 1)),
    "convolution, causal": (lux.Conv(2, 2, (3,), padding=((2, 0),)), (5, 2)),
    "convolution, groups": (lux.Conv(4, 4, (3,), groups=2, padding=1), (6, 4)),
    "convolution, channels": (lux.Conv(3, 6, (3,), groups=3, padding="SAME"), (6, 3)),
    "transposed": (lux.ConvTranspose(2, 3, (3,)), (5, 2)),
    "transposed, strides": (lux.ConvTranspose(2, 3, (3,), stride=2), (5, 2)),
    "transposed, groups": (lux.ConvTranspose(4, 4, (3,), stride=2, groups=2), (5, 4)),
    "transposed, channels": (lux.ConvTranspose(4, 4, (3,), stride=2, groups=4), (5, 4)),
    "transposed, images": (lux.ConvTranspose(2, 2, (2, 2), stride=3, dilation=2), (3, 3, 2)),
    "mean": (lux.MeanPool((3,), stride=1, padding=1), (6, 1)),
    "mean, strides": (lux.MeanPool((3,), stride=2, padding="SAME", count_include_pad=False), (6, 1)),
    "norm": (lux.LpPool((3,), stride=1, padding=1), (6, 1)),
    "norm, odd": (lux.LpPool((3,), p=3, stride=2, padding=1), (6, 1)),
    "mean, adaptive": (lux.AdaptiveMeanPool((3,)), (7, 1)),
    "norm, adaptive": (lux.AdaptiveLpPool((3,)), (7, 1)),
    "shuffle": (lux.PixelShuffle((2, 2)), (2, 3, 8)),
    "unshuffle": (lux.PixelUnshuffle((2, 2)), (4, 2, 1)),
}
# Only the largest matters, so that the places which results depend on are those of the mean.
LARGEST = {
    "largest": (lux.MaxPool((3,), stride=1, padding=1), lux.MeanPool((3,), stride=1, padding=1), (6, 1)),
    "largest, long windows": (
        lux.MaxPool((11,), stride=1, padding=5),
        lux.MeanPool((11,), stride=1, padding=5),
        (14, 1),
    ),
    "largest, adaptive": (lux.AdaptiveMaxPool((3,)), lux.AdaptiveMeanPool((3,)), (7, 1)),
}
FAST = {"linear"}
NOT_FINITE = [np.nan, np.inf]


def function_of(layer):
    ps, st = setup(layer)
    ps = ps.replace(ps.vector + 0.1 * array(ps.layout.size))
    return lambda x: layer(x, ps, st)[0]


def dependence(function, x):
    """Which result, in rows, changes with which place, in columns."""
    return np.asarray(jax.jacobian(function)(x)).reshape(-1, x.size) != 0


def spoilt(x, i, number):
    return x.reshape(-1).at[i].set(number).reshape(x.shape)


def changed(function, x, number):
    """Which result changes when a place is spoilt, as `dependence`."""
    before = np.asarray(function(x)).ravel()
    columns = [np.asarray(function(spoilt(x, i, number))).ravel() != before for i in range(x.size)]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name not in FAST)) for name, case in LAYERS.items()],
)
def test_what_is_not_finite_stays_within_its_stencil(layer, shape):
    function, x = function_of(layer), array(*shape)
    expected = jax.jit(lambda x: jax.jacobian(function)(x))(x)
    y_shape = expected.shape[: expected.ndim - x.ndim]
    expected = np.asarray(expected).reshape(-1, x.size) != 0
    forward = jax.jit(function)
    tangent = jax.jit(lambda dx: jax.jvp(function, (x,), (dx,))[1])
    back = jax.jit(lambda dy: jax.vjp(function, x)[1](dy)[0])
    for number in NOT_FINITE:
        np.testing.assert_array_equal(changed(forward, x, number), expected)
        np.testing.assert_array_equal(changed(tangent, jnp.ones(shape), number), expected)
        np.testing.assert_array_equal(changed(back, jnp.ones(y_shape), number), expected.T)


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "mean", "shape"), LARGEST.values(), ids=LARGEST)
def test_a_largest_element_that_is_none_stays_within_its_window(layer, mean, shape):
    x = array(*shape)
    function = jax.jit(function_of(layer))
    windows = dependence(function_of(mean), x)
    np.testing.assert_array_equal(changed(function, x, np.nan), windows)
    assert not np.any(changed(function, x, np.inf) & ~windows)
    back = jax.jit(lambda dy: jax.vjp(function, x)[1](dy)[0])
    np.testing.assert_array_equal(changed(back, jnp.ones(function(x).shape), np.nan), dependence(function, x).T)
