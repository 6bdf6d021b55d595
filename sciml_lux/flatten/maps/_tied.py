"""The map of an entry that stores nothing, because another entry stores it."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import LayoutError
from ._ravel_map import AbstractRavelMap, Spec


@dataclass(frozen=True)
class Tied(AbstractRavelMap):
    """Shows the value of the entry at `source`, changed by the `forward` of the map `through` if there is one.

    Takes no room in the vector; gradients of all places where the value is shown add up in the source. While a layout is declared,
    `source` may be counted from `up` levels above the tied entry's own path; a finished layout has the whole path and `up=0`.
    """

    source: str
    through: AbstractRavelMap | None = None
    up: int = 0

    def size(self, spec: Spec) -> int:
        return 0

    def ravel(self, value: Any, spec: Spec) -> Float[Array, " size"]:
        return jnp.zeros((0,), jnp.result_type(float))

    def unravel(self, segment: Float[Array, " size"], spec: Spec) -> Any:
        raise LayoutError(f"an entry tied to {self.source} is shown by its layout, which knows the source")

    def show(self, value: Any) -> Any:
        """The value to show, from that of the source."""
        return value if self.through is None else self.through.forward(value)  # type: ignore[attr-defined]

    @property
    def name(self) -> str:
        return f"= {self.source}" + ("" if self.through is None else f" through {self.through!r}")
