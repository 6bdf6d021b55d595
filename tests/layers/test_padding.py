"""Padding: `Pad`, and convolutions whose input goes on periodically, mirrored, or as it ends. NumPy's `pad` is the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from members import array

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError
from sciml_lux.kernels.convolution._window import window_over

NUMPY = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "edge": "edge"}


def padded(x, pairs, mode):
    return np.pad(np.asarray(x), [(0, 0)] * (x.ndim - 1 - len(pairs)) + list(pairs) + [(0, 0)], NUMPY[mode])


@pytest.mark.parametrize("mode", NUMPY)
def test_pad_is_that_of_numpy_over_any_leading_axes(mode):
    cases = (
        (lux.Pad((2,), mode), array(4, 3, 2), ((2, 2),)),
        (lux.Pad((1, (2, 0)), mode), array(2, 2, 3, 4, 2), ((1, 1), (2, 0))),
        (lux.Pad(((7, 5),), mode), array(3, 1), ((7, 5),)),  # longer than the input
        (lux.Pad((0, 1, (0, 2)), mode), array(2, 3, 2, 1), ((0, 0), (1, 1), (0, 2))),
    )
    results = jax.jit(lambda: [layer(x, *setup(layer))[0] for layer, x, _ in cases])()
    for y, (_, x, pairs) in zip(results, cases, strict=True):
        np.testing.assert_array_equal(y, padded(x, pairs, mode))


CONVOLUTIONS = {
    "series": ({"kernel_size": (3,), "padding": 2}, (6,), ((2, 2),)),
    "same": ({"kernel_size": (4, 3), "padding": "SAME"}, (5, 4), ((1, 2), (1, 1))),
    "strides": (
        {"kernel_size": (3, 2), "padding": ((2, 0), (1, 1)), "stride": (2, 3), "dilation": (2, 1)},
        (7, 6),
        ((2, 0), (1, 1)),
    ),
    "groups": ({"kernel_size": (3,), "padding": 1, "groups": 2}, (5,), ((1, 1),)),
    "each channel": ({"kernel_size": (3,), "padding": (1,), "groups": 4, "stride": 2}, (6,), ((1, 1),)),
    "volume": ({"kernel_size": (2, 3, 2), "padding": (0, 1, 1)}, (3, 3, 2), ((0, 0), (1, 1), (1, 1))),
}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, marks=[pytest.mark.slow] * ((name, mode) != ("strides", "circular")))
        for name in CONVOLUTIONS
        for mode in ("circular", "reflect", "edge")
    ],
)
def test_a_convolution_pads_first_and_its_transpose_is_the_layer(name, mode):
    options, sizes, pairs = CONVOLUTIONS[name]
    # What a stride leaves over behind is what `output_padding` makes up for.
    window = window_over(sizes, options["kernel_size"], options.get("stride", 1), pairs, options.get("dilation", 1))
    rests = zip(sizes, pairs, window.extent, window.stride, strict=True)
    over = tuple((size + sum(pair) - extent) % stride for size, pair, extent, stride in rests)
    layer, plain = lux.Conv(4, 4, padding_mode=mode, **options), lux.Conv(4, 4, **options | {"padding": "VALID"})
    back = lux.ConvTranspose(4, 4, padding_mode=mode, output_padding=over, **options)
    x = array(2, *sizes, 4)

    @jax.jit
    def program():
        ps, st = setup(layer)
        ps = {"weight": ps.weight, "bias": jnp.zeros(4)}
        transposed = {"weight": jnp.swapaxes(ps["weight"], -1, -2), "bias": jnp.zeros(4)}
        y, _ = layer(x, ps, st)
        return y, plain(jnp.asarray(padded(x, pairs, mode)), ps, st)[0], back(jnp.cos(y), transposed, st)[0]

    y, of_padded, z = program()
    np.testing.assert_allclose(y, of_padded, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(np.vdot(np.cos(y), y), np.vdot(z, x), rtol=1e-12)


@pytest.mark.slow
def test_a_periodic_convolution_commutes_with_shifts():
    down = lux.Conv(2, 3, (3, 4), jnp.tanh, padding="SAME", padding_mode="circular")
    up = lux.ConvTranspose(2, 3, (3, 4), jnp.tanh, padding="SAME", stride=2, padding_mode="circular")
    x = array(2, 4, 5, 2)

    @jax.jit
    def program():
        both = jnp.stack([x, jnp.roll(x, (1, -2), (1, 2))])
        return [layer(both, *setup(layer))[0] for layer in (down, up)]

    for (y, shifted), stride in zip(program(), (1, 2), strict=True):
        assert y.shape == (2, 4 * stride, 5 * stride, 3)
        np.testing.assert_allclose(shifted, np.roll(y, (stride, -2 * stride), (1, 2)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.Pad(1), ["Pad", "tuple", "got 1", "Pad((1,))"]),
        (lambda: lux.Pad((1, -1)), ["Pad", "(1, -1)"]),
        (lambda: lux.Pad(((1, 2, 3),)), ["Pad", "(1, 2, 3)"]),
        (lambda: lux.Pad(()), ["Pad", "()"]),
        (lambda: lux.Pad((1,), "wrap"), ["Pad", "padding_mode", "'circular'", "'wrap'"]),
        (lambda: lux.Conv(1, 1, (3,), padding_mode="replicate"), ["Conv", "replicate", '"edge"']),
        (lambda: lux.ConvTranspose(1, 1, (3,), padding_mode=None), ["ConvTranspose", "padding_mode", "None"]),
    ],
)
def test_what_cannot_be_is_refused(make, parts, unchecked):
    refused(make, LayerError, *parts)


def test_nothing_cannot_be_continued():
    layer = lux.Chain(lux.Pad((1,), "edge"))
    ps, st = setup(layer)
    refused(lambda: layer(jnp.zeros((2, 0, 3)), ps, st), ShapeError, "layer_0", "(0,)", 'padding_mode="zeros"')
    assert lux.Pad((1,))(jnp.zeros((2, 0, 3)), ps, st)[0].shape == (2, 2, 3)
