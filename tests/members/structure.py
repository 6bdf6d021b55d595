"""Layers of `sciml_lux.layers.structure`."""

from .base import Layer

LAYERS: list[Layer] = []
