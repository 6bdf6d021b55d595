"""What a fit returns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import optimistix

from ..core import State
from ..flatten import FlatParams, SolveError


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fit.

    **Attributes:** `ps`, `st`: the fitted parameters and the state; `losses`: one for each step that was tried, NaN where the step
    was not taken; `stats`: what the loss reported beside, one row a step, or None; `num_rejected`: how many steps were not taken;
    `result`: `optimistix.RESULTS`; `message`: in words, empty if all went well.
    """

    ps: FlatParams
    st: State
    losses: np.ndarray
    stats: Any
    num_rejected: int
    result: optimistix.RESULTS
    message: str = ""

    def __repr__(self) -> str:
        finite = self.losses[np.isfinite(self.losses)]
        span = f"loss {finite[0]:.4g} -> {finite[-1]:.4g}, best {finite.min():.4g}" if finite.size else "no finite loss"
        rejected = f", {self.num_rejected} not taken" if self.num_rejected else ""
        outcome = self.message or "successful"
        return f"Fitted: {len(self.losses)} steps{rejected}, {span}; {self.ps.layout.size} parameters; {outcome}"


class FitError(SolveError):
    """A fit that had to stop. `error.fitted` holds what was reached: the last parameters at which the loss was finite."""

    def __init__(self, message: str, fitted: Fitted) -> None:
        super().__init__(message)
        self.fitted = fitted
