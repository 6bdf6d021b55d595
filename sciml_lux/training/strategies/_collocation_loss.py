"""The loss of a field against estimated derivatives: no solve, hence fast, and without the traps of long trajectories."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ...core import AbstractLayer, State, as_params, as_state
from ...flatten import LayerError
from ..losses import squared_error
from ._collocate import Collocation


@dataclass(frozen=True)
class CollocationLoss:
    """`L(p) = mean_i error(f(t_i, y_i; p), dy_i)`, the misfit of a field to estimated derivatives: a loss for `lux.fit`.

    Good starts in seconds: its data, from `collocate_kernel` or `collocate_spline`, are put into the field as they are, so that
    nothing is solved and an error does not grow with time. Noise in the estimates biases what it finds; fit trajectories from
    there.

    **Arguments:** `node`: an adapter, of which only the field is used (`derivative(t, y, params, state, inputs)`); `error`: a
    function of `sciml_lux.losses`, or one like them; `inputs`: as the node's `solve` takes them.

    **Call:** `loss(ps, st, collocation)` returns `(value, st)`.

    **Errors:** `LayerError` for a node without a field, for data that is no `Collocation`, and for a node whose states are not what it
    is given and returns.

    **Source:** Roesch, Rackauckas and Stumpf 2021, Collocation based training of neural ordinary differential equations.
    """

    node: AbstractLayer
    error: Callable[..., Any] = squared_error
    inputs: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.node, AbstractLayer) or not callable(getattr(self.node, "derivative", None)):
            raise LayerError(
                "CollocationLoss takes a layer with derivative(t, y, params, state, inputs), such as lux.NeuralODE(model); "
                f"got {self.node!r}"
            )

    def __call__(self, ps: Any, st: State, data: Collocation) -> tuple[Any, State]:
        if not isinstance(data, Collocation):
            raise LayerError(
                f"the data of CollocationLoss is a Collocation, got {type(data).__name__}; pass data=collocate_spline(ts, ys)"
            )
        data = jax.tree.map(jnp.asarray, data)
        node: Any = self.node
        params, state = as_params(ps), as_state(st)

        check_states(node, data.ys[0], params, state)

        def field(t: Any, y: Any) -> tuple[Any, State]:
            return node.derivative(t, y, params, state, self.inputs)

        slopes, children = jax.vmap(field)(data.ts, data.ys)
        advanced = jax.tree.map(lambda leaf: leaf[0], children)
        return self.error(slopes, data.dys), State({**state, **advanced})


def check_states(node: Any, y: Any, params: Any, state: State) -> None:
    """Raises `LayerError` if what `node` is given and returns is not the state that it solves for."""
    for verb in ("lift", "observe"):
        method = getattr(node, verb, None)
        if method is not None and method(y, params, state) is not y:
            raise LayerError(
                f"{type(node).__name__} makes the state that it solves for out of what it is given, or the result out of that state: "
                "its states within a series are hidden. Fit trajectories, lux.training.strategies.TrajectoryLoss(node)"
            )
