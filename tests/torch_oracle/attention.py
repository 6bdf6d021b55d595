"""Attention: the function, several heads, the encoder's block, patches."""

from typing import Any

import jax
import numpy as np

import sciml_lux as lux

from .case import Case, channels_first, numbers

LENGTH, KEYS, HEADS = 3, 4, 4
MASK = np.random.default_rng(0).random((2, LENGTH, KEYS)) < 0.6
MASK[..., 0] = True  # PyTorch gives NaN to a query that may look at nothing
SCORES = numbers(2, LENGTH, KEYS, seed=3)
VALID = np.array([[True, True, True], [True, False, True]])


class Attention(lux.AbstractLayer):
    """The function as a layer of `(query, key, value)` or with a mask at the end."""

    causal: bool = False
    scale: float | None = None

    def __call__(self, x, ps, st):
        query, key, value, *mask = x
        # PyTorch takes both by one name.
        given = {"mask" if mask[0].dtype == bool else "bias": mask[0][:, None]} if mask else {}
        y = lux.scaled_dot_product_attention(query, key, value, causal=self.causal, scale=self.scale, **given)
        return y, st


def function(**options: Any) -> Any:
    """PyTorch's, of the same axes as ours."""

    def make(torch: Any) -> Any:
        def attend(query: Any, key: Any, value: Any, mask: Any = None) -> Any:
            mask = None if mask is None else mask[:, None]
            heads_first = (x.transpose(-2, -3) for x in (query, key, value))
            y = torch.nn.functional.scaled_dot_product_attention(*heads_first, attn_mask=mask, **options)
            return y.transpose(-2, -3)

        return attend

    return make


def module(features: int, heads: int, causal: bool = False, **options: Any) -> Any:
    """`nn.MultiheadAttention` of `x`, `(x, mask)` with a padding mask, or `(query, key, value)`."""

    def make(torch: Any) -> Any:
        class Attend(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = torch.nn.MultiheadAttention(features, heads, batch_first=True, **options)

            def forward(self, x: Any, *others: Any) -> Any:
                padding = ~others[0][:, 0, 0] if len(others) == 1 else None
                key, value = others if len(others) == 2 else (x, x)
                future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if causal else None
                y, _ = self.inner(x, key, value, key_padding_mask=padding, attn_mask=future, need_weights=False)
                return y

        return Attend()

    return make


def block(**options: Any) -> Any:
    """`nn.TransformerEncoderLayer` of `x` or `(x, mask)`."""

    def make(torch: Any) -> Any:
        class Block(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = torch.nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, **options)

            def forward(self, x: Any, mask: Any = None) -> Any:
                return self.inner(x, src_key_padding_mask=None if mask is None else ~mask[:, 0, 0])

        return Block()

    return make


def heads(number: int, length: int, features: int = 2, seed: int = 0) -> np.ndarray:
    return numbers(2, length, number, features, seed=seed)


x = numbers(2, LENGTH, 4)
padded = (x, VALID[:, None, None, :])
three = (heads(HEADS, LENGTH), heads(HEADS, KEYS, seed=1), heads(HEADS, KEYS, 3, seed=2))
grouped = (heads(HEADS, LENGTH), heads(2, KEYS, seed=1), heads(2, KEYS, seed=2))
across = (x, numbers(2, KEYS, 6, seed=1), numbers(2, KEYS, 6, seed=2))

CASES = [
    Case("function", Attention, function(), three, modes=("train",)),
    Case("function, scaled", lambda: Attention(scale=0.3), function(scale=0.3), three, modes=("train",)),
    Case("function, masked", Attention, function(), (*three, MASK), modes=("train",)),
    Case("function, biased", Attention, function(), (*three, np.where(MASK, SCORES, -np.inf)), modes=("train",)),
    Case("function, causal", lambda: Attention(causal=True), function(is_causal=True), three, modes=("train",)),
    Case("function, grouped", Attention, function(enable_gqa=True), grouped, modes=("train",)),
    Case("function, grouped, masked", Attention, function(enable_gqa=True), (*grouped, MASK), modes=("train",)),
    Case("several heads", lambda: lux.MultiHeadAttention(4, 2), module(4, 2), x),
    Case("one head without bias", lambda: lux.MultiHeadAttention(4, 1, use_bias=False), module(4, 1, bias=False), x),
    Case("padded", lambda: lux.MultiHeadAttention(4, 2), module(4, 2), padded, modes=("train",)),
    Case("causal", lambda: lux.MultiHeadAttention(4, 2, causal=True), module(4, 2, causal=True), x, modes=("train",)),
    Case(
        "dropout in test mode",
        lambda: lux.MultiHeadAttention(4, 2, dropout=0.5),
        module(4, 2, dropout=0.5),
        x,
        modes=("test",),
    ),
    Case(
        "across",
        lambda: lux.MultiHeadAttention(4, 2, context_features=6),
        module(4, 2, kdim=6, vdim=6),
        across,
        modes=("train",),
    ),
    *(
        Case(
            f"block, {name}{', norm first' * first}{', padded' * masked}",
            lambda activation=activation, first=first: lux.TransformerEncoderBlock(
                4, 2, 6, activation=activation, norm_first=first, epsilon=1e-4
            ),
            block(activation=name, norm_first=first, layer_norm_eps=1e-4, dropout=0.0),
            padded if masked else x,
            modes=("train",),
        )
        for name, activation in (("gelu", lux.layers.activations.gelu_exact), ("relu", jax.nn.relu))
        for first in (True, False)
        for masked in (True, False)
    ),
    Case(
        "block without bias, dropout in test mode",
        lambda: lux.TransformerEncoderBlock(4, 2, 6, dropout=0.3, use_bias=False),
        block(activation="gelu", norm_first=True, bias=False, dropout=0.3),
        x,
        modes=("test",),
    ),
    Case(
        "patches",
        lambda: lux.PatchEmbedding(3, 5, (2, 1)),
        lambda torch: torch.nn.Conv2d(3, 5, (2, 1), (2, 1)),
        numbers(2, 4, 3, 3),
        to_torch=channels_first,
        to_ours=lambda y: y.flatten(2).transpose(1, 2),
        modes=("train",),
    ),
]
