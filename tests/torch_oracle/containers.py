"""Containers, and layers that change shapes."""

import jax.numpy as jnp

import sciml_lux as lux

from .case import Case, numbers


def residual(torch):
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(3, 3)

        def forward(self, x):
            return torch.tanh(self.inner(x)) + x

    return Residual()


def iterated(torch):
    class Iterated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(3, 3)

        def forward(self, x):
            for _ in range(4):
                x = torch.tanh(self.inner(x))
            return x

    return Iterated()


def two_inputs(torch):
    class TwoInputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = torch.nn.Linear(3, 4), torch.nn.Linear(2, 4)

        def forward(self, x, y):
            return self.left(x) * self.right(y)

    return TwoInputs()


CASES = [
    *(
        Case(
            f"Flatten and Dense, {batch}",
            lambda: lux.Chain(lux.Flatten(3), lux.Dense(12, 2)),
            lambda torch: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)),
            numbers(batch, 2, 2, 3),
        )
        for batch in (1, 4)
    ),
    Case("Flatten of two", lambda: lux.Flatten(2), lambda torch: torch.nn.Flatten(2), numbers(2, 5, 3, 2)),
    Case("Reshape", lambda: lux.Reshape((2, 3)), lambda torch: torch.nn.Unflatten(-1, (2, 3)), numbers(2, 6)),
    Case(
        "Reshape of two with one size left",
        lambda: lux.Reshape((-1, 2), axes=2),
        lambda torch: lambda x: x.reshape(2, -1, 2),
        numbers(2, 3, 4),
    ),
    Case("SelectDim", lambda: lux.SelectDim(-2, -1), lambda torch: lambda x: x.select(-2, -1), numbers(2, 5, 3)),
    Case("ReverseSequence", lux.ReverseSequence, lambda torch: lambda x: x.flip(-2), numbers(2, 5, 3)),
    Case("SkipConnection", lambda: lux.SkipConnection(lux.Dense(3, 3, jnp.tanh)), residual, numbers(4, 3)),
    Case("Repeated, tied", lambda: lux.Repeated(lux.Dense(3, 3, jnp.tanh), 4, tied=True), iterated, numbers(4, 3)),
    Case(
        "Parallel",
        lambda: lux.Parallel(lux.Dense(3, 4), lux.Dense(2, 4), combine=jnp.multiply),
        two_inputs,
        (numbers(4, 3), numbers(4, 2)),
    ),
]
