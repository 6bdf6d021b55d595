"""Layers of `sciml_lux.layers.attention`."""

import jax
import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array

valid = jnp.asarray([[True, True, False], [True, False, True]])
mask = valid[:, None, None, :]


def alibi(length, key_length):
    """Scores that fall with the distance, in each of two heads at its own rate."""
    distance = jnp.abs(jnp.arange(length)[:, None] - jnp.arange(key_length)[None]).astype(float)
    return -jnp.asarray([0.5, 0.25])[:, None, None] * distance[None]


several = (array(2, 2, 4), array(2, 3, 6), 0.5 * array(2, 3, 6))

LAYERS = [
    Layer("MultiHeadAttention", lambda: lux.MultiHeadAttention(4, 2), array(2, 3, 4)),
    Layer(
        "MultiHeadAttention, masked",
        lambda: lux.MultiHeadAttention(4, 2, causal=True),
        (array(2, 3, 4), mask),
        slow=True,
    ),
    Layer(
        "MultiHeadAttention, grouped, across",
        lambda: lux.MultiHeadAttention(4, 4, key_value_heads=2, context_features=6, use_bias=False),
        several,
    ),
    Layer(
        "MultiHeadAttention with dropout and positions",
        lambda: lux.MultiHeadAttention(8, 2, dropout=0.4, position=lux.rotary_embedding),
        array(3, 8),
        slow=True,
    ),
    Layer(
        "MultiHeadAttention, biased, in a window",
        lambda: lux.MultiHeadAttention(4, 2, causal=True, window=(1, 0), attention_bias=alibi),
        array(2, 3, 4),
        names={"alibi": alibi},
        slow=True,
    ),
    Layer("TransformerEncoderBlock", lambda: lux.TransformerEncoderBlock(4, 2, 6), array(2, 3, 4)),
    Layer(
        "TransformerEncoderBlock, norm after, dropout",
        lambda: lux.TransformerEncoderBlock(
            4, 2, activation=jax.nn.tanh, norm_first=False, dropout=0.3, use_bias=False
        ),
        (array(2, 3, 4), mask),
        slow=True,
    ),
    Layer("PatchEmbedding", lambda: lux.PatchEmbedding(2, 3, (2, 1)), array(2, 4, 3, 2)),
    Layer(
        "PatchEmbedding without bias", lambda: lux.PatchEmbedding(1, 3, 2, use_bias=False), array(4, 2, 1), slow=True
    ),
]
