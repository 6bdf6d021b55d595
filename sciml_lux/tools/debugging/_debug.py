"""Debug mode: a model that says which of its layers went wrong first."""

from collections.abc import Mapping
from typing import Any, Literal

from jaxtyping import Array, Key

from ...core import AbstractContainer, AbstractLayer, State, children_of, declared_parameters, observed, with_fields
from ...flatten import Parameters
from ...layers._checks import check_choice, check_is_layer
from ._checks import Checks

Check = Literal["forward", "backward", "both"]


class Debug(AbstractContainer):
    """A model that runs layer by layer and stops at the first that goes wrong; made by `lux.tools.debug`, which see.

    **Arguments:** `model`: any layer; `check`: `"forward"`, `"backward"` or `"both"`.

    **Call:** as `model`. **Parameters** and **states:** those of `model`, under the same names, in the same places.

    **Errors:** `DebugError`.
    """

    model: AbstractLayer
    check: str = "both"

    def __post_init__(self) -> None:
        check_is_layer(self, model=self.model)
        check_choice(self, ("forward", "backward", "both"), check=self.check)

    def children(self) -> dict[str, AbstractLayer]:
        return children_of(self.model)

    def with_children(self, children: Mapping[str, AbstractLayer]) -> "Debug":
        assert isinstance(self.model, AbstractContainer)
        return with_fields(self, model=self.model.with_children(children))

    def initial_parameters(self, key: Key[Array, ""]) -> Any:
        return declared_parameters(self.model, key)

    def initial_states(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        return self.model.initial_states(key)

    def __call__(self, x: Any, ps: Parameters, st: State, *rest: Any, **named: Any) -> tuple[Any, State]:
        with observed(Checks(forward=self.check != "backward", backward=self.check != "forward")):
            return self.model(x, ps, st, *rest, **named)


def debug(model: AbstractLayer, check: Check = "both") -> Debug:
    """The same model for the same `ps` and `st`, which stops at the first layer that goes wrong and says what it was given.

        y, st = lux.tools.debug(model)(x, ps, st)
        jax.grad(lambda ps: loss(lux.tools.debug(model), ps, st))(ps)

    At the first NaN or Inf, or exception, a `DebugError` names the layer's path, says which of input, parameters, state or
    output was bad (or, backward, of their cotangents), and shows for each array its shape, least, greatest and mean element,
    and how many are NaN and Inf. It finds the layers of any container, a user's own too, and those within a solver.

    NaN is an error anywhere. Inf is one in parameters and results; in an input or a state, where it may be meant (a mask),
    once a result is infinite.

    **Arguments:** `model`; `check`: `"forward"` looks at results, `"backward"` at gradients in reverse mode, `"both"` at both.

    Without `jax.jit` each layer is checked before the next one runs. Within a compiled program (`jax.jit`, `scan`, the loop
    of a solver) the checks are part of it: what comes out of `jax.jit` is then a `JaxRuntimeError`, which ends in the whole
    text. Exceptions there are a `DebugError` too, with shapes but no numbers. All this is slow: for searching, not for training.
    `jax.jvp` and `jax.jacfwd` need `check="forward"`.

    **Errors:** `LayerError` for something that is no layer, or another `check`.
    """
    return Debug(model, check=check)
