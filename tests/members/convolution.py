"""Layers of `sciml_lux.layers.convolution`."""

from .base import Layer

LAYERS: list[Layer] = []
