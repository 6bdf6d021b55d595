"""Layers of `sciml_lux.layers.noise`."""

import sciml_lux as lux

from .base import Layer, array

LAYERS = [
    Layer("Dropout", lux.Dropout, array(4, 3)),
    Layer("Dropout of channels", lambda: lux.Dropout(0.3, broadcast_axes=(-3, -2)), array(2, 3, 3, 4), slow=True),
    Layer("Dropout of nothing", lambda: lux.Dropout(0.0), array(3), slow=True),
    Layer("Dropout of everything", lambda: lux.Dropout(1), array(3)),
    Layer("AlphaDropout", lambda: lux.AlphaDropout(0.2), array(4, 3)),
    Layer("AlphaDropout of everything", lambda: lux.AlphaDropout(1.0), array(4)),
    Layer("VariationalDropout", lambda: lux.VariationalDropout(0.2), array(4, 3)),
    Layer("VariationalDropout over time", lambda: lux.VariationalDropout(broadcast_axes=(-2,)), array(2, 3, 4)),
    Layer("GaussianNoise", lambda: lux.GaussianNoise(0.1), array(4, 3)),
]
