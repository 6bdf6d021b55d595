"""From settings to what diffrax is told."""

from typing import Any

import diffrax
import jax
import numpy as np

from .._types import StateTree
from ..adjoints import ReversibleAdjoint
from ._implicit import with_own_derivative
from ._settings import SolveSettings
from ._stiff import implicit_solver
from ._tolerances import default_controller
from ._values import time_dtype


def diffrax_settings(
    settings: SolveSettings, y0: StateTree, t0: jax.typing.ArrayLike, t1: jax.typing.ArrayLike
) -> dict[str, Any]:
    """What `diffrax.diffeqsolve` is told beside the problem and what to save, and `jump_ts`, where the field jumps.

    **Arguments:** `settings`; `y0`: what is solved for; `t0`, `t1`: where this solve begins and ends.
    """
    time = time_dtype(y0).type
    solver = settings.solver or (implicit_solver(settings) if settings.stiff else diffrax.Tsit5())
    solver = with_own_derivative(solver, y0, settings.throw)
    return {
        "solver": solver,
        "t0": t0,
        "t1": t1,
        "dt0": None if settings.dt0 is None else time(settings.dt0),
        "stepsize_controller": settings.stepsize_controller or default_controller(settings, solver, y0),
        "max_steps": settings.max_steps,
        **({"jump_ts": np.asarray(settings.jump_ts, time)} if settings.jump_ts else {}),
    }


def chosen_adjoint(settings: SolveSettings) -> Any:
    """The adjoint that was asked for, which fails as the solve does unless it says otherwise."""
    adjoint = settings.adjoint
    if isinstance(adjoint, ReversibleAdjoint) and adjoint.throw is None:
        return ReversibleAdjoint(adjoint.coupling, settings.throw)
    return adjoint
