"""`SolveSettings`: how an equation is solved, as one value."""

import dataclasses
from typing import Any

import diffrax
import jax

from ...core import differentiation_mode
from ...flatten import exact_fields


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SolveSettings:
    """How an equation is solved: the settings of an adapter, made once from its fields, which mean what `AbstractODE` says.

    Frozen, and a static node, compared by types and bits: equal settings share one compilation.
    """

    adapter: str
    """The name of the adapter's type, which messages begin with."""
    # Of any type, since they are checked after they are gathered: `checked_settings` says more than a type checker.
    t0: Any
    t1: Any
    solver: Any
    stiff: Any
    rtol: Any
    atol: Any
    dt0: Any
    stepsize_controller: Any
    adjoint: Any
    jump_ts: Any
    max_steps: Any
    event: Any
    throw: Any
    batching: Any

    @classmethod
    def of(cls, adapter: Any) -> "SolveSettings":
        """The settings in the fields of an adapter, which have the same names."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "adapter"]
        return cls(adapter=type(adapter).__name__, **{name: getattr(adapter, name) for name in names})

    @property
    def by_sample(self) -> bool:
        """Whether the leading axis of every initial value is the sample, each of which is solved by itself."""
        return self.batching == "each"

    @property
    def isolates(self) -> bool:
        """Whether a failed sample may not reach the gradients that it shares with others."""
        # In forward mode nothing is shared between samples; that rule is known by how it is differentiated.
        forward = differentiation_mode.value == "forward" and self.adjoint == "auto"
        return (
            not self.throw and not forward and not isinstance(self.adjoint, diffrax.ForwardMode | diffrax.DirectAdjoint)
        )

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and exact_fields(self) == exact_fields(other)

    def __hash__(self) -> int:
        return hash(exact_fields(self))
