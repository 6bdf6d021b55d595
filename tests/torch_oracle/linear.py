"""Layers on the last axis."""

import jax.numpy as jnp

import sciml_lux as lux

from .case import Case, numbers

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
]
