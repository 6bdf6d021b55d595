"""What a fit returns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import optimistix

from ..core import State
from ..flatten import FlatParams


@dataclass(frozen=True)
class BestPoint:
    """The point with the least loss of all that a fit evaluated.

    **Attributes:** `ps`: the parameters; `st`: the state that the loss was given with them, so that `loss(ps, st, batch)` has this
    value again; `value`: the loss, NaN if it was finite nowhere; `step`: its index in `losses`, or `len(losses)` for the end.
    """

    ps: FlatParams
    st: State
    value: float
    step: int


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fit.

    **Attributes:** `ps`, `st`: the parameters at the end, and the state; `losses`: one for each step that was tried, at the point
    before it, NaN where the step was not taken; `stats`: what the loss reported beside, one row a step, or None; `num_rejected`:
    how many steps were not taken; `result`: `optimistix.RESULTS`; `message`: in words, empty if all went well; `value`: the loss
    at `ps` (with the batch of the last step, if there were several), NaN if no step was asked for; `best`: a `BestPoint`, of the
    losses of single batches if there were several.
    """

    ps: FlatParams
    st: State
    losses: np.ndarray
    stats: Any
    num_rejected: int
    result: optimistix.RESULTS
    message: str = ""
    value: float = float("nan")
    best: BestPoint | None = None

    def __repr__(self) -> str:
        finite = self.losses[np.isfinite(self.losses)]
        last = self.value if np.isfinite(self.value) else finite[-1] if finite.size else np.nan
        best = (
            min(finite.min(), self.best.value if self.best and np.isfinite(self.best.value) else np.inf, last)
            if finite.size
            else np.nan
        )
        span = f"loss {finite[0]:.4g} -> {last:.4g}, best {best:.4g}" if finite.size else "no finite loss"
        rejected = f", {self.num_rejected} not taken" if self.num_rejected else ""
        outcome = self.message or "successful"
        return f"Fitted: {len(self.losses)} steps{rejected}, {span}; {self.ps.layout.size} parameters; {outcome}"
