"""What is fitted by what, and the best point of it so far."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core import State
from ..flatten import FlatParams
from ._loss import Loss


class Job(NamedTuple):
    """What a program of a fit stands for: the loss, the optimiser, and the maps through which parameters are read."""

    loss: Loss
    optimizer: Any
    ravel_maps: Any = ()


class Best(NamedTuple):
    """The point with the least loss of all that were evaluated.

    **Attributes:** `ps`: the parameters; `st`: the state that the loss was given with them, so that it can be had again;
    `value`: the loss, NaN if none was finite; `step`: which of `losses` it is (one more than there are if it is the end).
    """

    ps: FlatParams
    st: State
    value: Float[Array, ""]
    step: Int[Array, ""]
    evaluated: Int[Array, ""]

    def improved(self, okay: Any, ps: FlatParams, st: State, value: Any) -> "Best":
        """After one more evaluation, which counts if it is `okay`."""
        value = value.astype(self.value.dtype)
        better = okay & ~(value >= self.value)
        new = Best(ps, st, value, self.evaluated, self.evaluated)
        chosen = jax.tree.map(lambda new, old: jnp.where(better, new, old), new, self)
        return chosen._replace(evaluated=self.evaluated + 1)


def no_best(ps: FlatParams, st: State) -> Best:
    """The best of no evaluations: the start, with NaN."""
    zero = jnp.zeros((), jnp.int32)
    return Best(ps, st, jnp.asarray(jnp.nan, jnp.result_type(float)), zero, zero)
