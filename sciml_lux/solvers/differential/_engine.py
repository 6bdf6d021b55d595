"""The engine: from an equation, settings and a request to a solution that is safe to use."""

import functools
from typing import Any, NamedTuple

import diffrax
import equinox as eqx

from ..._errors import LayerError
from ...core import State, type_of
from ...flatten import Params
from .._failure import guard
from ..adjoints import AdjointChoice, choose_adjoint
from ._batching import advance_each, as_mapped, check_samples, dense_each, solve_each
from ._equation import Equation
from ._fields import is_driven
from ._inputs import step_onto
from ._keys import check_key, drawn
from ._methods import diffrax_settings
from ._one import explain, outcome, solve_one
from ._request import Request, Start
from ._settings import SolveSettings
from ._values import as_array, as_state_arrays, check_start, check_times, time_dtype


class Solved(NamedTuple):
    """A solution, or that of each sample along a leading axis.

    `okay`: whether the solve succeeded, or which samples did; `request`: what was asked for, as arrays, with the random keys that were
    drawn; `key`: the random key of the state that goes on, if it has one.
    """

    solution: diffrax.Solution
    okay: Any
    request: Request
    key: Any


def solve(equation: Equation, settings: SolveSettings, request: Request, params: Params, state: State) -> Solved:
    """The solution of what was asked for. Where a solve failed it raises or holds NaN, as the settings say.

    **Arguments:** `request`: as it came; `params`: structured; `state`: that of the adapter, with the random `key` of an equation that is
    random, from which the solve draws unless the request gives it one.

    **Errors:** those of an `AbstractODE` for values and times that cannot be.
    """
    request, known, samples = _checked(equation, settings, request)
    request, key = _with_key(equation, settings, request, state, samples)
    one = functools.partial(solve_one, equation, settings, known)
    if settings.by_sample:
        request = as_mapped(request)
        axes = _axes(equation, request)
        solution, okay = solve_each(one, request, axes, (params, state), settings.isolates)
    else:
        solution, okay = one(request, (params, state))
    saved = (solution.ys, solution.interpolation)
    why = functools.partial(explain, equation, settings, type_of(solution.result))
    saved = guard(saved, outcome(solution, okay), why, settings.throw)
    solution = eqx.tree_at(lambda s: (s.ys, s.interpolation), solution, saved, is_leaf=lambda node: node is None)
    return Solved(dense_each(solution) if settings.by_sample else solution, okay, request, key)


def advanced(
    equation: Equation, settings: SolveSettings, solved: Solved, params: Params, state: State, children: State
) -> State:
    """The state of the children after the solve: `children`, advanced once."""

    def advance(request: Request) -> State:
        seen = request.seen_by(state)
        y0 = equation.lift(request.y0, params, seen)
        t0 = settings.t0 if request.t0 is None else request.t0
        return equation.advance(t0, request.y0, y0, params, seen, request.inputs)

    if not settings.by_sample:
        return advance(solved.request)
    return advance_each(advance, solved.request, _axes(equation, solved.request), children, solved.okay)


def choice_of(
    equation: Equation, settings: SolveSettings, request: Request, params: Params, state: State
) -> AdjointChoice:
    """How the solve that is asked for, of one sample or of all jointly, is differentiated, at given times or to the end, and why."""
    y0 = equation.lift(request.y0, params, state)
    time = time_dtype(y0).type
    t0, t1 = time(settings.t0), time(settings.t1)
    options = diffrax_settings(settings, y0, t0, t1)
    start = Start(y0, t0, None, params, state, request.inputs, request.drives)
    driven = is_driven(equation.driven_terms(options["solver"], start))
    args, options = step_onto(start.args, options)
    return choose_adjoint(settings.adjoint, y0, args, options, event=settings.event, driven=driven)


def _checked(equation: Equation, settings: SolveSettings, request: Request) -> tuple[Request, bool, int | None]:
    """The request as arrays, whether its times are known to fit, and the number of samples, if each is solved by itself."""
    name, each = settings.adapter, settings.by_sample
    # One sample may be lost where many are solved and none may raise.
    known = not (each and not settings.throw)
    y0 = as_state_arrays(name, request.y0, equation.pair, known)
    if request.ts is not None and request.saveat is not None:
        raise LayerError(f"{name}.solve takes ts or saveat, not both; write saveat=diffrax.SaveAt(ts=ts, ...)")
    ts, lengths = as_array(request.ts), as_array(request.lengths)
    samples = None
    if each:
        samples = check_samples(name, y0, ts, lengths)
    elif lengths is not None:
        raise LayerError(f'{name}: lengths goes with batching="each", got batching="joint"')
    t0 = as_array(request.t0)
    checked = t0 is None or (known and check_start(name, t0, settings.t0, settings.t1))
    if ts is not None:
        ts, known = check_times(name, ts, settings.t0 if t0 is None else t0, settings.t1, lengths, each)
        checked = checked and known
    return request._replace(y0=y0, t0=t0, ts=ts, lengths=lengths), checked, samples


def _with_key(
    equation: Equation, settings: SolveSettings, request: Request, state: State, samples: int | None
) -> tuple[Request, Any]:
    """The request with its random key, or keys, if it has any, and the key that goes on in the state."""
    if request.key is not None:
        check_key(settings.adapter, equation.is_random, request.key, samples)
        return request, state["key"]
    if not equation.is_random:
        return request, None
    key, later = drawn(state["key"], samples)
    return request._replace(key=key), later


def _axes(equation: Equation, request: Request) -> Request:
    return request.axes(equation.input_axes(request.inputs), equation.drive_axes(request.drives))
