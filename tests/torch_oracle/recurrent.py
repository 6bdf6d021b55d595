"""Cells, and recurrences over sequences, padded ones included."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

from .case import Case, numbers

CELLS = {"RNN": lux.RNNCell, "LSTM": lux.LSTMCell, "GRU": lux.GRUCell}
LENGTHS = np.array([4, 1, 3])
MASK = np.arange(4)[None, :] < LENGTHS[:, None]


class OneStep(lux.AbstractContainer):
    """A cell whose input and carry come as a tuple of arrays, and whose next carry is concatenated."""

    cell: lux.AbstractRecurrentCell

    def __call__(self, x, ps, st):
        x, *carry = x
        (_, carry), cell = self.cell((x, tuple(carry) if len(carry) > 1 else carry[0]), ps.cell, st.cell)
        return jnp.concatenate(jax.tree.leaves(carry), -1), {"cell": cell}


def one_step(kind: str, **options: Any) -> Any:
    """PyTorch's cell, likewise."""

    def make(torch: Any) -> Any:
        class Step(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.cell = getattr(torch.nn, f"{kind}Cell")(3, 2, **options)

            def forward(self, x: Any, *carry: Any) -> Any:
                after = self.cell(x, carry if len(carry) > 1 else carry[0])
                return torch.cat(after, -1) if isinstance(after, tuple) else after

        return Step()

    return make


def sequence(kind: str, last: bool = False, padded: bool = False, **options: Any) -> Any:
    """PyTorch's module over sequences: the outputs of all steps, or the last hidden states; packed if padded."""

    def make(torch: Any) -> Any:
        class Sequence(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = getattr(torch.nn, kind)(3, 2, batch_first=True, **options)

            def forward(self, x: Any, mask: Any = None) -> Any:
                if padded:
                    lengths = mask.sum(-1)
                    x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
                ys, after = self.inner(x)
                if padded:
                    ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, batch_first=True, total_length=mask.shape[1])
                hidden = after[0] if isinstance(after, tuple) else after
                return torch.cat(tuple(hidden), -1) if last else ys

        return Sequence()

    return make


def cell_cases(kind: str) -> list[Case]:
    """One step."""
    carry = (numbers(4, 2, seed=1), numbers(4, 2, seed=2))[: 2 if kind == "LSTM" else 1]
    x = (numbers(4, 3), *carry)
    return [
        Case(f"{kind}Cell", lambda: OneStep(CELLS[kind](3, 2)), one_step(kind), x, modes=("train",)),
        Case(
            f"{kind}Cell without bias",
            lambda: OneStep(CELLS[kind](3, 2, use_bias=False)),
            one_step(kind, bias=False),
            x,
            modes=("train",),
        ),
    ]


def sequence_cases(kind: str) -> list[Case]:
    """Whole sequences and last outputs, one and both directions, padded or not."""
    cases = []
    for last in (False, True):
        for padded in (False, True):
            options = {"return_sequence": not last}
            what = f"{', padded' * padded}{', last' * last}"
            x = (numbers(3, 4, 3), MASK) if padded else numbers(3, 4, 3)
            cases += [
                Case(
                    f"{kind}{what}",
                    lambda options=options: lux.Recurrence(CELLS[kind](3, 2), **options),
                    sequence(kind, last, padded),
                    x,
                    modes=("train",),
                ),
                Case(
                    f"{kind} both ways{what}",
                    lambda options=options: lux.Bidirectional(CELLS[kind](3, 2), **options),
                    sequence(kind, last, padded, bidirectional=True),
                    x,
                    modes=("train",),
                ),
            ]
    return cases


CASES = [
    *(case for kind in CELLS for case in [*cell_cases(kind), *sequence_cases(kind)]),
    Case(
        "RNN of relu without bias, one sequence",
        lambda: lux.Recurrence(lux.RNNCell(3, 2, use_bias=False, activation=jax.nn.relu)),
        sequence("RNN", nonlinearity="relu", bias=False),
        numbers(1, 5, 3),
        modes=("train",),
    ),
]
