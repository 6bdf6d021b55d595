"""Layers on the last axis."""

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux
from sciml_lux.layers import activations

from .base import Layer, array

bases = lux.bases
grid = np.linspace(-1.1, 1.3, 5)

LAYERS = [
    Layer("Dense", lambda: lux.Dense(3, 2, jnp.tanh), array(4, 3)),
    Layer("Dense without bias", lambda: lux.Dense(3, 2, use_bias=False), array(3)),
    Layer(
        "Dense of another start", lambda: lux.Dense(2, 2, init_bias=lux.init.normal(std=1.0)), array(2, 3, 2), slow=True
    ),
    Layer("Dense with an activation of ours", lambda: lux.Dense(3, 2, activations.gelu_exact), array(3)),
    Layer("Scale", lambda: lux.Scale(3, jnp.sin), array(2, 3)),
    Layer("Scale without bias", lambda: lux.Scale(3, use_bias=False), array(3)),
    Layer("Bilinear", lambda: lux.Bilinear(3, 2, 4, jnp.tanh), (array(5, 3), array(5, 2))),
    Layer("Bilinear of one input", lambda: lux.Bilinear(3, 3, 2, use_bias=False), array(3), slow=True),
    Layer("Embedding", lambda: lux.Embedding(5, 3), jnp.array([[0, 4, 4], [2, 1, 0]])),
    Layer("MLP", lambda: lux.MLP(3, (4, 4), 2), array(5, 3)),
    Layer("MLP without hidden layers", lambda: lux.MLP(3, (), 2), array(3)),
    Layer(
        "MLP with everything",
        lambda: lux.MLP(3, (4, 4), 2, jax.nn.gelu, norm=lux.LayerNorm, dropout=0.3, residual=True),
        array(5, 3),
        mapped=False,  # one key for all inputs draws other numbers than one for each
    ),
    Layer("PReLU", lambda: lux.PReLU(), array(2, 3)),
    Layer("PReLU of each feature", lambda: lux.PReLU(3), array(2, 3), slow=True),
    Layer("Maxout", lambda: lux.Maxout(lux.Dense(3, 3), jnp.sin, other=lux.Dense(3, 3, jnp.tanh)), array(4, 3)),
    Layer(
        "TensorProductLayer",
        lambda: lux.TensorProductLayer((bases.Chebyshev(3), bases.Fourier(4, period=3.0)), 2),
        array(5, 2),
    ),
    Layer(
        "TensorProductLayer of Legendre",
        lambda: lux.TensorProductLayer((bases.Legendre(4, upper=2.0),), 1),
        array(1),
        slow=True,
    ),
    Layer(
        "TensorProductLayer of powers",
        lambda: lux.TensorProductLayer((bases.Polynomial(4),), 1),
        array(2, 1),
        slow=True,
    ),
    Layer(
        "TensorProductLayer of three",
        lambda: lux.TensorProductLayer((bases.Sine(2), bases.Cosine(2), bases.BSpline(5, lower=-1.5, upper=1.5)), 2),
        array(3, 3),
        slow=True,
    ),
    Layer("SplineLayer", lambda: lux.SplineLayer(grid, 2), array(6, 1)),
    Layer("SplineLayer of lines", lambda: lux.SplineLayer(grid, 2, degree=1, extrapolation="linear"), array(1)),
    Layer(
        "SplineLayer of steps", lambda: lux.SplineLayer(grid, 1, degree=0, extrapolation="nan"), array(2, 1), slow=True
    ),
    Layer("SplineLayer on a grid", lambda: lux.SplineLayer((grid, (-1.0, 0.5, 1.0)), 2), array(3, 2), slow=True),
    Layer("PeriodicEmbedding", lambda: lux.PeriodicEmbedding((2, 0), (1.0, 3.0)), array(4, 3)),
    Layer("RandomFourierFeatures", lambda: lux.RandomFourierFeatures(3, 4, scale=0.5), array(2, 3)),
    Layer("SinusoidalEmbedding", lambda: lux.SinusoidalEmbedding(6), array(4)),
    Layer("PositionalEncoding", lambda: lux.PositionalEncoding(4, max_period=100.0), array(2, 3, 4)),
    Layer("RotaryEmbedding", lambda: lux.RotaryEmbedding(4), array(2, 3, 2, 4)),
]
