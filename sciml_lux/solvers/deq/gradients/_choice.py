"""Which gradient suits an equilibrium."""

from typing import Any, NamedTuple

from ....core import describe
from ._implicit import LARGEST_DENSE, ImplicitGradient


class GradientChoice(NamedTuple):
    """How an equilibrium is differentiated, and why; print it."""

    gradient: Any
    reason: str

    def __str__(self) -> str:
        return f"{describe(self.gradient)}: {self.reason}"


def choose_gradient(adjoint: Any, size: int) -> GradientChoice:
    """The gradient of equilibria of `size` numbers a sample: the one that was asked for, or, for `"auto"`, the one that suits.

    That is the implicit one, exact up to the tolerance of the forward solve: by LU factors where a sample is small, and else by Bi-CGSTAB.
    """
    if adjoint == "auto":
        adjoint, reason = ImplicitGradient(), ""
    else:
        reason = "as asked for"
    if isinstance(adjoint, ImplicitGradient) and adjoint.solver is None:
        solver = adjoint.solver_for(size)
        few = "at most" if solver == "lu" else "more than"
        return GradientChoice(adjoint, f"solver {solver!r}, since a sample has {few} {LARGEST_DENSE} numbers ({size})")
    return GradientChoice(adjoint, reason)
