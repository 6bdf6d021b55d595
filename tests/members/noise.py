"""Layers of `sciml_lux.layers.noise`."""

from .base import Layer

LAYERS: list[Layer] = []
