"""Step-size control with a tolerance for each component of the state."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, PyTree

from .._types import StateTree, TermTree, Time
from ._checks import is_fixed
from ._components import per_component
from ._settings import SolveSettings
from ._stiff import PI_COEFFICIENTS
from ._underflow import StoppingPIDController


def default_controller(
    settings: SolveSettings, solver: diffrax.AbstractSolver[Any], y0: StateTree
) -> diffrax.AbstractStepSizeController[Any, Any]:
    """The controller where none was given, for the state that is solved for."""
    if is_fixed(solver):
        return diffrax.ConstantStepSize()
    span: Any = abs(settings.t1 - settings.t0)
    coefficients: dict[str, Any] = PI_COEFFICIENTS if isinstance(solver, diffrax.AbstractImplicitSolver) else {}
    if any(export.is_symbolic_dim(size) for leaf in jax.tree.leaves(y0) for size in leaf.shape):
        coefficients = coefficients | {"norm": _norm_of_symbolic_size}
    if not isinstance(settings.atol, tuple):
        return StoppingPIDController(rtol=settings.rtol, atol=settings.atol, span=span, **coefficients)
    entries = per_component(f"{settings.adapter}: atol", settings.atol, y0)
    full = jax.tree.map(lambda values, leaf: np.broadcast_to(values, leaf.shape).ravel(), entries, y0)
    tolerances = np.concatenate([np.zeros(0), *jax.tree.leaves(full)])
    smallest = float(tolerances.min(initial=1.0))
    weights = tuple((smallest / tolerances).tolist())
    return _WeightedPIDController(rtol=settings.rtol, atol=smallest, span=span, weights=weights, **coefficients)


def _norm_of_symbolic_size(y: PyTree[Array]) -> Any:
    """The root mean square where the number of samples is a symbol of `jax.export`'s, which the norm of diffrax does not take."""
    numbers, _ = jax.flatten_util.ravel_pytree(y)
    return jnp.sqrt(jnp.sum(jnp.abs(numbers) ** 2) / jnp.asarray(numbers.size, numbers.real.dtype))


class _WeightedPIDController(StoppingPIDController):
    """Control of `w y` in place of `y`: `w_i e_i / (atol + rtol w_i |y_i|)` is `e_i / (atol_i + rtol |y_i|)` for `w_i = atol / atol_i`.

    diffrax takes a tolerance for each component of a single array only. Implicit solvers take `atol`, the smallest, for their
    own iteration.
    """

    weights: tuple[float, ...] = ()

    def init(
        self,
        terms: TermTree,
        t0: Time,
        t1: Time,
        y0: StateTree,
        dt0: Time | None,
        args: PyTree,
        func: Callable[..., Any],
        error_order: Time | None,
    ) -> tuple[Any, Any]:
        def weighted(terms: TermTree, t: Time, y: StateTree, args: PyTree) -> Any:
            return self._weighted(func(terms, t, self._weighted(y, -1), args))

        return super().init(terms, t0, t1, self._weighted(y0), dt0, args, weighted, error_order)

    def adapt_step_size(
        self,
        t0: Time,
        t1: Time,
        y0: StateTree,
        y1_candidate: StateTree,
        args: PyTree,
        y_error: StateTree | None,
        error_order: Time,
        controller_state: Any,
    ) -> Any:
        y0, y1_candidate, y_error = (self._weighted(tree) for tree in (y0, y1_candidate, y_error))
        return super().adapt_step_size(t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state)

    def _weighted(self, y: StateTree, power: int = 1) -> Any:
        # Whether the solver holds the state as it came or as one vector: the order of the numbers is the same.
        leaves, structure = jax.tree.flatten(y)
        pieces = np.split(np.asarray(self.weights) ** power, np.cumsum([leaf.size for leaf in leaves])[:-1])
        return jax.tree.unflatten(structure, [_times(w, leaf) for w, leaf in zip(pieces, leaves, strict=True)])


def _times(weights: np.ndarray, leaf: Array) -> Array:
    return leaf * jnp.asarray(weights.reshape(leaf.shape), jnp.finfo(leaf.dtype).dtype)
