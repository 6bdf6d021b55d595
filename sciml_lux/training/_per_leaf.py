"""Optimisers that need matrices, on a vector."""

from typing import Any

import optax

from ..flatten import FlatParams


def per_leaf(transform: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """A transformation that sees the parameters one by one, as arrays, instead of the one vector.

    Elementwise transformations (SGD, Adam, ...) run on the vector as they are, and faster. Those that look at a matrix or at the norm of
    each parameter (Muon, LAMB, LARS, Shampoo, Adafactor) do not:

        fitted = lux.fit(loss, ps, st, lux.training.per_leaf(optax.contrib.muon(1e-2)), steps=500)

    Each array is as stored: a parameter with a constraint is a vector of its unconstrained numbers.
    """
    inner = optax.with_extra_args_support(transform)

    def init(params: Any) -> Any:
        return inner.init(stored_arrays(params))  # type: ignore[arg-type]

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        arrays = None if params is None else stored_arrays(params)
        moved, state = inner.update(stored_arrays(updates), state, arrays, **extra)  # type: ignore[arg-type]
        return FlatParams(updates.layout.unconstrained().ravel(moved), updates.layout), state  # type: ignore[arg-type]

    return optax.GradientTransformationExtraArgs(init, update)


def stored_arrays(flat: FlatParams) -> Any:
    """The numbers of a vector as arrays by name, before any constraint map."""
    return flat.layout.unconstrained().unravel(flat.vector)
