"""The loss of a field against estimated derivatives: no solve, hence fast, and without the traps of long trajectories."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from ..._errors import LayerError
from ...core import AbstractLayer, State, as_params, as_state
from ..losses import squared_error
from ._collocate import Collocation
from ._solve_series import check_states


@dataclass(frozen=True)
class CollocationLoss:
    """`L(p) = mean_i error(f(t_i, y_i; p), dy_i)`, the misfit of a field to estimated derivatives: a loss for `lux.fit`.

    Good starts in seconds: its data, from `collocate_kernel` or `collocate_spline`, are put into the field as they are, so that
    nothing is solved and an error does not grow with time. Noise in the estimates biases what it finds; fit trajectories from
    there. Times at which any component is out of what was observed of it do not count: the field depends on all of them. For a state
    that jumps, at doses or events, estimate each piece by itself, `breaks=`.

    For a state that is a tree, as of a `SecondOrderODE`, so are the estimates:

        x = collocate_spline(ts, xs); v = collocate_spline(ts, x.dys); data = Collocation(ts, (x.ys, v.ys), (x.dys, v.dys))

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
        check_states(type(self).__name__, self.node)

    def __call__(self, ps: Any, st: State, data: Collocation) -> tuple[Any, State]:
        if not isinstance(data, Collocation):
            raise LayerError(
                f"the data of CollocationLoss is a Collocation, got {type(data).__name__}; pass data=collocate_spline(ts, ys)"
            )
        data = jax.tree.map(jnp.asarray, data)
        counts = _counts(data)
        if not isinstance(counts, Tracer) and not counts.any():
            raise LayerError(
                "CollocationLoss: there is no time at which all components were observed before and after; nothing counts"
            )
        # Not computed with and then dropped, which would make the gradient NaN all the same.
        harmless = jnp.argmax(counts)
        ys = jax.tree.map(lambda leaf: jnp.where(_leading(counts, leaf), leaf, leaf[harmless]), data.ys)
        node: Any = self.node
        params, state = as_params(ps), as_state(st)
        if callable(getattr(node, "lift", None)):
            node.lift(jax.tree.map(lambda leaf: leaf[0], ys), params, state)  # which checks the state

        def field(t: Any, y: Any) -> tuple[Any, State]:
            return node.derivative(t, y, params, state, self.inputs)

        slopes, children = jax.vmap(field)(data.ts, ys)
        advanced = jax.tree.map(lambda leaf: leaf[0], children)
        slopes, dys = _joined(slopes), _joined(data.dys)
        mask = jnp.broadcast_to(_leading(counts, slopes), slopes.shape)
        value = self.error(slopes, dys, mask=mask)
        return jnp.where(jnp.any(counts), value, jnp.nan).astype(value.dtype), State({**state, **advanced})


def _counts(data: Collocation) -> Any:
    """Which times count: those at which all was observed."""
    if data.mask is None:
        return jnp.ones(data.ts.shape, bool)
    parts = [leaf.reshape(data.ts.size, -1).all(axis=1) for leaf in jax.tree.leaves(data.mask)]
    return jnp.all(jnp.stack(parts), axis=0)


def _leading(counts: Any, leaf: Any) -> Any:
    return counts.reshape(-1, *[1] * (leaf.ndim - 1))


def _joined(tree: Any) -> Any:
    """The components of a tree as one array, to be compared."""
    if hasattr(tree, "dtype"):
        return tree
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)], axis=1)
