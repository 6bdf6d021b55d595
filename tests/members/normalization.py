"""Layers of `sciml_lux.layers.normalization`."""

from .base import Layer

LAYERS: list[Layer] = []
