"""Layers that are random while training, with their keys in the state."""

from ._alpha_dropout import AlphaDropout as AlphaDropout
from ._dropout import Dropout as Dropout
from ._dropout import VariationalDropout as VariationalDropout
from ._gaussian_noise import GaussianNoise as GaussianNoise
