"""Wrappers that change where a layer's parameters are stored: shared between layers, or frozen in the state."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Key

from ..._errors import LayerError, PathError, unknown_name
from ...core import AbstractContainer, AbstractLayer, State, declared_parameters, declared_states, with_fields
from ...flatten import Parameter, Parameters, Params, Tied, flatten
from ._precision import cast_floating, floating_dtype


class Share(AbstractContainer):
    """A model in which several layers have the same parameters, stored once.

        model = lux.Share(lux.Chain(lux.Dense(4, 4, jnp.tanh), lux.Dense(4, 4, jnp.tanh), lux.Dense(4, 2)), "layer_0", "layer_1")

    **Arguments:** `model`: a container; `first`: the path of the layer whose parameters are stored; `others`: those
    that show them, in layers of equal structure.

    **Call:** as `model`. **Parameters** and **states:** those of `model`, under the same names; the others take no
    room in the vector, and gradients of all uses add up in the first. For a model that is trained already, `lux.tools.share_parameters`.

    **Errors:** `PathError` for a path that `model` does not have; `LayerError` for fewer than two paths or layers that differ.
    """

    model: AbstractContainer
    first: str
    others: tuple[str, ...]

    def __init__(self, model: AbstractContainer, first: str, *others: str) -> None:
        if not isinstance(model, AbstractContainer) or not others:
            raise LayerError(
                "Share takes a container and at least two paths of its layers: Share(model, 'layer_0', 'layer_1')"
            )
        for name, value in (("model", model), ("first", first), ("others", others)):
            object.__setattr__(self, name, value)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.model, self.first, *self.others), {}

    def children(self) -> dict[str, AbstractLayer]:
        return self.model.children()

    def with_children(self, children: Mapping[str, AbstractLayer]) -> "Share":
        """The same sharing within a model of other layers."""
        return with_fields(self, model=self.model.with_children(children))

    def initial_parameters(self, key: Key[Array, ""]) -> Params:
        declared = Params(self.model.initial_parameters(key))
        for path in (self.first, *self.others):
            if path not in declared:
                raise PathError(unknown_name("layer", path, self.children()))
        source = declared[self.first]
        for path in self.others:
            if jax.tree.map(jax.numpy.shape, source) != jax.tree.map(jax.numpy.shape, declared[path]):
                raise LayerError(
                    f"Share: {path} differs from {self.first} in its parameters; share between layers of equal structure"
                )
            declared = declared.set(path, _tied(declared[path], self.first, path.count(".") + 1))
        return declared

    def initial_states(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        return self.model.initial_states(key)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        return self.model(x, ps, st)


def _tied(declared: Any, source: str, up: int) -> Any:
    """The declarations of a layer, each tied to its counterpart below `source`, which is `up` levels above it."""
    if isinstance(declared, Params):
        return Params({name: _tied(child, f"{source}.{name}", up + 1) for name, child in declared.items()})
    value, unit = (declared.value, declared.unit) if isinstance(declared, Parameter) else (declared, None)
    return Parameter(value, Tied(source, up=up), unit)


class Frozen(AbstractLayer):
    """A layer whose parameters are not trained: they live in the state, and the vector has none of them.

    **Arguments:** `layer`.

    **Call:** as `layer`. **Parameters:** none. **States:** `parameters`: those of `layer`, as `Params`; `layer`: its
    state. `lux.tools.freeze` makes one of a trained layer, `lux.tools.unfreeze` undoes it; to freeze by name from outside,
    `lux.flatten.partition`. The dtype of the vector does not reach the frozen parameters: they are cast to that of the input.
    """

    layer: AbstractLayer

    def children(self) -> dict[str, AbstractLayer]:
        """The frozen layer, under the name of its state."""
        return {"layer": self.layer}

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {}

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        parameters = flatten(declared_parameters(self.layer, key)).params
        return {"parameters": parameters, "layer": declared_states(self.layer, key)}

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        dtype = floating_dtype(x)
        parameters = st.parameters if dtype is None else cast_floating(st.parameters, dtype)
        y, layer = self.layer(x, parameters, st.layer)
        return y, State(parameters=st.parameters, layer=layer)
