"""The calls of a model's layers, seen without computing anything."""

from dataclasses import dataclass
from typing import Any

import jax

from ...core import AbstractLayer, State, observed, split_arrays
from ...flatten import FlatParams


@dataclass(frozen=True)
class Call:
    """One call of a layer: the shapes of the arrays that it was given and gave, and `run`, a function of such arrays."""

    layer: Any
    arrays: tuple[jax.ShapeDtypeStruct, ...]
    run: Any
    output: Any


def record_calls(model: AbstractLayer, x: Any, ps: FlatParams, st: State) -> dict[str, Call]:
    """The first call of each layer, by path, in a call of `model` with arrays of these shapes."""
    recorder = _Recorder()

    def call(x: Any, ps: Any, st: Any) -> Any:
        with observed(recorder):
            return model(x, ps, st)

    jax.eval_shape(call, x, ps, st)
    return recorder.calls


class _Recorder:
    """An observer (`core.observed`) that keeps shapes."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}

    def __call__(self, path: str, layer: Any, call: Any, *given: Any, **named: Any) -> Any:
        y, st = call(*given, **named)
        arrays, join = split_arrays((given, named))
        shapes = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays)
        # Traced arrays must not outlive the trace: what is kept are shapes in their places.
        given, named = join(shapes)

        def run(arrays: Any) -> Any:
            given_arrays, named_arrays = _fill((given, named), arrays)
            return layer(*given_arrays, **named_arrays)

        if path not in self.calls:
            self.calls[path] = Call(layer, shapes, run, jax.tree.map(lambda leaf: getattr(leaf, "shape", ()), y))
        return y, st


def _fill(tree: Any, arrays: Any) -> Any:
    """`tree` with arrays in the places of the shapes, in order."""
    ahead = iter(arrays)
    return jax.tree.map(lambda leaf: next(ahead) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, tree)
