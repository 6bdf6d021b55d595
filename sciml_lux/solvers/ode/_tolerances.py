"""Step-size control with a tolerance for each component of the state."""

import math
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...flatten import ShapeError
from ._settings import is_fixed


def default_controller(node: Any, solver: diffrax.AbstractSolver, y0: Any) -> diffrax.AbstractStepSizeController:
    """The controller of an adapter that was given none, for the state that is solved for."""
    if is_fixed(solver):
        return diffrax.ConstantStepSize()
    if not isinstance(node.atol, tuple):
        return diffrax.PIDController(rtol=node.rtol, atol=node.atol)
    tolerances = _per_number(type(node).__name__, node.atol, y0)
    smallest = float(tolerances.min(initial=math.inf)) if tolerances.size else 1.0
    return _WeightedPIDController(rtol=node.rtol, atol=smallest, weights=tuple((smallest / tolerances).tolist()))


def _per_number(name: str, atol: tuple[Any, ...], y: Any) -> np.ndarray:
    """The tolerance of each number of a state, in the order in which `y` lies in a vector."""
    leaves = jax.tree.leaves(y)
    alone = jax.tree.structure(y) == jax.tree.structure(0)
    entries = (atol,) if alone else atol
    if len(entries) != len(leaves):
        raise ShapeError(
            f"{name}: atol={atol} has {len(entries)} entries, and the state is a tree of {len(leaves)} arrays; give each its own"
        )
    parts = []
    for entry, leaf in zip(entries, leaves, strict=True):
        values = np.asarray(entry, np.float64)
        if values.ndim > 1 or (values.ndim == 1 and values.shape != jnp.shape(leaf)[-1:]):
            raise ShapeError(
                f"{name}: atol={entry} does not fit a state of shape {jnp.shape(leaf)}; give one number, or one for each "
                "component along its last axis"
            )
        parts.append(np.broadcast_to(values, jnp.shape(leaf)).ravel())
    return np.concatenate([np.zeros(0), *parts])


class _WeightedPIDController(diffrax.PIDController):
    """Control of `w y` in place of `y`: `w_i e_i / (atol + rtol w_i |y_i|)` is `e_i / (atol_i + rtol |y_i|)` for `w_i = atol / atol_i`.

    diffrax takes a tolerance for each component of a single array only. Implicit solvers take `atol`, the smallest, for their
    own iteration.
    """

    weights: tuple[float, ...] = ()

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, error_order: Any
    ) -> tuple[Any, Any]:
        def weighted(terms: Any, t: Any, y: Any, args: Any) -> Any:
            return self._weighted(func(terms, t, self._weighted(y, -1), args))

        return super().init(terms, t0, t1, self._weighted(y0), dt0, args, weighted, error_order)

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Any,
    ) -> Any:
        y0, y1_candidate, y_error = (self._weighted(tree) for tree in (y0, y1_candidate, y_error))
        return super().adapt_step_size(t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state)

    def _weighted(self, y: Any, power: int = 1) -> Any:
        # Whether the solver holds the state as it came or as one vector: the order of the numbers is the same.
        leaves, structure = jax.tree.flatten(y)
        pieces = np.split(np.asarray(self.weights) ** power, np.cumsum([leaf.size for leaf in leaves])[:-1])
        return jax.tree.unflatten(structure, [_times(w, leaf) for w, leaf in zip(pieces, leaves, strict=True)])


def _times(weights: np.ndarray, leaf: Array) -> Array:
    return leaf * jnp.asarray(weights.reshape(leaf.shape), jnp.finfo(leaf.dtype).dtype)
