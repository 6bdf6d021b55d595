"""Flax modules, of linen and of nnx, as layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Key

from ..._errors import LayerError
from ...core import State, Training
from ...flatten import FlatParams, Parameters
from ._layer import AbstractForeignLayer, checked_parameters, state_of
from ._skeleton import Skeleton, is_array, is_float, path_of, skeleton_of


@dataclass(frozen=True)
class Described:
    """A linen module as a static value: it compares by its fields, some of which (lists of layers) cannot be hashed."""

    module: Any

    def __hash__(self) -> int:
        return hash(type(self.module))


class LinenLayer(AbstractForeignLayer):
    """`y = module.apply(variables, x)`. See `from_flax`."""

    described: Described
    rest: Skeleton
    collections: tuple[str, ...]

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {**self.skeleton.missing_states(key), **self.rest.missing_states(key)}

    def __call__(self, x: Any, ps: Parameters, st: State, **options: Any) -> tuple[Any, State]:
        rest = self.rest.fill(ps, st)
        pairs = {name: jax.random.split(key) for name, key in rest.get("rngs", {}).items()}
        variables = {"params": self.skeleton.fill(ps, st), **{name: rest[name] for name in self.collections}}
        y, updated = self.described.module.apply(
            variables,
            x,
            rngs={name: now for name, (now, _) in pairs.items()},
            mutable=list(self.collections),
            **options,
        )
        new = {name: updated.get(name, rest[name]) for name in self.collections}
        later = {"rngs": {name: later for name, (_, later) in pairs.items()}} if pairs else {}
        return y, _advanced(st, self.rest, {**new, **later}, self.origin)


class NnxLayer(AbstractForeignLayer):
    """`y = module(x)`, with a module that is put together for the call. See `from_flax`."""

    graph: Any
    rest: Skeleton

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {**self.skeleton.missing_states(key), **self.rest.missing_states(key), "training": Training()}

    def __call__(self, x: Any, ps: Parameters, st: State, **options: Any) -> tuple[Any, State]:
        from flax import nnx

        module = nnx.merge(self.graph, self.skeleton.fill(ps, st), self.rest.fill(ps, st))
        if not st.training:
            module.eval()
        y = module(x, **options)
        _, _, rest = nnx.split(module, nnx.Param, ...)
        return y, _advanced(st, self.rest, rest, self.origin)


def from_flax(
    module: Any, variables: Mapping[str, Any] | None = None, rngs: Mapping[str, Any] | None = None
) -> tuple[LinenLayer | NnxLayer, FlatParams, State]:
    """A Flax module, of linen or of nnx, as a layer with one flat vector.

        variables = module.init(jax.random.key(0), x)
        layer, ps, st = lux.tools.from_flax(module, variables)            # linen
        layer, ps, st = lux.tools.from_flax(Model(rngs=nnx.Rngs(0)))      # nnx
        y, st = layer(x, ps, st)

    **Arguments:** `module`; for linen also `variables`, from `module.init`, and `rngs`: keys by name (`{"dropout": key}`), if
    it draws random numbers. What else the layer is called with by name goes to the module, as in `layer(x, ps, st,
    train=True)`.

    **Returns:** `(layer, ps, st)`. **Parameters:** linen's collection `params`, nnx's `nnx.Param`, under the module's own names
    (`Dense_0.kernel`). **States:** the other collections or variables (batch statistics, counts, keys), updated by each call;
    `rngs`, whose keys are advanced by each call; for nnx `training`: under `lux.test_mode(st)` the module's `eval()` is called
    first, otherwise it is in the mode in which it was given.

    `lux.setup` gives this layer NaN for parameters, since it holds no arrays: take `ps` and `st` from here.

    **Errors:** `ImportError` without flax; `LayerError` for what is no module, for one without parameters, for linen without
    `variables`, and for a call that adds or removes variables; `LayoutError` for several dtypes.

    **Source:** https://flax.readthedocs.io
    """
    try:
        from flax import linen, nnx
    except ImportError as error:
        raise ImportError("from_flax needs flax; write `pip install 'sciml-lux[flax]'`") from error
    if isinstance(module, linen.Module):
        return _from_linen(module, variables, rngs)
    if not isinstance(module, nnx.Module):
        raise LayerError(
            f"from_flax takes a module of linen or nnx, got {module!r}; for other trees, lux.tools.from_pytree(tree, apply_fn)"
        )
    if variables is not None or rngs is not None:
        raise LayerError("an nnx module holds its variables and its keys; write from_flax(module)")
    graph, parameters, others = nnx.split(module, nnx.Param, ...)
    origin = f"nnx {type(module).__name__}"
    skeleton, rest = skeleton_of(parameters, _kind_of, name_of=_nnx_path), _rest_of(others)
    ps = checked_parameters(skeleton, parameters, origin)
    st = state_of({**skeleton.states(parameters), **rest.states(others)}, training=Training())
    return NnxLayer(origin, skeleton, graph, rest), ps, st


def _from_linen(module: Any, variables: Any, rngs: Any) -> tuple[LinenLayer, FlatParams, State]:
    from flax.core import unfreeze

    name = type(module).__name__
    if not isinstance(variables, Mapping) or not isinstance(variables.get("params"), Mapping):
        raise LayerError(f"{name} is a linen module: write from_flax(module, module.init(key, x)), with its variables")
    variables = unfreeze(dict(variables))
    parameters = variables.pop("params")
    if "rngs" in variables:
        raise LayerError(f"{name} has a collection called rngs, which is the layer's own name for random keys")
    others = {**variables, **({"rngs": dict(rngs)} if rngs else {})}
    skeleton, rest = skeleton_of(parameters, _kind_of), _rest_of(others)
    ps = checked_parameters(skeleton, parameters, f"linen {name}")
    st = state_of(skeleton.states(parameters), **rest.states(others))
    return LinenLayer(f"linen {name}", skeleton, Described(module), rest, tuple(variables)), ps, st


def _rest_of(others: Any) -> Skeleton:
    return skeleton_of(others, lambda leaf: "state" if is_array(leaf) else "static", name_of=_nnx_path)


def _kind_of(leaf: Any) -> str:
    if is_float(leaf):
        return "parameter"
    return "state" if is_array(leaf) else "static"


def _nnx_path(keys: Any) -> str:
    """The path of an nnx variable, whose array is its attribute `value`."""
    return path_of(keys[:-1] if keys and keys[-1] == jax.tree_util.GetAttrKey("value") else keys)


def _advanced(st: State, rest: Skeleton, tree: Any, origin: str) -> State:
    """The state with what a call changed. **Errors:** `LayerError` if that is not what there was before."""
    if jax.tree.structure(tree) != rest.structure:
        raise LayerError(
            f"a call of {origin} added or removed variables; call it once before from_flax, so that they exist"
        )
    return State({**st, **rest.states(tree)})
