"""How what was measured follows from the state of a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._errors import LayerError, ParameterError
from ...flatten import Params

Observe = Callable[..., Mapping[str, Any]] | Mapping[str, int | Callable[..., Any]]
"""`observe(t, y, ps) -> {name: number}` of one time; or, by name, the index of a component of the state, or such a function."""


@dataclass(frozen=True)
class Observation:
    """`observe`, checked when it is called: one number at each time for each of `names`."""

    observe: Any
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.observe, Mapping):
            missing = [name for name in self.names if name not in self.observe]
            if missing:
                raise ParameterError(
                    f"observe says nothing of {', '.join(missing)}, which experiments observe; it names {', '.join(self.observe)}"
                )
            for name, one in self.observe.items():
                if isinstance(one, bool) or not (isinstance(one, int) or callable(one)):
                    raise ParameterError(
                        f"observe: {name} is the index of a component, or a function (t, y, ps) -> number, got {one!r}"
                    )
        elif not callable(self.observe):
            raise ParameterError(
                f"observe is a function (t, y, ps) -> {{name: number}}, or a mapping of names to indices or functions, got "
                f"{self.observe!r}; write observe={{{self.names[0]!r}: 0}}"
            )

    def __call__(self, ts: Float[Array, " times"], ys: PyTree, params: Params) -> dict[str, Float[Array, " times"]]:
        """All observables at all times; `ys` has a leading axis for them."""
        return jax.vmap(lambda t, y: self._at(t, y, params))(ts, ys)

    def _at(self, t: Float[Array, ""], y: PyTree, params: Params) -> dict[str, Any]:
        if isinstance(self.observe, Mapping):
            found = {name: y[one] if isinstance(one, int) else one(t, y, params) for name, one in self.observe.items()}
        else:
            found = self.observe(t, y, params)
            if not isinstance(found, Mapping):
                raise LayerError(
                    f"observe returns a mapping of names to numbers, got {type(found).__name__}; write {{{self.names[0]!r}: y[0]}}"
                )
        missing = [name for name in self.names if name not in found]
        if missing:
            raise ParameterError(
                f"observe returns no {', '.join(missing)}, which experiments observe; it returns {', '.join(found)}"
            )
        odd = [name for name in self.names if jnp.shape(found[name]) != ()]
        if odd:
            raise LayerError(f"observe: {odd[0]} is one number at one time, got shape {jnp.shape(found[odd[0]])}")
        return {name: jnp.asarray(found[name]) for name in self.names}
