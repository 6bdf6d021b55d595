"""The base of layers that call a model of another library."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Key

from ..._errors import LayerError
from ...core import AbstractLayer, State
from ...flatten import FlatParams, flatten
from ._skeleton import Skeleton


class AbstractForeignLayer(AbstractLayer):
    """A model of another library: its structure, which is static, apart from its arrays, which are in `ps` and `st`.

    `lux.setup` cannot make them, for the layer holds no arrays: it fills parameters (and floating-point state) with NaN, so that a
    forgotten one shows in the first result. Take those that came with the layer; inside another layer,
    `ps.set("encoder", encoder_ps.params)`.
    """

    origin: str
    skeleton: Skeleton

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.origin,), {}

    def initial_parameters(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        return self.skeleton.missing_parameters()

    def initial_states(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        return self.skeleton.missing_states(key)


def checked_parameters(skeleton: Skeleton, tree: Any, origin: str) -> FlatParams:
    """The parameters of `tree` as one vector. **Errors:** `LayerError` if there are none."""
    if not any(slot.kind == "parameter" for slot in skeleton.slots):
        kinds = sorted({type(slot.value).__name__ for slot in skeleton.slots if slot.kind == "static"})
        raise LayerError(
            f"{origin} has no floating-point array, so there is nothing to train; its "
            f"{len(skeleton.slots)} leaves are {', '.join(kinds) if kinds else 'integers, flags or keys, if any'}"
        )
    return flatten(skeleton.parameters(tree))


def state_of(values: Mapping[str, Any], **extra: Any) -> State:
    """A state with what the layer itself adds to the model's arrays. **Errors:** `LayerError` for a name that is taken."""
    taken = set(values) & set(extra)
    if taken:
        raise LayerError(f"the model has state called {min(taken)}, which is the layer's own name for something else")
    return State({**values, **extra})
