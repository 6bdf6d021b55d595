"""The coefficients of a Runge-Kutta method."""

from typing import Any, NamedTuple

import diffrax
import numpy as np


class Tableau(NamedTuple):
    """An explicit method with `s` stages: `a` (strictly lower triangular), `b`, `c`, and `b_error`, result minus embedded result."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    b_error: np.ndarray

    def advancing(self) -> "Tableau":
        """Without the stages at the end that the result does not need, but only the error estimate or the interpolation."""
        size = int(np.flatnonzero(self.b)[-1]) + 1
        return Tableau(self.a[:size, :size], self.b[:size], self.c[:size], self.b_error[:size])

    def reuses_last_stage(self) -> bool:
        """Whether the last stage is the slope at the result, and so the first stage of the next step (FSAL)."""
        return bool(np.all(self.a[-1] == self.b) and self.c[-1] == 1)


def tableau_of(solver: diffrax.AbstractERK) -> Tableau:
    tableau: Any = solver.tableau
    c = np.concatenate([[0.0], tableau.c])
    return Tableau(below_diagonal(tableau), np.asarray(tableau.b_sol), c, np.asarray(tableau.b_error))


def below_diagonal(tableau: diffrax.ButcherTableau) -> np.ndarray:
    """What is below the diagonal of `a`, of an explicit or an implicit method."""
    a = np.zeros((tableau.num_stages, tableau.num_stages))
    for i, row in enumerate(tableau.a_lower):
        a[i + 1, : len(row)] = row
    return a
