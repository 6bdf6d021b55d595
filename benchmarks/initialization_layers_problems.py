"""The problems of `initialization_layers.py`: small networks of convolutions, gated cells and attention, float32."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from initialization_problems import DIGITS, Problem, adam, batches

import sciml_lux as lux

VOWELS = DIGITS.with_name("japanese_vowels.npz")
RATE, STEPS = 3e-3, 200


def images() -> tuple[Any, Any]:
    """Handwritten digits `(1797, 8, 8, 1)` from -1 to 1, in random order, and which they are."""
    with np.load(DIGITS) as stored:
        pixels = stored["images"][..., None] / np.float32(8.0) - np.float32(1.0)
        labels = stored["labels"].astype(np.int32)
    order = np.random.default_rng(0).permutation(len(labels))
    return pixels[order], labels[order]


def utterances() -> tuple[Any, Any]:
    """`(frames, mask), speaker` of 640 utterances, as in `examples/vowels.py`; the first 370 are those to be judged on."""
    with np.load(VOWELS) as stored:
        mean, spread = stored["train_frames"].mean(0), stored["train_frames"].std(0)
        lengths = np.concatenate([stored["test_lengths"], stored["train_lengths"]]).astype(int)
        mask = np.arange(29) < lengths[:, None]
        x = np.zeros((len(lengths), 29, 12), np.float32)
        x[mask] = (np.concatenate([stored["test_frames"], stored["train_frames"]]) - mean) / spread
        speakers = np.concatenate([stored["test_speakers"], stored["train_speakers"]]).astype(np.int32)
    return (x, mask), speakers


def classification(name: str, about: str, model: Any, x: Any, labels: Any, held_back: int) -> Problem:
    """Batches of 64; judged by the cross-entropy of the first `held_back`."""

    def loss(ps: Any, st: Any, batch: Any) -> Any:
        scores, st = model(batch[0], ps, st)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, batch[1])), st

    def taken(indices: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[indices], (x, labels))

    def data() -> Iterator[Any]:
        return (taken(held_back + batch) for batch in batches(len(labels) - held_back, 64, STEPS))

    judged = taken(np.arange(held_back))
    return Problem(
        name,
        f"{about}, batches of 64, {held_back} held back and judged by cross-entropy, {STEPS} steps",
        model,
        adam(loss, STEPS, data, RATE, lambda ps, st: loss(ps, st, judged)[0]),
    )


def regression(name: str, about: str, model: Any, x: Any, y: Any, held_back: int, steps: int) -> Problem:
    """All at once; judged by the squared error of the first `held_back` over the variance."""
    scale = jnp.std(y)

    def loss(ps: Any, st: Any, data: Any) -> Any:
        predicted, st = model(data[0], ps, st)
        return jnp.mean(((predicted - data[1]) / scale) ** 2), st

    learned, judged = (x[held_back:], y[held_back:]), (x[:held_back], y[:held_back])
    about = f"{about}, {held_back} held back and judged, {steps} steps"
    return Problem(name, about, model, adam(loss, steps, learned, RATE, lambda ps, st: loss(ps, st, judged)[0]))


def flat(x: Any) -> Any:
    return x.reshape(*x.shape[:-3], -1)


def digits() -> Problem:
    model = lux.Chain(
        lux.Conv(1, 16, (3, 3), jax.nn.relu, padding="SAME"),
        lux.Conv(16, 32, (3, 3), jax.nn.relu, stride=2, padding="SAME"),
        lux.Conv(32, 32, (3, 3), jax.nn.relu, stride=2, padding="SAME"),
        flat,
        lux.Dense(128, 10),
    )
    return classification(
        "digits", "classification, relu, three convolutions: handwritten digits", model, *images(), 360
    )


def flow() -> Problem:
    """Burgers' equation with viscosity, by explicit steps of central differences on a ring."""
    waves = jax.random.normal(jax.random.key(0), (192, 4, 2)) / jnp.arange(1, 5)[:, None]
    angles = jnp.arange(1, 5)[:, None] * jnp.linspace(0, 2 * jnp.pi, 64, endpoint=False)
    start = jnp.einsum("sk,kx->sx", waves[..., 0], jnp.sin(angles)) + jnp.einsum(
        "sk,kx->sx", waves[..., 1], jnp.cos(angles)
    )

    def step(u: Any, _: Any) -> Any:
        left, right, dx = jnp.roll(u, 1, -1), jnp.roll(u, -1, -1), 2 * jnp.pi / 64
        return u + 2e-3 * (0.2 * (left - 2 * u + right) / dx**2 - u * (right - left) / (2 * dx)), None

    end = jax.lax.scan(step, start, None, length=150)[0]
    around = {"padding": "SAME", "padding_mode": "circular"}
    model = lux.Chain(
        lux.Conv(1, 24, (5,), jnp.tanh, **around),
        lux.Conv(24, 24, (5,), jnp.tanh, **around),
        lux.Conv(24, 24, (5,), jnp.tanh, **around),
        lux.Conv(24, 1, (5,), **around),
    )
    about = "regression, tanh, four convolutions on a ring: Burgers' equation from one time to a later one, 192 series of 64 points"
    return regression("Burgers", about, model, start[..., None], (end - start)[..., None], 64, 600)


def autoencoder() -> Problem:
    x, _ = images()
    model = lux.Chain(
        lux.Conv(1, 16, (3, 3), jax.nn.gelu, stride=2, padding="SAME"),
        lux.Conv(16, 4, (3, 3), stride=2, padding="SAME"),
        lux.ConvTranspose(4, 16, (3, 3), jax.nn.gelu, stride=2, padding="SAME"),
        lux.ConvTranspose(16, 1, (3, 3), stride=2, padding="SAME"),
    )
    about = "regression, gelu, two convolutions to 16 numbers and two transposed ones back: 512 handwritten digits"
    return regression("autoencoder", about, model, x[:512], x[:512], 128, 400)


def speakers(cell: Any) -> Problem:
    model = lux.Chain(lux.Recurrence(cell, return_sequence=False), lux.Dense(cell.hidden_features, 9))
    name = type(cell).__name__.removesuffix("Cell")
    return classification(f"vowels, {name}", f"classification, {name}: who says the vowels", model, *utterances(), 370)


def forecast() -> Problem:
    """A nonlinear moving average of random inputs, of order ten (Atiya and Parlos 2000)."""
    generator = np.random.default_rng(0)
    u, y = generator.uniform(0, 0.5, (192, 60)), np.zeros((192, 60))
    for t in range(9, 59):
        y[:, t + 1] = 0.3 * y[:, t] + 0.05 * y[:, t] * y[:, t - 9 : t + 1].sum(1) + 1.5 * u[:, t - 9] * u[:, t] + 0.1
    model = lux.Chain(lux.Recurrence(lux.GRUCell(1, 32)), lux.Dense(32, 1))
    about = "regression, GRU: the moving average NARMA-10 of random inputs, 192 series of 60 times"
    arrays = (jnp.asarray(array, jnp.float32)[..., None] for array in (u, y))
    return regression("NARMA-10", about, model, *arrays, 64, 600)


def tokens() -> Problem:
    """The rows of a digit as a sequence."""
    model = lux.Chain(
        lambda x: x[..., 0],
        lux.Dense(8, 32),
        lux.PositionalEncoding(32),
        lux.TransformerEncoderBlock(32, 4),
        lux.TransformerEncoderBlock(32, 4),
        lambda x: jnp.mean(x, axis=-2),
        lux.Dense(32, 10),
    )
    about = "classification, two encoder blocks: the eight rows of handwritten digits"
    return classification("rows of digits", about, model, *images(), 360)


def retrieval() -> Problem:
    """Sums of the values whose keys are near that of the position."""
    key, value = jax.random.split(jax.random.key(0))
    keys, values = jax.random.normal(key, (256, 12, 4)), jax.random.normal(value, (256, 12, 4))
    near = jax.nn.softmax(2 * jnp.einsum("sik,sjk->sij", keys, keys), axis=-1)
    model = lux.Chain(
        lux.Dense(8, 32),
        lux.SkipConnection(lux.MultiHeadAttention(32, 4), jnp.add),
        lux.Dense(32, 32, jax.nn.gelu),
        lux.Dense(32, 4),
    )
    about = "regression, one attention between dense layers: averages of values with similar keys, 256 sets of 12"
    return regression("retrieval", about, model, jnp.concatenate([keys, values], -1), near @ values, 64, 600)


PROBLEMS = {
    "Convolutions": (digits, flow, autoencoder),
    "Cells": (
        lambda: speakers(lux.RNNCell(12, 32)),
        lambda: speakers(lux.LSTMCell(12, 32)),
        lambda: speakers(lux.GRUCell(12, 32)),
        forecast,
    ),
    "Attention": (tokens, retrieval),
}
