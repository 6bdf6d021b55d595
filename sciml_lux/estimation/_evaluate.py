"""One evaluation of a residual with its Jacobian, and what may be wrong with it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._errors import LayerError, ShapeError, SolveError
from ..core import UNTRACEABLE, CachedFunction, State, as_state, explain_untraceable, is_item_of, is_okay, type_of
from ..flatten import FlatParams, Layout, leaf_paths
from ..solvers.least_squares import Evaluated, Numbers, evaluated
from ._bounds import Box
from ._labels import shown

Residual = Callable[[FlatParams, State, Any], tuple[Any, Any]]
"""`residual(ps, st, data) -> (r, st)`, with `r` an array of any shape, or a tree of them."""


class Evaluation(NamedTuple):
    """The residual at a point: as it was returned and end to end, its Jacobian by the vector, the advanced state."""

    returned: Any
    residual: Float[Array, " residuals"]
    jacobian: Float[Array, "residuals size"]
    st: State


def call_residual(residual: Residual, ps: FlatParams, st: State, data: Any) -> tuple[Any, State]:
    """Calls `residual` and checks what it returns. **Errors:** `LayerError` for anything but `(r, st)` with real arrays."""
    try:
        output = residual(ps, st, data)
    except UNTRACEABLE as error:
        raise explain_untraceable(error, "the residual") from error
    if not isinstance(output, tuple) or len(output) != 2:
        raise LayerError(f"a residual returns (r, st), got {type(output).__name__}; write `return r, st`")
    r, new = output
    leaves = jax.tree.leaves(r)
    if not leaves or not all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):
        raise LayerError(
            f"a residual returns an array of differences first, or a tree of arrays, got {r!r}; write `return model - data, st`"
        )
    odd = [leaf.dtype for leaf in leaves if not jnp.issubdtype(leaf.dtype, jnp.floating)]
    if odd and jnp.issubdtype(odd[0], jnp.complexfloating):
        raise LayerError(f"a residual returns real numbers, got {odd[0]}; write jnp.stack([r.real, r.imag])")
    if odd:
        raise LayerError(
            f"a residual returns floating-point numbers, got {odd[0]}, which have no derivative by the parameters; "
            "compute it from them without round, floor, // or astype(int), such as `return model - data, st`"
        )
    return r, as_state(new)


def _ravel(tree: Any, dtype: Any) -> Float[Array, " residuals"]:
    return ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree))[0].astype(
        dtype
    )  # an empty tree has none


def residual_vector(residual: Residual, layout: Layout, vector: Any, args: Any) -> Float[Array, " residuals"]:
    """The residual end to end, as solvers want it; `args` is `(st, data)`."""
    return _ravel(call_residual(residual, FlatParams(vector, layout), *args)[0], layout.dtype)


def estimated_values(layout: Layout, vector: Any) -> Float[Array, " names"]:
    """The estimated scalars in the user's own space, end to end."""
    params = layout.unravel(vector)
    return _ravel([params[array.path] for array in shown(layout) if array.estimated], layout.dtype)


@eqx.filter_jit
def value_jacobian(layout: Layout, vector: Float[Array, " size"]) -> Float[Array, "names size"]:
    """The derivative of the scalars that are estimated, as they are shown, by the vector."""
    return jax.jacfwd(lambda vector: estimated_values(layout, vector))(vector)


@eqx.filter_jit
def evaluate(
    cached: CachedFunction,
    layout: Layout,
    point: Float[Numbers, " size"],
    limit: Float[Numbers, ""],
    st: State,
    data: PyTree,
) -> Evaluated:
    """The residual, the first of what is cached, and its Jacobian; the rest of an `Evaluation` is in `aux`."""
    residual = cached.use()[0]

    def residual_of(vector: Any) -> Any:
        returned, new = call_residual(residual, FlatParams(vector, layout), st, data)
        return _ravel(returned, layout.dtype), (returned, new)

    return evaluated(residual_of, point, limit)


def evaluation_of(found: Evaluated) -> Evaluation:
    returned, new = found.aux
    return Evaluation(returned, jnp.asarray(found.residual), jnp.asarray(found.jacobian), new)


def check_start(start: Evaluation, ps: FlatParams, data: Any, box: Box | None) -> None:
    """Raises unless a solve can begin here.

    **Errors:** `ValueError` for data that are not finite, `SolveError` for a residual or Jacobian that is not, `ShapeError`
    for fewer residuals than parameters; each says which.
    """
    num_data, size = start.jacobian.shape
    size -= 0 if box is None else int(np.sum(box.sides(ps.vector) == 2))
    if num_data < size:
        raise ShapeError(
            f"{num_data} residuals do not determine {size} parameters; fix some with lux.fixed(...), or add data or a prior as residuals"
        )
    finite = bool(np.all(np.isfinite(start.residual)))
    if finite and bool(np.all(np.isfinite(start.jacobian))):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        if isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating):
            check_finite(f"data{jax.tree_util.keystr(path)}", leaf)
    where = describe_point(ps)
    if not finite:
        raise SolveError(
            f"{_not_finite('the residual', np.asarray(start.residual))} at the starting parameters {where}. "
            f"Start elsewhere, or constrain the parameters{_failed_solves(start.st)}"
        )
    columns = ~np.all(np.isfinite(start.jacobian), axis=0)
    names = [e.path for e in ps.layout.entries if columns[e.offset : e.offset + e.size].any()]
    raise SolveError(
        f"the residual is finite at the starting parameters {where}, but its derivative by {', '.join(names)} is not; "
        "start elsewhere, or look for jnp.where, sqrt or a power at 0"
    )


def check_finite(name: str, array: Any) -> None:
    """Raises `ValueError` if `array` holds NaN or an infinity; says how many, and where the first is."""
    array = np.asarray(array, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{_not_finite(name, array)}; leave such points out")


def _not_finite(name: str, array: np.ndarray) -> str:
    bad = np.argwhere(~np.isfinite(array))
    index = ",".join(map(str, bad[0]))
    return f"{name}: {len(bad)} of {array.size} numbers are not finite, the first at [{index}] ({array[tuple(bad[0])]})"


def describe_point(ps: FlatParams, most: int = 8) -> str:
    """The first few parameters with their values, for messages."""
    texts = []
    for array in list(shown(ps.layout))[:most]:
        value = np.asarray(ps.params[array.path], dtype=np.float64)
        texts.append(f"{array.path}={value:.6g}" if not array.shape else f"{array.path}={list(array.shape)}")
    more = sum(1 for _ in shown(ps.layout)) - len(texts)
    return f"({', '.join(texts)}{f', and {more} more' if more else ''})"


def _failed_solves(st: State) -> str:
    """What the adapters inside the residual say of solves that failed."""
    notes = []
    for path in leaf_paths(st):
        result = st[path]
        if is_item_of(result, optx.RESULTS) and not np.all(is_okay(result)):
            notes.append(f"{path}: {type_of(result)[result]}")
    return f". Inside it a solve failed: {'; '.join(notes)}" if notes else ""
