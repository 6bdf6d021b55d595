"""The plain loss: the misfit of a solution to a series, or to many of them side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..._errors import ShapeError
from ...core import AbstractLayer, State
from ..losses import squared_error
from ._series import Series
from ._solve_series import check_node, solve_series


@dataclass(frozen=True)
class TrajectoryLoss:
    """`L(p) = mean over what was observed of error(y(t_i; p), y_i)`, with `y` the solution from `y0`: a loss for `lux.fit`.

    Its data is a `Series`, or a batch of them (`windows`, `stack_series`), which are solved as one program and count together. Values
    that were not observed are as if they were not there. Inputs and doses of a series are given to its solve.

    **Arguments:** `node`: an adapter; `error`: a function of `sciml_lux.losses`, or one like them, `error(predictions, targets,
    mask=mask)`; `solve`: in place of `node.solve`, `solve(y0, ps, st, ts=..., t0=...)`, for example
    `functools.partial(node.solve, inputs=forcing)` or `functools.partial(lux.solvers.solve_with_estimates, node)`; `penalty`: a
    function of the solution, the mean of which over the series is added, for example
    `lambda solution: 0.1 * solution.stats["error_estimate"]`; `initial`: a function from the `y0` of a series to the initial value of
    the node, for example `lambda x: (x, jnp.zeros_like(x))` for a `SecondOrderODE` that starts at rest; `observation`: a function from
    what the node returns of one time to what was measured of it, for example `lambda y: y[0]`.

    **Call:** `loss(ps, st, series)` returns `(value, st)`. In a batch the state is that of the first solve, or that of one that
    failed. With `batching="each"` the node is given the whole batch, and its state is that of its call.

    **Errors:** `LayerError` for a node that cannot be solved, for data that is no `Series` or holds what `solve` does not take, and for
    windows of a node that makes the state that it solves for out of what it is given: that state is not known at a seam;
    `ShapeError` for observations that are not shaped like the solution.
    """

    node: AbstractLayer
    error: Callable[..., Any] = squared_error
    solve: Callable[..., Any] | None = None
    penalty: Callable[[Any], Any] | None = None
    initial: Callable[[Any], Any] | None = None
    observation: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        check_node(type(self).__name__, self.node)

    def __call__(self, ps: Any, st: State, data: Series) -> tuple[Any, State]:
        solution, st = solve_series(self.node, data, ps, st, self.solve, self.initial)
        many = jnp.ndim(data.ts) == 2
        value = self.error(compared(solution.ys, data, self.observation), data.ys, mask=data.mask)
        if self.penalty is not None:
            value = value + jnp.mean(jax.vmap(self.penalty)(solution) if many else self.penalty(solution))
        return value, st


def compared(ys: Any, data: Series, observation: Callable[[Any], Any] | None) -> Any:
    """What is compared with the observations, of the states at all times. **Errors:** `ShapeError` if it is not shaped like them."""
    if observation is not None:
        for _ in range(jnp.ndim(data.ts)):
            observation = jax.vmap(observation)
        ys = observation(ys)
    if jax.tree.map(jnp.shape, ys) != jnp.shape(data.ys):
        raise ShapeError(
            f"the solution has shape {jax.tree.map(jnp.shape, ys)}, the observations {jnp.shape(data.ys)}; "
            "say what was measured of a state: observation=lambda y: y[0], for example"
        )
    return ys
