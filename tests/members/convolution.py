"""Layers of `sciml_lux.layers.convolution`."""

import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array

LAYERS = [
    Layer("Conv", lambda: lux.Conv(2, 3, (3, 2), jnp.tanh, padding=1), array(2, 3, 4, 2)),
    Layer(
        "Conv without batch axis", lambda: lux.Conv(3, 2, (3,), stride=2, padding="SAME", use_bias=False), array(5, 3)
    ),
    Layer("Conv of one channel", lambda: lux.Conv(1, 2, (2, 2), dilation=(1, 2)), array(1, 3, 4, 1), slow=True),
    Layer(
        "Conv, circular",
        lambda: lux.Conv(2, 3, (3, 2), padding="SAME", padding_mode="circular"),
        array(2, 3, 4, 2),
        slow=True,
    ),
    Layer(
        "Conv, reflecting",
        lambda: lux.Conv(2, 2, (3,), stride=2, padding=((2, 1),), padding_mode="reflect"),
        array(4, 2),
        slow=True,
    ),
    Layer("Conv by groups", lambda: lux.Conv(4, 4, (2, 2), groups=2, stride=2), array(2, 4, 5, 4)),
    Layer("Conv of each channel", lambda: lux.Conv(2, 4, (2,), groups=2), array(2, 3, 4, 2), slow=True),
    Layer("ConvTranspose", lambda: lux.ConvTranspose(2, 3, (3, 3), jnp.tanh, padding=1), array(2, 3, 2, 2)),
    Layer(
        "ConvTranspose with strides",
        lambda: lux.ConvTranspose(3, 2, (3,), stride=2, padding=1, output_padding=1, use_bias=False),
        array(3, 3),
    ),
    Layer(
        "ConvTranspose to double size",
        lambda: lux.ConvTranspose(2, 2, (3,), stride=2, padding="SAME"),
        array(3, 2),
        slow=True,
    ),
    Layer(
        "ConvTranspose, circular",
        lambda: lux.ConvTranspose(2, 3, (3,), stride=2, padding="SAME", padding_mode="circular"),
        array(2, 3, 2),
        slow=True,
    ),
    Layer("ConvTranspose by groups", lambda: lux.ConvTranspose(4, 4, (2,), groups=2, stride=2), array(2, 3, 4)),
    Layer("ConvTranspose of each channel", lambda: lux.ConvTranspose(2, 4, (2,), groups=2), array(2, 3, 2), slow=True),
    Layer("MaxPool", lambda: lux.MaxPool((2, 2)), array(2, 4, 5, 2)),
    Layer(
        "MaxPool, overlapping",
        lambda: lux.MaxPool((3, 2), stride=1, padding="SAME", dilation=(1, 2)),
        array(4, 5, 2),
        slow=True,
    ),
    Layer("MaxPool with long windows", lambda: lux.MaxPool((10,), stride=3), array(2, 14, 1), slow=True),
    Layer("MeanPool", lambda: lux.MeanPool((2,), padding=1, count_include_pad=False), array(2, 5, 2)),
    Layer("MeanPool, dilated", lambda: lux.MeanPool((2,), stride=1, dilation=2), array(5, 2), slow=True),
    Layer("LpPool", lambda: lux.LpPool((2, 2), stride=(1, 2), p=3), array(3, 4, 2)),
    Layer("GlobalMaxPool", lambda: lux.GlobalMaxPool(2), array(2, 3, 4, 2)),
    Layer("GlobalMeanPool", lambda: lux.GlobalMeanPool(1, keepdims=True), array(3, 2)),
    Layer("GlobalLpPool", lambda: lux.GlobalLpPool(3, p=2.5), array(2, 2, 2, 2, 2)),
    Layer("AdaptiveMaxPool", lambda: lux.AdaptiveMaxPool((2, 3)), array(2, 5, 4, 2)),
    Layer("AdaptiveMeanPool", lambda: lux.AdaptiveMeanPool((2,)), array(5, 2)),
    Layer("AdaptiveLpPool", lambda: lux.AdaptiveLpPool((2,), p=1), array(2, 5, 2)),
    Layer("Upsample", lambda: lux.Upsample((2, 3)), array(2, 2, 3, 2)),
    Layer("Upsample, cubic", lambda: lux.Upsample((1.5, 0.5), mode="cubic"), array(4, 4, 2)),
    Layer("Pad", lambda: lux.Pad((1, (2, 0)), "edge"), array(2, 3, 2, 2)),
    Layer("Pad, circular", lambda: lux.Pad((2,), padding_mode="circular"), array(3, 2), slow=True),
    Layer("PixelShuffle", lambda: lux.PixelShuffle((2, 1)), array(2, 2, 3, 4)),
    Layer("PixelUnshuffle", lambda: lux.PixelUnshuffle((2,)), array(4, 3)),
]
