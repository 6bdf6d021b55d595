"""Layers that act on the last axis: matrices, embeddings, bases of functions."""

from . import bases as bases
from ._bilinear import Bilinear as Bilinear
from ._dense import Dense as Dense
from ._dense import Scale as Scale
from ._dense_on_columns import dense_on_columns as dense_on_columns
from ._embedding import Embedding as Embedding
from ._fourier_features import PeriodicEmbedding as PeriodicEmbedding
from ._fourier_features import RandomFourierFeatures as RandomFourierFeatures
from ._maxout import Maxout as Maxout
from ._mlp import MLP as MLP
from ._positions import PositionalEncoding as PositionalEncoding
from ._positions import RotaryEmbedding as RotaryEmbedding
from ._positions import SinusoidalEmbedding as SinusoidalEmbedding
from ._positions import rotary_embedding as rotary_embedding
from ._prelu import PReLU as PReLU
from ._spline import SplineLayer as SplineLayer
from ._tensor_product import TensorProductLayer as TensorProductLayer
