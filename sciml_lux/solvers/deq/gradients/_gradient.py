"""`AbstractEquilibriumGradient`: from the gradient in an equilibrium to the one in its equation."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Rows = Float[Array, "samples size"]


class System(NamedTuple):
    """The system `u - A u = g` of a gradient, a row for each sample.

    `operator`: multiplies rows by `A`, which is `J^T` (`J` unless `transposed`); `g`; `rtol`: the relative tolerance of the forward
    solve; `memory`: what was kept of its solver's final state.
    """

    operator: Callable[[Any], Any]
    g: Any
    rtol: float
    memory: Any = None
    transposed: bool = True


class Accuracy(NamedTuple):
    """How well each sample's system is solved.

    `residual`: the norm of `g - (u - A u)` relative to that of `g`, by one more product with the true `A`; `num_steps`: the
    products before it; `okay`: whether the residual is what was asked for. An approximate gradient asks for nothing.
    """

    residual: Float[Array, "*samples"]
    num_steps: Int[Array, "*samples"]
    okay: Bool[Array, "*samples"]


@dataclass(frozen=True)
class AbstractEquilibriumGradient(abc.ABC):
    """How `z* = f(z*, p)` is differentiated, all steps that led there forgotten.

    With `J` the Jacobian of `f` in `z` at `z*`, the derivative is `dz*/dp = (I - J)^-1 df/dp`. The gradient of a loss is `u^T df/dp` with
    `u = (I - J^T)^-1 g` for its gradient `g` in `z*`. A subclass says what takes the place of `u`, given `g` and products with `J^T`;
    in forward mode, where `df/dp` is `g`, with `J`.
    """

    exact: ClassVar[bool] = False  # whether u solves the system, and is checked to

    @abc.abstractmethod
    def propagate(self, system: System) -> tuple[Rows, Int[Array, " samples"]]:
        """`u`, and how many products with the operator each sample needed."""

    def remembered(self, solver: Any, memory: Any) -> Any:
        """What is kept of the final state, `memory`, of the forward solver, until the gradient is asked for."""
        return None

    def tolerated(self, system: System, u: Rows) -> Float[Array, " samples"]:
        """The norm of the residual that each sample may have."""
        return jnp.full(u.shape[:1], jnp.inf, u.dtype)
