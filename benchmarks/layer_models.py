"""The same four models three times: ours, Equinox, Flax NNX. Each is a pure function of its arrays and an input, and the arrays."""

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

import sciml_lux as lux

Model = tuple[Callable[[Any, Any], Any], Any]
"""`(function, arrays)`, called as `function(arrays, x)`."""

KEY = jax.random.key(0)


def ours(layer: lux.AbstractLayer) -> Model:
    ps, st = lux.setup(KEY, layer)
    return lambda ps, x: layer(x, ps, st)[0], ps


def equinox(module: Any, batched: bool = True) -> Model:
    arrays, static = eqx.partition(module, eqx.is_array)

    def call(arrays: Any, x: Any) -> Any:
        model = eqx.combine(arrays, static)
        return jax.vmap(model)(x) if batched else model(x)

    return call, arrays


def flax_nnx(module: nnx.Module) -> Model:
    definition, params, rest = nnx.split(module, nnx.Param, ...)
    return lambda params, x: nnx.merge(definition, params, rest, copy=True)(x), params


# A multilayer perceptron

SIZES = (64, 256, 256, 10)


class NnxMLP(nnx.Module):
    def __init__(self, sizes: tuple[int, ...], activation: Callable[[Any], Any]) -> None:
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)])
        self.activation = activation

    def __call__(self, x: Any) -> Any:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class EquinoxMLP(eqx.Module):
    layers: list[eqx.nn.Linear]
    activation: Callable[[Any], Any]

    def __init__(self, sizes: tuple[int, ...], activation: Callable[[Any], Any]) -> None:
        pairs = list(itertools.pairwise(sizes))
        keys = jax.random.split(KEY, len(pairs))
        self.layers = [eqx.nn.Linear(a, b, key=key) for (a, b), key in zip(pairs, keys, strict=True)]
        self.activation = activation

    def __call__(self, x: Any) -> Any:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def chain_of(sizes: tuple[int, ...], activation: Callable[[Any], Any]) -> lux.Chain:
    pairs = list(itertools.pairwise(sizes))
    return lux.Chain(*[lux.Dense(a, b, activation) for a, b in pairs[:-1]], lux.Dense(*pairs[-1]))


def mlp() -> tuple[dict[str, Model], Any]:
    models = {
        "sciml_lux": ours(chain_of(SIZES, jax.nn.relu)),
        "Equinox": equinox(EquinoxMLP(SIZES, jax.nn.relu)),
        "Flax NNX": flax_nnx(NnxMLP(SIZES, jax.nn.relu)),
    }
    return models, jax.random.normal(KEY, (128, SIZES[0]))


# A small convolutional network on 16 x 16 images with 3 channels

CONVOLUTIONS = ((3, 16), (16, 32))
IMAGE, CLASSES, FLAT = 16, 10, 4 * 4 * 32


class EquinoxConvNet(eqx.Module):
    convolutions: list[eqx.nn.Conv2d]
    pool: eqx.nn.MaxPool2d
    head: eqx.nn.Linear

    def __init__(self) -> None:
        *keys, last = jax.random.split(KEY, 3)
        self.convolutions = [
            eqx.nn.Conv2d(a, b, 3, padding=1, key=key) for (a, b), key in zip(CONVOLUTIONS, keys, strict=True)
        ]
        self.pool = eqx.nn.MaxPool2d(2, 2)
        self.head = eqx.nn.Linear(FLAT, CLASSES, key=last)

    def __call__(self, x: Any) -> Any:
        x = jnp.moveaxis(x, -1, 0)
        for convolution in self.convolutions:
            x = self.pool(jax.nn.relu(convolution(x)))
        return self.head(x.ravel())


class NnxConvNet(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.convolutions = nnx.List([nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in CONVOLUTIONS])
        self.head = nnx.Linear(FLAT, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for convolution in self.convolutions:
            x = nnx.max_pool(jax.nn.relu(convolution(x)), (2, 2), (2, 2))
        return self.head(x.reshape(x.shape[0], -1))


def convnet() -> tuple[dict[str, Model], Any]:
    layers = [
        layer
        for a, b in CONVOLUTIONS
        for layer in (lux.Conv(a, b, (3, 3), jax.nn.relu, padding="SAME"), lux.MaxPool((2, 2)))
    ]
    models = {
        "sciml_lux": ours(lux.Chain(*layers, lux.Flatten(3), lux.Dense(FLAT, CLASSES))),
        "Equinox": equinox(EquinoxConvNet()),
        "Flax NNX": flax_nnx(NnxConvNet()),
    }
    return models, jax.random.normal(KEY, (64, IMAGE, IMAGE, 3))


# A transformer block, normalization first

FEATURES, HEADS, HIDDEN, LENGTH = 128, 4, 512, 64


class EquinoxBlock(eqx.Module):
    attention: eqx.nn.MultiheadAttention
    norms: list[eqx.nn.LayerNorm]
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self) -> None:
        a, b, c = jax.random.split(KEY, 3)
        biases = dict.fromkeys(("use_query_bias", "use_key_bias", "use_value_bias", "use_output_bias"), True)
        self.attention = eqx.nn.MultiheadAttention(HEADS, FEATURES, **biases, key=a)
        self.norms = [eqx.nn.LayerNorm(FEATURES), eqx.nn.LayerNorm(FEATURES)]
        self.up, self.down = eqx.nn.Linear(FEATURES, HIDDEN, key=b), eqx.nn.Linear(HIDDEN, FEATURES, key=c)

    def __call__(self, x: Any) -> Any:
        h = jax.vmap(self.norms[0])(x)
        x = x + self.attention(h, h, h)
        h = jax.vmap(self.up)(jax.vmap(self.norms[1])(x))
        return x + jax.vmap(self.down)(jax.nn.relu(h))


class NnxBlock(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.attention = nnx.MultiHeadAttention(HEADS, FEATURES, decode=False, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(FEATURES, rngs=rngs) for _ in range(2)])
        self.up, self.down = nnx.Linear(FEATURES, HIDDEN, rngs=rngs), nnx.Linear(HIDDEN, FEATURES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = x + self.attention(self.norms[0](x))
        return x + self.down(jax.nn.relu(self.up(self.norms[1](x))))


def transformer_block() -> tuple[dict[str, Model], Any]:
    models = {
        "sciml_lux": ours(lux.TransformerEncoderBlock(FEATURES, HEADS, HIDDEN, jax.nn.relu)),
        "Equinox": equinox(EquinoxBlock()),
        "Flax NNX": flax_nnx(NnxBlock()),
    }
    return models, jax.random.normal(KEY, (8, LENGTH, FEATURES))


# An LSTM over a sequence, of which the last output counts

INPUT, CELLS, TIME, SEQUENCES = 16, 64, 50, 32


class EquinoxLSTM(eqx.Module):
    cell: eqx.nn.LSTMCell
    head: eqx.nn.Linear

    def __init__(self) -> None:
        a, b = jax.random.split(KEY)
        self.cell, self.head = eqx.nn.LSTMCell(INPUT, CELLS, key=a), eqx.nn.Linear(CELLS, 1, key=b)

    def __call__(self, x: Any) -> Any:
        start = (jnp.zeros(CELLS), jnp.zeros(CELLS))
        (h, _), _ = lax.scan(lambda carry, x: (self.cell(x, carry), None), start, x)
        return self.head(h)


class NnxLSTM(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.recurrence = nnx.RNN(nnx.OptimizedLSTMCell(INPUT, CELLS, rngs=rngs))
        self.head = nnx.Linear(CELLS, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(self.recurrence(x)[:, -1])


def lstm() -> tuple[dict[str, Model], Any]:
    recurrence = lux.Recurrence(lux.LSTMCell(INPUT, CELLS), return_sequence=False)
    models = {
        "sciml_lux": ours(lux.Chain(recurrence, lux.Dense(CELLS, 1))),
        "Equinox": equinox(EquinoxLSTM()),
        "Flax NNX": flax_nnx(NnxLSTM()),
    }
    return models, jax.random.normal(KEY, (SEQUENCES, TIME, INPUT))


MODELS = {
    f"MLP {'-'.join(map(str, SIZES))}, batch 128": mlp,
    "ConvNet, 16 x 16 x 3, batch 64": convnet,
    f"transformer block, {FEATURES} features, batch 8 x {LENGTH}": transformer_block,
    f"LSTM {INPUT}-{CELLS}, batch {SEQUENCES} x {TIME}": lstm,
}
