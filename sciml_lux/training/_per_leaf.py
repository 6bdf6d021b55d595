"""Optimisers that need matrices, on a vector."""

from typing import Any

import optax

from ..flatten import FlatParams, Layout


def per_leaf(transform: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """A transformation that sees the parameters one by one, as arrays, instead of the one vector.

    Elementwise transformations (SGD, Adam, ...) run on the vector as they are, and faster. Those that look at a matrix, at the norm of
    each parameter, or at names do not (Muon, LAMB, LARS, Shampoo, Adafactor, masks). `fit` finds out by itself which of them an
    optimiser is; a loop of your own says so:

        optimizer = lux.training.per_leaf(optax.contrib.muon(1e-2))
        state = optimizer.init(ps)
        updates, state = optimizer.update(gradient, state, ps)

    Each array is as stored: a parameter with a constraint is a vector of its unconstrained numbers.
    """
    inner = optax.with_extra_args_support(transform)

    def init(params: Any) -> Any:
        return inner.init(stored_arrays(params))  # type: ignore[arg-type]

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        arrays = None if params is None else stored_arrays(params)
        seen = {name: _of_arrays(value, updates.layout) for name, value in extra.items()}
        moved, state = inner.update(stored_arrays(updates), state, arrays, **seen)  # type: ignore[arg-type]
        return _flat(moved, updates.layout), state  # type: ignore[arg-type]

    return optax.GradientTransformationExtraArgs(init, update)


def _flat(arrays: Any, layout: Layout) -> FlatParams:
    return FlatParams(layout.unconstrained().ravel(arrays), layout)


def _of_arrays(extra: Any, layout: Layout) -> Any:
    """An extra argument of an update as a transformation of arrays expects it: the gradient, or a function of the parameters."""
    if isinstance(extra, FlatParams):
        return stored_arrays(extra)
    if not callable(extra):
        return extra

    def of_arrays(arrays: Any, *args: Any) -> Any:
        return _of_arrays(extra(_flat(arrays, layout), *args), layout)

    return of_arrays


def stored_arrays(flat: FlatParams) -> Any:
    """The numbers of a vector as arrays by name, before any constraint map."""
    return flat.layout.unconstrained().unravel(flat.vector)
