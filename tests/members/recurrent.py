"""Layers of `sciml_lux.layers.recurrent`."""

from .base import Layer

LAYERS: list[Layer] = []
