"""Layers that normalize their input, and wrappers that normalize a layer's weights."""
