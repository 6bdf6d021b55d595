"""`AbstractAdapter`: what every layer whose call runs a solver promises, whatever it solves."""

import abc
from typing import Any

from ..core import AbstractContainer, State
from ..flatten import Parameters


class AbstractAdapter(AbstractContainer):
    """A layer whose call solves an equation that its children are part of: `y, st = adapter(x, ps, st)`.

    - `solve(x, ps, st, ...)` gives the whole solution and the same state, and the call `final(solution)`. The parameters are
      unravelled once, before the solver's loop.
    - `choose_adjoint(x, ps, st)` says how the result is differentiated, and why, to be printed.
    - `throw`, a field that the subclass declares among its settings: whether a failed solve raises `lux.SolveError`, with where it
      failed and what to try. Otherwise a failed solve, or sample, is NaN, and the others are what they are without it.
    - The state has an entry `solution`, which says how the last solve ended: `result` and `num_steps` at least.
    """

    @abc.abstractmethod
    def solve(self, x: Any, /, ps: Parameters, st: State) -> tuple[Any, State]:
        """The whole solution, and the state. What else may be asked for is the subclass's."""

    @abc.abstractmethod
    def final(self, solution: Any) -> Any:
        """What of a solution a call returns."""

    @abc.abstractmethod
    def choose_adjoint(self, x: Any, /, ps: Parameters, st: State) -> Any:
        """How the result of a call is differentiated: its `reason`, and what prints it. Arguments as for a call."""
