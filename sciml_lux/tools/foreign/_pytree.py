"""Any function of a tree of arrays as a layer."""

from collections.abc import Callable
from typing import Any

from ..._errors import LayerError
from ...core import State
from ...flatten import FlatParams, Parameters
from ._layer import AbstractForeignLayer, checked_parameters, state_of
from ._skeleton import is_array, is_float, skeleton_of


class PytreeLayer(AbstractForeignLayer):
    """`y = apply_fn(tree, x)`. See `from_pytree`."""

    apply_fn: Callable[..., Any]

    def __call__(self, x: Any, ps: Parameters, st: State, **options: Any) -> tuple[Any, State]:
        return self.apply_fn(self.skeleton.fill(ps, st), x, **options), st


def from_pytree(tree: Any, apply_fn: Callable[..., Any]) -> tuple[PytreeLayer, FlatParams, State]:
    """Any pure function of a tree of arrays as a layer with one flat vector.

        layer, ps, st = lux.tools.from_pytree({"slope": jnp.ones(3), "shift": 0.0}, lambda tree, x: tree["slope"] * x + tree["shift"])
        y, st = layer(x, ps, st)

    **Arguments:** `tree`: any pytree; `apply_fn(tree, x)`: returns the result, and takes what else the layer is called with by
    name.

    **Returns:** `(layer, ps, st)`. **Parameters:** the floating-point and complex leaves, under the names of the tree's own
    steps (`layers.0.weight`; what is no letter, digit or underscore becomes an underscore), mappings in their own order.
    **States:** other arrays: integers, flags, keys. Leaves that are no arrays (functions, strings) become part of the layer and
    must be hashable. The same array in two places is two parameters, as for `jax.grad`; `lux.flatten.tie` makes them one.

    `lux.setup` gives this layer NaN for parameters, since it holds no arrays: take `ps` and `st` from here.

    **Errors:** `LayerError` if `apply_fn` cannot be called, if there is nothing to train, for two leaves of one name, and for
    an unhashable leaf; `LayoutError` for several dtypes.
    """
    if not callable(apply_fn):
        raise LayerError(f"from_pytree(tree, apply_fn) takes a function apply_fn(tree, x), got {apply_fn!r}")
    skeleton = skeleton_of(tree, _kind_of)
    origin = f"a tree for {getattr(apply_fn, '__name__', type(apply_fn).__name__)}"
    ps = checked_parameters(skeleton, tree, origin)
    return PytreeLayer(origin, skeleton, apply_fn), ps, state_of(skeleton.states(tree))


def _kind_of(leaf: Any) -> str:
    if is_float(leaf) or isinstance(leaf, float | complex):
        return "parameter"
    return "state" if is_array(leaf) else "static"
