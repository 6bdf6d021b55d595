"""`fit`: from a problem and a start to an estimate."""

from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from ..._errors import ParameterError, ShapeError
from ...core import as_state
from ...flatten import FlatParams
from ...training import Progress
from .._coordinates import Coordinates, coordinates_of
from ..problem import Problem
from ._box import box_of
from ._checkpoint import Checkpoint
from ._fitted import Fit
from ._search import Budget, Task
from ._second_opinion import METHODS, by_scipy


def fit(
    problem: Problem,
    ps: FlatParams,
    st: PyTree = None,
    *,
    method: str = "scoring",
    budget: Budget | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> Fit:
    """The parameters that explain the data best: a maximum of `log_likelihood + log_prior - penalty`, within the bounds.

    The method of scoring within a trust region: steps solve a linear least-squares problem, as those of Gauss and Newton do, whose
    curvature is Fisher's information; for normal noise of known size they are those. Bounds are closed (`lux.solvers.LevenbergMarquardt`
    says how); those of `lux.bounded` are closed here as well. The derivatives are taken in forward mode. Compiled once for a problem and
    the shapes of its data: other data, bounds, starts, fixed values compile nothing.

    **Arguments:** `problem`; `ps`: the start, from `lux.setup(key, model)`; `st`: the state, which a fit does not change; `method`:
    `"scoring"`, or, for a second opinion, SciPy over the same vector: `"scipy:trf"`, `"scipy:dogbox"` (least squares: normal noise of known
    size), `"scipy:L-BFGS-B"`, `"scipy:TNC"`, `"scipy:SLSQP"`, `"scipy:trust-constr"`, which know gradients only; `budget`: seconds
    and steps, after which the best point is returned, as it is after Ctrl-C; `checkpoint`: a file to which the search is written as it
    goes, every ten steps; a fit with the same start, bounds and data goes on from there, to the same bits; `progress`: whether a bar shows
    steps and the objective (needs tqdm).

    **Returns:** a `Fit`; `print` it. Its `outcome` is `"converged"`; `"stalled"`, at the best point found, which is not known to be a
    maximum (the reason is in `reason`); or `"failed"`: the model has no finite result at the start.

    **Errors:** `FileFormatError` for a checkpoint of another fit; `ParameterError` for parameters that are not those of the model;
    `ShapeError` for a batch of them; `ValueError` for a start outside of the bounds.

    **Source:** scoring: R. A. Fisher, Proceedings of the Cambridge Philosophical Society 22 (1925), 700-725.
    """
    coordinates = start_of(problem, ps)
    state = problem.state if st is None else as_state(st)
    budget = Budget() if budget is None else budget
    task = Task(problem, coordinates, state)
    if method in METHODS:
        if checkpoint is not None or progress:
            raise ValueError('SciPy keeps its search to itself: a checkpoint and progress go with method="scoring"')
        found = by_scipy(task, coordinates.start.vector, box_of(coordinates), problem.arrays, budget, method)
        return Fit(problem, coordinates, task, found)
    if method != "scoring":
        raise ValueError(f'a fit is by method="scoring" or one of {", ".join(METHODS)}, got {method!r}')
    vector, box, arrays = coordinates.start.vector, box_of(coordinates), problem.arrays
    kept = None if checkpoint is None else Checkpoint(checkpoint, (vector, box, arrays))
    with Progress(progress, "fit", budget.steps, of="objective") as bar:
        found = task.run(vector, box, arrays, budget, bar.update, kept)
    return Fit(problem, coordinates, task, found)


def start_of(problem: Problem, ps: FlatParams) -> Coordinates:
    """The start in the coordinates of a search, checked."""
    if not isinstance(problem, Problem):
        raise ParameterError(
            f"a fit takes a Problem, got {type(problem).__name__}; write est.Problem(model, data, observe=..., noise=...)"
        )
    if not isinstance(ps, FlatParams):
        raise ParameterError(
            f"a fit starts from a FlatParams, got {type(ps).__name__}; write ps, st = lux.setup(key, model)"
        )
    if ps.vector.ndim != 1:
        raise ShapeError(
            f"a fit starts from one vector, got a batch of shape {ps.vector.shape[:-1]}; write est.multistart(problem, starts, st)"
        )
    ours, theirs = ([entry.path for entry in layout.entries] for layout in (problem.layout, ps.layout))
    if ours != theirs:
        raise ParameterError(
            f"the parameters are not those of the model: {', '.join(theirs[:5])} ..., expected {', '.join(ours[:5])} ...; write ps, st = "
            "lux.setup(key, model) with the model of the problem"
        )
    return coordinates_of(bounds_of(problem), ps)


def bounds_of(problem: Problem) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Lower and upper bounds by path."""
    bounds = problem.bounds or {}
    lower, upper = ({name: pair[i] for name, pair in bounds.items()} for i in range(2))
    return (lower, upper) if bounds else None
