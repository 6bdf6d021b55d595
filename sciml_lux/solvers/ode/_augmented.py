"""`AugmentedODE`: a state with extra dimensions to move through."""

import dataclasses
import numbers
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State, kind_of, make_array
from ...flatten import Params
from .._types import Time
from ..differential import AbstractODE


class AugmentedODE(AbstractODE):
    """The solution of `d[y, a]/dt = model([y, a])`, `y(t0) = y0`, `a(t0) = 0`, of which `y` is returned.

    Trajectories of a differential equation cannot cross, so that the map from `y(t0)` to `y(t1)` keeps the order of the
    real line, and the inside of a circle inside: a `NeuralODE` cannot learn `y -> -y`. In a space with extra dimensions they pass each
    other.

    **Arguments:** `model`: from the last axis of `n + dimensions` numbers to as many; `dimensions`: how many are added; then, by name:

    - `initial`: a layer from `y0` to the extra numbers at `t0`, `(..., n)` to `(..., dimensions)`; without it they are 0.
    - `keep`: whether the result keeps the extra numbers, as features for a layer that follows.
    - all settings of an `AbstractODE`; a tuple `atol` has an entry for the extra numbers, too.

    **Call:** `y0` of shape `(..., n)` gives `y(t1)` of the same shape, or `(..., n + dimensions)` with `keep`.

    **Parameters** and **states:** `model`, and `initial` if given; `solution` as for every `AbstractODE`. The state is constant during a
    solve and advanced once per call.

    **Errors:** those of an `AbstractODE`; `LayerError` for `dimensions` that are no whole number of 1 or more; `ShapeError` for a
    `y0` that is no array of at least one axis, and for another number of extra ones from `initial`.

    **Source:** Dupont, Doucet and Teh 2019, Augmented Neural ODEs; Massaroli et al. 2020, Dissecting Neural ODEs, for `initial`.
    """

    dimensions: int
    _: dataclasses.KW_ONLY
    initial: AbstractLayer | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = isinstance(self.dimensions, numbers.Integral) and not isinstance(self.dimensions, bool)
        if not whole or self.dimensions < 1:
            raise LayerError(f"AugmentedODE: dimensions is a whole number, 1 or more, got {self.dimensions!r}")

    def derivative(
        self, t: Time, y: Inexact[Array, "..."], params: Params, state: State, inputs: Any
    ) -> tuple[Any, State]:
        dy, model = self.model(self.model_input(t, y, inputs), params["model"], state["model"])
        return dy, State({**self._states(state), "model": model})

    def lift(self, y0: Any, params: Params, state: State) -> Float[Array, "... augmented"]:
        return jnp.concatenate([y0, self._extra(y0, params, state)[0]], axis=-1)

    def observe(self, y: Inexact[Array, "..."], params: Params, state: State) -> Float[Array, "... n"]:
        return y if self.keep else y[..., : -self.dimensions]

    def advance(
        self,
        t0: Time,
        given: Inexact[Array, "..."],
        y0: Inexact[Array, "..."],
        params: Params,
        state: State,
        inputs: Any,
    ) -> State:
        _, initial = self._extra(given, params, state)
        return State({**super().advance(t0, given, y0, params, state, inputs), **initial})

    def _states(self, state: State) -> dict[str, Any]:
        return {name: state[name] for name in self.children()}

    def _extra(self, y0: Any, params: Params, state: State) -> tuple[Any, dict[str, State]]:
        """The extra numbers at the start, and the state of `initial`, if there is one."""
        if not hasattr(y0, "shape") or y0.ndim == 0:
            hint = "write y0[None] for a single number" if hasattr(y0, "shape") else make_array(y0, "y0")
            raise ShapeError(f"AugmentedODE extends the last axis of an array, got {kind_of(y0)}; {hint}")
        shape = (*y0.shape[:-1], self.dimensions)
        if self.initial is None:
            return jnp.zeros(shape, y0.dtype), {}
        extra, initial = self.initial(y0, params["initial"], state["initial"])
        if jnp.shape(extra) != shape or extra.dtype != y0.dtype:
            raise ShapeError(
                f"AugmentedODE: initial returned {extra.dtype}{list(jnp.shape(extra))}, expected the {self.dimensions} extra "
                f"numbers that go with y0, {y0.dtype}{list(shape)}"
            )
        return extra, {"initial": initial}
