"""Layers of `sciml_lux.layers.attention`."""

from .base import Layer

LAYERS: list[Layer] = []
