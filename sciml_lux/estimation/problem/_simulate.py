"""What a model predicts for each experiment, and how widely measurements scatter around it."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import PyTree

from ..._errors import LayerError, ParameterError, ShapeError
from ...core import AbstractLayer, State, with_fields
from ...flatten import Params
from ...solvers import AbstractODE, JumpODE
from .._types import Numbers
from ..noise import AbstractNoise
from ._arrays import Arrays
from ._observe import Observation


class Predicted(NamedTuple):
    """One observable: what is predicted, and the spread around it, or `None` where experiments bring their own."""

    location: Any
    spread: Any


@dataclasses.dataclass(frozen=True)
class Simulation:
    """The model under each experiment.

    `references`: by the path of each parameter that some experiment overrides, for each experiment: the path of the parameter that stands
    for it, `""` for a number, or `None` where nothing does. `noise`: pairs of observables and densities, names in them resolved to paths.
    """

    model: AbstractLayer
    observation: Observation
    initial: Any
    references: tuple[tuple[str, tuple[str | None, ...]], ...]
    noise: tuple[tuple[str, AbstractNoise], ...]

    def __call__(self, params: Params, st: State, arrays: Arrays) -> tuple[dict[str, Predicted], State]:
        """By observable, arrays `(experiments, times)`; and the state that the first experiment leaves."""
        overridden = {path: self._values(path, whose, params, arrays) for path, whose in self.references}

        def one(
            ts: Numbers, drives: dict[str, PyTree], y0: PyTree, values: dict[str, Numbers]
        ) -> tuple[dict[str, Predicted], State]:
            own = params
            for path, value in values.items():
                own = own.set(path, value)
            ys, new = self._states(ts, drives, y0, own, st)
            return self._observables(ts, ys, own), new

        drives = {"t0": arrays.t0, "doses": arrays.doses, "inputs": arrays.inputs}
        drives = {name: one for name, one in drives.items() if one is not None}
        varying = (arrays.ts, drives, arrays.y0, overridden)
        if arrays.ts.shape[0] == 1:  # one solve compiles in less time than a batch of one
            found = one(*jax.tree.map(lambda leaf: leaf[0], varying))
            return jax.tree.map(lambda leaf: leaf[None], found[0]), found[1]
        predicted, new = jax.vmap(one)(*varying)
        return predicted, jax.tree.map(lambda leaf: leaf[0], new)

    def _values(self, path: str, whose: tuple[str | None, ...], params: Params, arrays: Arrays) -> Any:
        """What the parameter at `path` is in each experiment."""
        own, numbers = jnp.asarray(params[path]), arrays.overrides[path]
        values = [
            own
            if other is None
            else jnp.broadcast_to(numbers[i], own.shape)
            if other == ""
            else jnp.asarray(params[other])
            for i, other in enumerate(whose)
        ]
        return jnp.stack([value.astype(own.dtype) for value in values])

    def _states(
        self, ts: Numbers, drives: dict[str, PyTree], y0: PyTree, params: Params, st: State
    ) -> tuple[Any, State]:
        """The states at all times."""
        if not isinstance(self.model, AbstractODE):
            if drives:
                raise ParameterError(
                    f"{', '.join(drives)} of experiments go with a differential equation, not with {type(self.model).__name__}"
                )
            return self.model(ts, params, st)
        if "doses" in drives and not isinstance(self.model, JumpODE):
            raise ParameterError(f"doses are given to a JumpODE, and the model is a {type(self.model).__name__}")
        start = self._start(y0, params, ts.dtype)
        node = with_fields(self.model, batching="joint")
        solution, new = node.solve(start, params, st, ts=ts, **drives)
        # A batch of experiments counts its failures in a state that one experiment has not.
        return solution.ys, State({**st, **{name: new[name] for name in st if name != "solution"}})

    def _start(self, y0: PyTree, params: Params, dtype: DTypeLike) -> Any:
        if self.initial is None:
            if y0 is None and getattr(self.model, "initial", None) is None:
                raise ParameterError(
                    "a differential equation starts somewhere: give each experiment its y0, or the problem initial=lambda ps: ..."
                )
            return y0
        start = params[self.initial] if isinstance(self.initial, str) else self.initial(params)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), start)

    def _observables(self, ts: Numbers, ys: PyTree, params: Params) -> dict[str, Predicted]:
        if any(jnp.shape(leaf)[:1] != ts.shape for leaf in jax.tree.leaves(ys)):
            shapes = jax.tree.map(jnp.shape, ys)
            raise ShapeError(
                f"a model that is no differential equation is called on the times, shape {ts.shape}, and returns "
                f"one row for each, got {shapes}"
            )
        locations = self.observation(ts, ys, params)
        return {
            name: Predicted(locations[name], _spread(name, noise, locations[name], params))
            for name, noise in self.noise
        }


def _spread(name: str, noise: AbstractNoise, location: Numbers, params: Params) -> Any:
    spread = noise.spread
    if spread is None or not noise.has_spread:
        return None
    if isinstance(spread, str):
        spread = params[spread]
    elif callable(spread):
        spread = spread(location, params)
    spread = jnp.asarray(spread, location.dtype)
    if spread.shape not in ((), location.shape):
        raise LayerError(
            f"the spread of {name} is one number, or one for each time, {location.shape}, got shape {spread.shape}"
        )
    return jnp.broadcast_to(spread, location.shape)
