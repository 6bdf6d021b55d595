"""Equinox modules as layers."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Key

from ..._errors import LayerError
from ...core import State, Training
from ...flatten import FlatParams, Parameters
from ._layer import AbstractForeignLayer, checked_parameters, state_of
from ._skeleton import is_array, is_float, skeleton_of


class EquinoxLayer(AbstractForeignLayer):
    """`y = module(x)`. See `from_equinox`."""

    random: bool = False

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        own = {"key": key, "training": Training()} if self.random else {}
        return {**self.skeleton.missing_states(key), **own}

    def __call__(self, x: Any, ps: Parameters, st: State, **options: Any) -> tuple[Any, State]:
        module = self.skeleton.fill(ps, st)
        if not self.random:
            return module(x, **options), st
        if not st.training:
            return eqx.nn.inference_mode(module)(x, **options), st
        now, later = jax.random.split(st.key)
        return module(x, key=now, **options), st.set("key", later)


def from_equinox(module: Any, key: Any = None) -> tuple[EquinoxLayer, FlatParams, State]:
    """An Equinox module as a layer with one flat vector.

        layer, ps, st = lux.tools.from_equinox(eqx.nn.MLP(2, 2, 50, 2, key=jax.random.key(0)))
        y, st = layer(x, ps, st)                                    # jax.vmap over a batch, as for the module

    **Arguments:** `module`: called as `module(x)`, and with what else the layer is called with by name; `key`: for one with
    dropout, which is then called as `module(x, key=...)` with a new key each time while it trains, and in inference mode under
    `lux.test_mode(st)`.

    **Returns:** `(layer, ps, st)`. **Parameters:** the floating-point arrays, which `eqx.filter_grad` differentiates, under the
    module's own names (`layers.0.weight`). The same array in two places (a tied embedding) is stored once, and gradients add
    up: `eqx.filter_grad` would give one for each place. **States:** other arrays; with `key`, `key` and `training`.

    Modules that take and return an `eqx.nn.State` (`BatchNorm`) need a function that says what is called:
    `lux.tools.from_pytree((module, state), lambda tree, x: tree[0](x, tree[1])[0])`, in inference mode.

    `lux.setup` gives this layer NaN for parameters, since it holds no arrays: take `ps` and `st` from here.

    **Errors:** `LayerError` for what is no module, for one without floating-point arrays, and for one that keeps state;
    `LayoutError` for several dtypes.

    **Source:** https://docs.kidger.site/equinox
    """
    if not isinstance(module, eqx.Module):
        raise LayerError(
            f"from_equinox takes an equinox module, got {module!r}; for other trees, lux.tools.from_pytree(tree, apply_fn)"
        )
    if not callable(module):
        raise LayerError(
            f"{type(module).__name__} has no __call__; write lux.tools.from_pytree(module, lambda module, x: module.method(x))"
        )
    if any(isinstance(part, eqx.nn.StateIndex) for part in jax.tree.leaves(module, is_leaf=_is_state_index)):
        raise LayerError(
            f"{type(module).__name__} keeps an eqx.nn.State; say how it is called: "
            "lux.tools.from_pytree((module, state), lambda tree, x: tree[0](x, tree[1])[0]), in inference mode"
        )
    skeleton = skeleton_of(module, _kind_of, tie=True)
    origin = f"equinox {type(module).__name__}"
    ps = checked_parameters(skeleton, module, origin)
    own = {} if key is None else {"key": key, "training": Training()}
    return EquinoxLayer(origin, skeleton, key is not None), ps, state_of(skeleton.states(module), **own)


def _is_state_index(node: Any) -> bool:
    return isinstance(node, eqx.nn.StateIndex)


def _kind_of(leaf: Any) -> str:
    if is_float(leaf) and isinstance(leaf, jax.Array):  # eqx.filter_grad leaves NumPy's arrays alone
        return "parameter"
    return "state" if is_array(leaf) else "static"
