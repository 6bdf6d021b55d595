"""`Chain` with runs of its layers on columns."""

from typing import Any

from ...core import State, register_fast_call
from ...flatten import Parameters
from .._columns import length_of_run, run_on_columns
from ._chain import Chain


def chain_on_columns(chain: Chain, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
    """`Chain.__call__`."""
    states, remaining = {}, chain.layers
    while remaining:
        run = remaining[: length_of_run([layer for _, layer in remaining], x)] or remaining[:1]
        if len(run) > 1:
            x = run_on_columns([layer for _, layer in run], x, [ps[name] for name, _ in run])
        else:
            for name, layer in run:
                x, states[name] = layer(x, ps[name], st[name])
        remaining = remaining[len(run) :]
    return x, State({**st, **states})


register_fast_call(Chain.__call__, chain_on_columns)
