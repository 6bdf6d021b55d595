"""The solve of a series, or of a batch of them, with what drives each, as the adapter takes it."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..._errors import LayerError
from ...core import AbstractLayer, State, as_params, as_state
from .._loss import all_solved
from ._series import Series


def check_node(name: str, node: Any) -> None:
    """Raises `LayerError` unless `node` is an adapter."""
    if not isinstance(node, AbstractLayer) or not callable(getattr(node, "solve", None)):
        raise LayerError(
            f"{name}: node is a layer with solve(y0, ps, st, ts=...), such as lux.NeuralODE(model), got {node!r}"
        )


def check_states(name: str, node: Any) -> None:
    """Raises `LayerError` if what `node` is given and returns is not the state that it solves for."""
    if getattr(node, "hides_state", False):
        raise LayerError(
            f"{name}: {type(node).__name__} makes the state that it solves for out of what it is given, or the result out of that state: "
            f"its states within a series are hidden. {_advice(node)}"
        )


def solve_series(
    node: Any,
    data: Series,
    ps: Any,
    st: State,
    solve: Callable[..., Any] | None = None,
    initial: Callable[[Any], Any] | None = None,
) -> tuple[Any, State]:
    """The solution at the times of a series, or of all of a batch as one program, and one state.

    **Arguments:** `solve`: in place of `node.solve`; `initial`: from the `y0` of a series to what the node is given.
    """
    if not isinstance(data, Series):
        raise LayerError(f"the data of this loss is a Series, got {type(data).__name__}; pass data=series(ts, ys)")
    data = jax.tree.map(jnp.asarray, data)
    _check_observed(data)
    call: Callable[..., Any] = node.solve if solve is None else solve
    given = _given(node, call, data)
    each = getattr(node, "batching", None) == "each"
    if each and data.ts.ndim == 1:
        rows = jax.tree.map(lambda leaf: leaf[None], data)
        solution, st = solve_series(node, rows, ps, st, solve, initial)
        return jax.tree.map(lambda leaf: leaf[0], solution), st

    def one(y0: Any, ts: Any, given: dict[str, Any]) -> tuple[Any, State]:
        return call(y0, ps, st, ts=ts, t0=ts[..., 0], **given)

    y0 = data.y0
    if initial is not None:
        y0 = jax.vmap(initial)(y0) if data.ts.ndim == 2 else initial(y0)
    if data.seam is not None:
        first = jax.tree.map(lambda leaf: leaf[0], y0)
        _check_seams(node, first, as_params(ps), as_state(st))
    if data.ts.ndim == 1:
        return one(y0, data.ts, given)
    if each:
        solution, st = one(y0, data.ts, given)
        # Settings that are the same for all samples, as those of each, as a map over samples has them.
        return jax.tree.map(lambda leaf: leaf if jnp.ndim(leaf) else jnp.full(len(data.ts), leaf), solution), st
    resumed = given.get("resume")
    if resumed is not None:
        given["resume"] = jnp.broadcast_to(resumed, data.ts.shape[:1])
    solutions, states = jax.vmap(one)(y0, data.ts, given)
    # One state for all: random keys have advanced alike, and a failure must be seen.
    chosen = jnp.argmin(jax.vmap(all_solved)(states))
    return solutions, jax.tree.map(lambda leaf: leaf[chosen], states)


def _given(node: Any, solve: Callable[..., Any], data: Series) -> dict[str, Any]:
    """What a solve is given beside a start and times."""
    given = {name: getattr(data, name) for name in ("inputs", "doses") if getattr(data, name) is not None}
    bound = getattr(solve, "keywords", {})
    for name in given:
        if bound.get(name) is not None:
            raise LayerError(f"{name} are given twice, by the series and by solve=; leave out one of them")
        if not _takes(solve, name):
            raise LayerError(
                f"the series has {name}, and {solve!r} takes none; leave them out, or take a node that does"
            )
    if _takes(solve, "resume"):
        given["resume"] = data.resumed
    elif _takes(node.solve, "resume"):
        raise LayerError(
            f"{type(node).__name__} is to know whether a series begins before or after the jumps at its start, and {solve!r} takes no "
            "resume=; write solve=functools.partial(node.solve, doses=...), or a function with **kwargs that passes them on"
        )
    times: Any = getattr(data.inputs, "ts", None)
    is_matrix = np.ndim(times) == 2
    if data.inputs is not None and data.ts.ndim == 2 and getattr(node, "batching", None) == "each" and not is_matrix:
        raise LayerError(
            'inputs of each series that are no interpolation go with batching="joint"; series are solved each by itself all the same'
        )
    return given


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _check_observed(data: Series) -> None:
    if not isinstance(data.mask, Tracer) and not np.asarray(data.mask).any():
        raise LayerError("nothing of this series was observed, so that any parameters fit it; leave it out")


def _check_seams(node: Any, y0: Any, params: Any, state: State) -> None:
    lift = getattr(node, "lift", None)
    if lift is not None and lift(y0, params, state) is not y0:
        raise LayerError(
            f"{type(node).__name__} makes the state that it solves for out of what it is given, so that it is not known where a window "
            f"begins within a series. {_advice(node)}"
        )


def _advice(node: Any) -> str:
    whole = (
        "leave out initial= and observation= of the node"
        if hasattr(node, "observation")
        else "write lux.NeuralODE(model)"
    )
    return (
        f"Solve for the whole state, which is what windows(..., starts=) begin from: {whole}, and observation=lambda y: ..., what was "
        "measured of it, in the loss; or fit whole series, TrajectoryLoss(node)"
    )
