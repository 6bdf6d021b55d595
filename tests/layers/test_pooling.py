"""Pooling and resampling: theorems and bad input. PyTorch's figures: `torch_oracle/convolution.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from members import array

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError


@jax.jit
def applied(layer, x):
    return layer(x, {}, {})[0]


@jax.jit
def gradient(layer, x):
    return jax.grad(lambda x: jnp.sum(applied(layer, x)))(x)


# Pooling


def test_pooling_over_everything_is_reducing():
    x = array(2, 9, 11, 3)
    for window, whole, adaptive, expected in [
        (lux.MaxPool, lux.GlobalMaxPool, lux.AdaptiveMaxPool, jnp.max(x, (1, 2))),
        (lux.MeanPool, lux.GlobalMeanPool, lux.AdaptiveMeanPool, jnp.mean(x, (1, 2))),
        (lux.LpPool, lux.GlobalLpPool, lux.AdaptiveLpPool, jnp.sqrt(jnp.sum(x**2, (1, 2)))),
    ]:
        for layer in (window((9, 11)), whole(2, keepdims=True), adaptive((1, 1))):
            np.testing.assert_allclose(applied(layer, x)[:, 0, 0], expected, rtol=1e-12)
        np.testing.assert_allclose(applied(whole(2), x), expected, rtol=1e-12)


@pytest.mark.parametrize("size", range(1, 21))
def test_the_maximum_of_windows_of_every_length_is_the_first_maximum(size):
    x = jnp.asarray(np.random.default_rng(size).integers(0, 3, (25, 1)).astype(float))
    layer = lux.MaxPool((size,), stride=2)
    starts = range(0, 25 - size + 1, 2)
    windows = [np.asarray(x[start : start + size, 0]) for start in starts]
    np.testing.assert_array_equal(applied(layer, x)[:, 0], [np.max(window) for window in windows])
    expected = np.zeros(25)
    for start, window in zip(starts, windows, strict=True):
        expected[start + np.argmax(window)] += 1
    np.testing.assert_array_equal(gradient(layer, x)[:, 0], expected)


@pytest.mark.parametrize("layer", [lux.MaxPool((2, 2)), lux.AdaptiveMaxPool((2, 2)), lux.GlobalMaxPool(2)])
def test_the_gradient_of_a_maximum_of_equals_goes_to_the_first(layer):
    x = jnp.ones((1, 4, 4, 1))
    expected = np.zeros((1, 4, 4, 1))
    if isinstance(layer, lux.GlobalMaxPool):
        expected[0, 0, 0] = 1
    else:
        expected[0, ::2, ::2] = 1
    np.testing.assert_array_equal(gradient(layer, x), expected)


@pytest.mark.parametrize("size", [2, 12])
def test_a_maximum_passes_on_nan_and_infinities(size):
    x = jnp.zeros((24, 1)).at[1].set(jnp.nan).at[size].set(jnp.inf).at[size + 1].set(-jnp.inf)
    y = applied(lux.MaxPool((size,)), x)
    assert jnp.isnan(y[0, 0])
    assert y[1, 0] == jnp.inf
    assert applied(lux.MaxPool((1,), padding=0), x)[size + 1, 0] == -jnp.inf


def test_padding_is_never_the_maximum():
    y = applied(lux.MaxPool((3,), stride=1, padding="SAME"), -1.0 - jnp.arange(4.0)[:, None])
    np.testing.assert_array_equal(y[:, 0], [-1.0, -1.0, -2.0, -3.0])


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4])
@pytest.mark.parametrize("kind", ["window", "global", "adaptive"])
def test_the_gradient_of_a_norm_of_zeros_is_zero(p, kind):
    layer = {
        "window": lux.LpPool((2, 2), p=p),
        "global": lux.GlobalLpPool(2, p=p),
        "adaptive": lux.AdaptiveLpPool((2, 2), p=p),
    }[kind]
    zeros = jnp.zeros((4, 4, 1))
    np.testing.assert_array_equal(applied(layer, zeros), 0.0)
    np.testing.assert_array_equal(gradient(layer, zeros), 0.0)
    assert jnp.all(jnp.isfinite(gradient(layer, zeros.at[0, 0].set(-1.0))))
    np.testing.assert_array_equal(gradient(layer, zeros.at[0, 0].set(-1.0))[0, 0], -1.0)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_a_norm_is_that_of_numpy(p):
    x = array(6, 2)
    expected = [np.linalg.norm(np.asarray(x[i : i + 3]), p, axis=0) for i in (0, 3)]
    np.testing.assert_allclose(applied(lux.LpPool((3,), p=p), x), expected, rtol=1e-12)


def test_a_mean_of_many_bfloat16_is_not_stuck():
    # 512 + 1 = 512 in bfloat16.
    ones = jnp.ones((1024, 1), jnp.bfloat16)
    for layer in (lux.MeanPool((1024,)), lux.GlobalMeanPool(1), lux.AdaptiveMeanPool((1,))):
        assert applied(layer, ones) == 1.0


def test_an_empty_batch_gives_none():
    x = jnp.zeros((0, 4, 6, 2))
    for layer in (
        lux.MaxPool((2, 2)),
        lux.MeanPool((2, 2)),
        lux.LpPool((2, 2)),
        lux.AdaptiveMaxPool((2, 3)),
        lux.AdaptiveMeanPool((2, 3)),
    ):
        assert applied(layer, x).shape == (0, 2, 3, 2)
        assert gradient(layer, x).shape == x.shape
    assert applied(lux.GlobalMaxPool(2), x).shape == (0, 2)
    assert applied(lux.Upsample((2, 2), mode="cubic"), x).shape == (0, 8, 12, 2)
    assert applied(lux.PixelUnshuffle((2, 2)), x).shape == (0, 2, 3, 8)


def test_bad_arguments_of_pooling_are_refused(unchecked):
    for pool in (lux.MaxPool, lux.MeanPool, lux.LpPool):
        refused(lambda: pool(2), LayerError, "kernel_size=(2,) for series")  # noqa: B023
        refused(lambda: pool((2, 0)), LayerError, "kernel_size")  # noqa: B023
        refused(lambda: pool((2, 2), stride=0), LayerError, "stride")  # noqa: B023
        refused(lambda: pool((2, 2), padding="both"), LayerError, "padding")  # noqa: B023
        refused(lambda: applied(pool((4,)), jnp.zeros((3, 1))), ShapeError, "does not fit", "(3,)")  # noqa: B023
        refused(lambda: applied(pool((2, 2)), jnp.zeros((4, 1))), ShapeError, "2 spatial axes")  # noqa: B023
        refused(lambda: applied(pool((2,), padding=2), jnp.zeros((3, 1))), ShapeError, "wholly outside")  # noqa: B023
    refused(lambda: lux.MaxPool((2,), dilation=-1), LayerError, "dilation")
    refused(lambda: lux.MeanPool((2,), count_include_pad=1), LayerError, "count_include_pad")
    for layer in (
        lambda p: lux.LpPool((2,), p=p),
        lambda p: lux.GlobalLpPool(2, p=p),
        lambda p: lux.AdaptiveLpPool((2,), p=p),
    ):
        for p in (0.5, "2", float("inf"), float("nan"), True):
            refused(lambda: layer(p), LayerError, "p is a finite number, 1 or more")  # noqa: B023
    for pool in (lux.GlobalMaxPool, lux.GlobalMeanPool, lux.GlobalLpPool):
        for dimensions in (0, 4, "2", True, (2, 2)):
            refused(lambda: pool(dimensions), LayerError, "dimensions is the number of spatial axes")  # noqa: B023
        refused(lambda: applied(pool(2), jnp.zeros((0, 2, 1))), ShapeError, "nothing to pool")  # noqa: B023
        refused(lambda: applied(pool(2), jnp.zeros((2, 1))), ShapeError, "2 spatial axes")  # noqa: B023
    for pool in (lux.AdaptiveMaxPool, lux.AdaptiveMeanPool, lux.AdaptiveLpPool):
        refused(lambda: pool(2), LayerError, "output_size=(2,) for series")  # noqa: B023
        refused(lambda: pool((0,)), LayerError, "output_size")  # noqa: B023
        refused(lambda: applied(pool((1,)), jnp.zeros((0, 1))), ShapeError, "nothing to pool")  # noqa: B023


# Resampling

modes = pytest.mark.parametrize(
    "options",
    [{"mode": "nearest"}, *({"mode": mode, "align_corners": c} for mode in ("linear", "cubic") for c in (False, True))],
)


@modes
def test_interpolation_keeps_constants(options):
    y = applied(lux.Upsample(size=(7, 3), **options), jnp.full((4, 5, 2), 3.0))
    np.testing.assert_allclose(y, 3.0, rtol=1e-14)


@modes
def test_interpolation_to_the_same_size_is_the_identity(options):
    x = array(4, 5, 2)
    np.testing.assert_allclose(applied(lux.Upsample((1, 1.0), **options), x), x, rtol=1e-14)


def test_interpolation_with_corners_keeps_straight_lines():
    x = jnp.linspace(1.0, 2.0, 4)[:, None]
    y = applied(lux.Upsample(size=(9,), mode="linear", align_corners=True), x)
    np.testing.assert_allclose(y[:, 0], np.linspace(1.0, 2.0, 9), rtol=1e-14)


@pytest.mark.parametrize("size", [1, 2, 3, 94])
def test_nearest_takes_the_element_whose_cell_the_output_starts_in(size):
    y = applied(lux.Upsample(size=(size,)), jnp.arange(2.0)[:, None])
    np.testing.assert_array_equal(y[:, 0], [(j * 2) // size for j in range(size)])


@modes
def test_the_gradient_of_interpolation_is_its_transpose_in_both_modes_of_differentiation(options):
    layer = lux.Upsample((1.5, 2), **options)
    x, dx = array(3, 4, 2), jnp.cos(array(3, 4, 2))
    y, dy = jax.jvp(lambda x: applied(layer, x), (x,), (dx,))
    np.testing.assert_allclose(dy, applied(layer, dx), rtol=1e-12, atol=1e-13)
    z = jnp.sin(1 + array(*y.shape))
    back = jax.vjp(lambda x: applied(layer, x), x)[1](z)[0]
    np.testing.assert_allclose(jnp.vdot(back, dx), jnp.vdot(z, dy), rtol=1e-12)


def test_infinities_stay_where_they_are():
    y = applied(lux.Upsample((2,), mode="linear"), jnp.array([[1.0], [1.0], [jnp.inf], [1.0], [1.0]]))
    np.testing.assert_array_equal(np.isfinite(y[:, 0]), [True] * 3 + [False] * 4 + [True] * 3)


@pytest.mark.parametrize("factor", [(2,), (3, 2), (1, 2, 2)])
def test_unshuffling_undoes_shuffling(factor):
    x = array(2, *(2, 3, 2)[: len(factor)], 12)
    y = applied(lux.PixelShuffle(factor), x)
    assert y.shape[-1] == 12 // np.prod(factor)
    np.testing.assert_array_equal(applied(lux.PixelUnshuffle(factor), y), x)


def test_bad_arguments_of_resampling_are_refused(unchecked):
    refused(lambda: lux.Upsample(), LayerError, "either scale_factor or size")
    refused(lambda: lux.Upsample((2,), size=(3,)), LayerError, "either scale_factor or size")
    for factor in (2, (0,), (-1, 2), ("2",), (2, 2, 2, 2), (), (float("inf"),), [2]):
        refused(lambda: lux.Upsample(factor), LayerError, "scale_factor is a tuple")  # noqa: B023
    refused(lambda: lux.Upsample(size=4), LayerError, "size=(4,) for series")
    refused(lambda: lux.Upsample((2,), mode="bilinear"), LayerError, "mode", "'nearest', 'linear', 'cubic'")
    refused(lambda: lux.Upsample((2,), align_corners=True), LayerError, "align_corners", 'mode="linear"')
    refused(lambda: lux.Upsample((2,), mode="linear", align_corners=1), LayerError, "align_corners")
    refused(lambda: applied(lux.Upsample((0.1,)), jnp.zeros((3, 1))), ShapeError, "(3,) cannot be resized to (0,)")
    refused(lambda: applied(lux.Upsample(size=(3,)), jnp.zeros((0, 1))), ShapeError, "cannot be resized")
    refused(lambda: applied(lux.Upsample((2, 2)), jnp.zeros((3, 1))), ShapeError, "2 spatial axes")
    refused(lambda: lux.PixelShuffle(2), LayerError, "upscale_factor=(2,) for series")
    refused(lambda: lux.PixelUnshuffle((0,)), LayerError, "downscale_factor")
    refused(
        lambda: applied(lux.PixelShuffle((2, 2)), jnp.zeros((1, 1, 6))), ShapeError, "makes 4 channels one", "(1, 1, 6)"
    )
    refused(lambda: applied(lux.PixelUnshuffle((2,)), jnp.zeros((3, 1))), ShapeError, "must divide", "(3, 1)")
    model = lux.Chain(lux.PixelShuffle((2, 2)))
    ps, st = setup(model)
    refused(lambda: model(jnp.zeros((1, 1, 6)), ps, st), ShapeError, "layer_0")


# Norms of any size


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(lux.LpPool((2, 3), stride=1, padding=1, p=8), marks=pytest.mark.slow),
        lux.GlobalLpPool(2, p=2),
        pytest.param(lux.AdaptiveLpPool((2, 3), p=3), marks=pytest.mark.slow),
    ],
)
def test_norms_and_their_gradients_have_no_unit(layer):
    x = array(5, 4, 2).astype(jnp.float32)
    # Small windows beside large ones, too.
    x = x * jnp.where(jnp.arange(5) < 3, 1.0, 1e-7).astype(jnp.float32)[:, None, None]

    def loss(x):
        y, _ = layer(x, {}, {})
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=x.dtype)).reshape(y.shape)), y

    scales = jnp.asarray([1e-20, 1e-12, 1.0, 1e12, 1e30])
    inputs = scales.astype(jnp.float32)[:, None, None, None] * x[None]
    program = jax.jit(jax.vmap(jax.grad(loss, has_aux=True)))
    (gradients, values), (exact_gradients, exact) = program(inputs), program(inputs.astype(float))
    np.testing.assert_allclose(values, exact, rtol=1e-5)
    np.testing.assert_allclose(gradients, exact_gradients, rtol=1e-4, atol=1e-5)
    assert np.min(np.max(np.abs(exact_gradients), (1, 2, 3))) > 0.1


def test_dilated_means_and_norms_are_those_of_every_other_element():
    x = array(7, 2)
    even, odd = x[::2], x[1::2]
    for plain, dilated in (
        (lux.MeanPool((2,), stride=1), lux.MeanPool((2,), stride=1, dilation=2)),
        (lux.LpPool((2,), stride=1, p=3), lux.LpPool((2,), stride=1, p=3, dilation=2)),
    ):
        y = applied(dilated, x)
        assert y.shape == (5, 2)
        np.testing.assert_allclose(y[::2], applied(plain, even), rtol=1e-14)
        np.testing.assert_allclose(y[1::2], applied(plain, odd), rtol=1e-14)
    counted = applied(lux.MeanPool((3,), stride=1, padding=2, dilation=2, count_include_pad=False), jnp.ones((7, 2)))
    np.testing.assert_allclose(counted, 1.0, rtol=1e-15)


def test_dilations_that_are_none_are_refused(unchecked):
    for kind in (lux.MaxPool, lux.MeanPool, lux.LpPool):
        refused(lambda: kind((2,), dilation=0), lux.LayerError, kind.__name__, "dilation", "got 0")  # noqa: B023
