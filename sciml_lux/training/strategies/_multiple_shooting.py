"""Multiple shooting: a trajectory in segments, each with a start of its own, which training joins."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key

from ..._errors import LayerError, ShapeError
from ...core import AbstractContainer, AbstractLayer, State, declared_layout
from ...flatten import FlatParams
from ..losses import squared_error
from ._checks import check_count
from ._series import Series
from ._solve_series import check_node, check_states, solve_series
from ._trajectory import compared


class MultipleShooting(AbstractContainer):
    """The solution of `node` in segments `k` that begin at states `s_k` of their own, parameters like all others.

        y_k(t) solves the equation of node from y_k(t_k) = s_k,        d_k = y_k(t_{k+1}) - s_{k+1} = 0 when it is one solution.

    A segment is short, so that its loss is a tame function of the parameters where that of the whole trajectory has countless
    minima. The segments are solved as one program.

        segments = windows(series(ts, ys), 11, starts=collocate_spline(ts, ys).ys)
        shooting = MultipleShooting(node, *segments.y0.shape)
        ps, st = lux.setup(key, shooting)
        ps = shooting.start_from(ps, segments)
        fitted = fit_augmented_lagrangian(ShootingLoss(shooting), ps, st, optax.adam(1e-2), data=segments, steps=300)
        ps, st = shooting.plain(fitted.ps, fitted.st)                # of the node itself; fitted.ps["starts"][0] is where it starts

    **Arguments:** `node`: an adapter; `segments`: how many; `shape`: the sizes of the state, one after the other, if that is an array, and
    for any other tree, such as the pair of a `SecondOrderODE`, how many numbers it has; `penalty`: what the squared defects begin
    to cost.

    **Call:** a `Series` whose leading axis is that of the segments, in order, each beginning at the time at which the one
    before ends (`windows` makes it; of its `y0` only the structure is used); returns the states at its times, `(segments, points,
    *shape)`, or a tree of such.

    **Parameters:** `node`; `starts`: `(segments, *shape)`, 0 until `start_from` sets them.

    **States:** `node`; `defects`: `d_k` of the last call, `(segments - 1, *shape)`; `multipliers`: `l_k`, of the same shape, and
    `penalty`: `r`, the weight, both constant until `fit_augmented_lagrangian` raises them.

    **Errors:** `LayerError` for a node that cannot be solved or has hidden states, or a number that cannot be; `ShapeError` for
    data with another number of segments, for segments that do not follow one another (where their times are traced, as within a
    fit, the result is NaN), and for a solution that is not shaped like the starts.

    **Source:** Bock and Plitt 1984, A multiple shooting algorithm for direct solution of optimal control problems; for neural
    fields: Turan and Jäschke 2021, Multiple shooting for training neural differential equations on time series.
    """

    node: AbstractLayer
    segments: int
    shape: tuple[int, ...]
    penalty: float

    def __init__(self, node: AbstractLayer, segments: int, *shape: int, penalty: float = 1.0) -> None:
        name = type(self).__name__
        check_node(name, node)
        check_states(name, node)
        check_count(name, "segments", segments, 1)
        for size in shape:
            check_count(name, "a size of the state", size, 1)
        if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not penalty >= 0:
            raise LayerError(f"{name}: penalty is a number, 0 or more, got {penalty!r}")
        object.__setattr__(self, "node", node)
        object.__setattr__(self, "segments", int(segments))
        object.__setattr__(self, "shape", tuple(int(size) for size in shape))
        object.__setattr__(self, "penalty", float(penalty))

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = {} if self.penalty == 1.0 else {"penalty": self.penalty}
        return (self.node, self.segments, *self.shape), named

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {**super().initial_parameters(key), "starts": jnp.zeros((self.segments, *self.shape))}

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        zeros = jnp.zeros((self.segments - 1, *self.shape))
        # Two arrays of equal content, not one twice: a compiled fit gives up the memory of each.
        return {
            **super().initial_states(key),
            "defects": zeros,
            "multipliers": jnp.zeros_like(zeros),
            "penalty": jnp.asarray(self.penalty, zeros.dtype),
        }

    def __call__(self, x: Series, ps: Any, st: State) -> tuple[Any, State]:
        data = x
        if not isinstance(data, Series) or jnp.ndim(data.ts) != 2 or jnp.shape(data.ts)[0] != self.segments:
            got = f"ts of shape {jnp.shape(data.ts)}" if isinstance(data, Series) else type(data).__name__
            raise ShapeError(
                f"MultipleShooting takes a Series of {self.segments} segments, got {got}; write windows(series(ts, ys), length)"
            )
        starts = ps["starts"]
        y0 = jax.tree.map(jnp.asarray, data.y0)
        template = jax.tree.map(lambda leaf: leaf[0], y0)
        if self._size(template) != starts[0].size or (not _is_tree(template) and template.shape != self.shape):
            raise ShapeError(
                f"MultipleShooting: the states that segments start from have the shapes {jax.tree.map(jnp.shape, template)}, expected "
                f"{self.shape}; write MultipleShooting(node, segments, *shape), with the number of numbers for a tree"
            )
        if _is_tree(template):
            y0 = jax.vmap(ravel_pytree(template)[1])(starts)
        else:
            y0 = starts
        follow = check_segments(data)
        solution, inner = solve_series(self.node, data._replace(y0=y0, seam=None), ps["node"], st["node"])
        ys = jax.tree.map(lambda leaf: jnp.where(follow, leaf, jnp.nan).astype(leaf.dtype), solution.ys)
        if jax.tree.map(lambda leaf: leaf.shape[2:], ys) != jax.tree.map(jnp.shape, template):
            raise ShapeError(
                f"the solution has shape {jax.tree.map(jnp.shape, ys)}, expected that of the states, {(*jnp.shape(data.ts), *self.shape)}"
            )
        return ys, st.set("node", inner).set("defects", self.defects(ys, ps).astype(st["defects"].dtype))

    def defects(self, ys: Any, ps: Any) -> Array:
        """`d_k`, `(segments - 1, *shape)`, of the states that a call returned."""
        ends = jax.tree.map(lambda leaf: leaf[:-1, -1], ys)
        return _rows(ends).reshape(self.segments - 1, *self.shape) - ps["starts"][1:]

    def start_from(self, ps: FlatParams, data: Series) -> FlatParams:
        """Parameters whose starts are those of the segments, `data.y0`. **Errors:** `ShapeError` if these do not follow one another."""
        check_segments(data)
        starts = _rows(jax.tree.map(jnp.asarray, data.y0)).reshape(self.segments, *self.shape)
        return ps.set("starts", starts.astype(ps.layout.dtype))

    @staticmethod
    def _size(template: Any) -> int:
        return sum(jnp.size(leaf) for leaf in jax.tree.leaves(template))

    def plain(self, ps: FlatParams, st: State) -> tuple[FlatParams, State]:
        """The parameters and the state of the node alone, as `lux.setup(key, node)` lays them out."""
        inner = declared_layout(self.node, ps.layout.dtype)
        return FlatParams(ps.vector[..., : inner.size], inner), st["node"]


def _is_tree(state: Any) -> bool:
    return not hasattr(state, "dtype")


def _rows(tree: Any) -> Array:
    """The numbers of each row, as `ravel_pytree` lays them out."""
    leaves = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves, axis=1)


def check_segments(data: Any) -> Any:
    """Whether each segment begins where the one before ends. **Errors:** `ShapeError` if it is seen not to."""
    if not isinstance(data, Series) or np.ndim(data.ts) != 2:
        raise ShapeError(
            f"segments are a Series with a leading axis, got {type(data).__name__}; write windows(series(ts, ys), length)"
        )
    begins, ends = data.ts[1:, 0], data.ts[:-1, -1]
    if isinstance(data.ts, Tracer):
        return jnp.all(begins == ends)
    apart = np.flatnonzero(np.asarray(begins) != np.asarray(ends))
    if apart.size:
        k = int(apart[0])
        raise ShapeError(
            f"MultipleShooting: segment {k + 1} begins at {begins[k]:g} and the one before ends at {ends[k]:g}; segments follow one "
            "another, in order and without overlap: write windows(series(ts, ys), length), without stride"
        )
    return jnp.asarray(True)


@dataclasses.dataclass(frozen=True)
class ShootingLoss:
    """The loss of multiple shooting, an augmented Lagrangian: a loss for `lux.fit` and `fit_augmented_lagrangian`.

        L = mean of error(y_k(t_i), y_i) + mean over k and components of (l_k d_k + r d_k^2 / 2)

    With `lux.fit` the multipliers `l` stay as they are, 0 at first, and the second term is the penalty alone. Without
    defects `L` is the loss of the whole trajectory.

    **Arguments:** `shooting`: a `MultipleShooting`; `error`: a function of `sciml_lux.losses`, or one like them; `observation`: a function
    from a state to what was measured of it, for example `lambda y: y[0]`.

    **Call:** `loss(ps, st, segments)` returns `(value, st, stats)`; `stats["defect"]` is the largest component of a defect.

    **Errors:** `LayerError` for anything else than a `MultipleShooting`.
    """

    shooting: MultipleShooting
    error: Callable[..., Any] = squared_error
    observation: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.shooting, MultipleShooting):
            raise LayerError(f"ShootingLoss takes a MultipleShooting, got {self.shooting!r}")

    def __call__(self, ps: Any, st: State, data: Series) -> tuple[Any, State, dict[str, Any]]:
        multipliers, penalty = st["multipliers"], st["penalty"]
        # Not out of the state, where they may have been rounded to its dtype.
        ys, st = self.shooting(data, ps, st)
        defects = self.shooting.defects(ys, ps)
        misfit = self.error(compared(ys, data, self.observation), data.ys, mask=data.mask)
        if not defects.size:
            return misfit, st, {"defect": jnp.zeros((), defects.dtype)}
        multipliers, penalty = multipliers.astype(defects.dtype), penalty.astype(defects.dtype)
        joined = jnp.mean(multipliers * defects + penalty / 2 * defects**2)
        return misfit + joined, st, {"defect": jnp.max(jnp.abs(defects))}
