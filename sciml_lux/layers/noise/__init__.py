"""Layers that are random while training, with their keys in the state."""
