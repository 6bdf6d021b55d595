"""Layers on the last axis."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

from .case import Case, numbers


def bilinear(leading: tuple[int, ...], use_bias: bool) -> Case:
    """`Bilinear(3, 2, 5)` on inputs with some leading axes."""
    return Case(
        f"Bilinear {leading}{'' if use_bias else ' without bias'}",
        lambda: lux.Bilinear(3, 2, 5, use_bias=use_bias),
        lambda torch: torch.nn.Bilinear(3, 2, 5, bias=use_bias),
        (numbers(*leading, 3), numbers(*leading, 2)),
    )


def mlp(name: str, modes: tuple[str, ...] = ("train", "test"), **options: Any) -> Case:
    """Two hidden layers, with a norm or dropout."""

    def module(torch: Any) -> Any:
        def hidden(features: int, size: int) -> list[Any]:
            norm = [torch.nn.LayerNorm(size)] if "norm" in options else []
            dropout = [torch.nn.Dropout(0.3)] if "dropout" in options else []
            return [torch.nn.Linear(features, size), *norm, torch.nn.SiLU(), *dropout]

        return torch.nn.Sequential(*hidden(3, 4), *hidden(4, 5), torch.nn.Linear(5, 2))

    return Case(name, lambda: lux.MLP(3, (4, 5), 2, jax.nn.silu, **options), module, numbers(4, 3), modes=modes)


CASES = [
    Case("Dense", lambda: lux.Dense(3, 5), lambda torch: torch.nn.Linear(3, 5), numbers(4, 3)),
    Case(
        "Dense without bias",
        lambda: lux.Dense(3, 5, use_bias=False),
        lambda torch: torch.nn.Linear(3, 5, bias=False),
        numbers(1, 3),
    ),
    Case(
        "two of them",
        lambda: lux.Chain(lux.Dense(3, 4, jnp.tanh), lux.Dense(4, 2)),
        lambda torch: torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)),
        numbers(2, 5, 3),
    ),
    *(bilinear(leading, use_bias) for leading, use_bias in itertools.product([(1,), (4,), (2, 3)], [True, False])),
    Case(
        "Embedding",
        lambda: lux.Embedding(5, 3),
        lambda torch: torch.nn.Embedding(5, 3),
        np.array([[0, 4, 4], [2, 0, 4]]),
    ),
    Case(
        "Embedding of a scalar",
        lambda: lux.Embedding(2, 1),
        lambda torch: torch.nn.Embedding(2, 1),
        np.array(1),
    ),
    Case("PReLU", lambda: lux.PReLU(), lambda torch: torch.nn.PReLU(), numbers(4, 3), modes=("test",)),
    Case("PReLU of each", lambda: lux.PReLU(3), lambda torch: torch.nn.PReLU(3), numbers(4, 3), modes=("test",)),
    mlp("MLP"),
    mlp("MLP with norms", norm=lux.LayerNorm),
    mlp("MLP with dropout", modes=("test",), dropout=0.3),
]
