"""Layers that act on the last axis: matrices, embeddings, bases of functions."""

from ._dense import Dense as Dense
from ._dense import Scale as Scale
