"""The plain loss: the misfit of a solution to a series, or to many of them side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ...core import AbstractLayer, State
from ...flatten import LayerError, ShapeError
from .._loss import all_solved
from ..losses import squared_error
from ._series import Series


@dataclass(frozen=True)
class TrajectoryLoss:
    """`L(p) = mean over what was observed of error(y(t_i; p), y_i)`, with `y` the solution from `y0`: a loss for `lux.fit`.

    Its data is a `Series`, or a batch of them (`windows`), which are solved as one program and count together. Values that were not
    observed are as if they were not there.

    **Arguments:** `node`: an adapter; `error`: a function of `sciml_lux.losses`, or one like them, `error(predictions, targets,
    mask=mask)`; `solve`: in place of `node.solve`, `solve(y0, ps, st, ts=..., t0=...)`, for example
    `functools.partial(node.solve, inputs=forcing)` or `functools.partial(lux.solvers.solve_with_estimates, node)`; `penalty`: a
    function of the solution, the mean of which over the series is added, for example
    `lambda solution: 0.1 * solution.stats["error_estimate"]`.

    **Call:** `loss(ps, st, series)` returns `(value, st)`. In a batch the state is that of the first solve, or that of one that
    failed.

    **Errors:** `LayerError` for a node that cannot be solved, and for data that is no `Series`; `ShapeError` for observations that
    are not shaped like the solution.
    """

    node: AbstractLayer
    error: Callable[..., Any] = squared_error
    solve: Callable[..., Any] | None = None
    penalty: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        check_node(type(self).__name__, self.node)

    def __call__(self, ps: Any, st: State, data: Series) -> tuple[Any, State]:
        solution, st = solve_series(self.solve or getattr(self.node, "solve"), data, ps, st)  # noqa: B009
        value = self.error(_observed(solution.ys, data), data.ys, mask=data.mask)
        if self.penalty is not None:
            value = value + jnp.mean(jax.vmap(self.penalty)(solution) if data.ts.ndim == 2 else self.penalty(solution))
        return value, st


def check_node(name: str, node: Any) -> None:
    """Raises `LayerError` unless `node` is an adapter."""
    if not isinstance(node, AbstractLayer) or not callable(getattr(node, "solve", None)):
        raise LayerError(
            f"{name}: node is a layer with solve(y0, ps, st, ts=...), such as lux.NeuralODE(model), got {node!r}"
        )


def solve_series(solve: Callable[..., Any], data: Series, ps: Any, st: State) -> tuple[Any, State]:
    """The solution at the times of a series, or of all of a batch as one program, and one state."""
    if not isinstance(data, Series):
        raise LayerError(f"the data of this loss is a Series, got {type(data).__name__}; pass data=series(ts, ys)")
    data = jax.tree.map(jnp.asarray, data)

    def one(y0: Any, ts: Any) -> tuple[Any, State]:
        return solve(y0, ps, st, ts=ts, t0=ts[0])

    if data.ts.ndim == 1:
        return one(data.y0, data.ts)
    solutions, states = jax.vmap(one)(data.y0, data.ts)
    # One state for all: random keys have advanced alike, and a failure must be seen.
    chosen = jnp.argmin(jax.vmap(all_solved)(states))
    return solutions, jax.tree.map(lambda leaf: leaf[chosen], states)


def _observed(ys: Any, data: Series) -> Any:
    if jnp.shape(ys) != jnp.shape(data.ys):
        raise ShapeError(
            f"the solution has shape {jax.tree.map(jnp.shape, ys)}, the observations {jnp.shape(data.ys)}; "
            "let the adapter's observe return what was measured"
        )
    return ys
