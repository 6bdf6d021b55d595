"""Step-size control that begins with a step that fits, and stops where a step no longer leads anywhere."""

from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._types import StateTree, Time
from ._first_step import ChoosesFirstStep


class StoppingPIDController(ChoosesFirstStep, diffrax.PIDController):
    """A `PIDController` that chooses the first step (`_first_step.py`), and fails with `dt_min_reached` when a step is too small to
    change the time.

    diffrax's own goes on until `max_steps`, at a field that is NaN from some state on as at a solution that grows without bound; in a
    batch all other samples wait. Where time itself is near 0, and changed by any step, one that is shorter than the fourth power
    of the rounding error, relative to the span, is too small: a span of 1e11 may begin with a step of 1e-6.
    """

    span: float = 1.0

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
        adapted: Any = super().adapt_step_size(t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state)
        keep, start, end, jump, state, result = adapted
        smallest = jnp.asarray(self.span * float(jnp.finfo(end.dtype).eps) ** 4, end.dtype)
        # A step of one rounding error that is rejected would be tried again. Nor is one that is NaN, as the field at the start, a step.
        leads = (end - start > smallest) & (keep | (end < t1))
        result = diffrax.RESULTS.where(leads, result, diffrax.RESULTS.dt_min_reached)
        return keep, start, end, jump, state, result
