"""Layers one after the other."""

from typing import Any

from ...core import AbstractLayer, State
from ...flatten import Parameters
from ._named_layers import AbstractNamedLayers


class Chain(AbstractNamedLayers):
    """Layers called one after the other, each on the result of the one before.

        model = lux.Chain(lux.Dense(2, 8, jnp.tanh), lux.Dense(8, 8, jnp.tanh), head=lux.Dense(8, 1))
        model[0], model["head"], len(model), list(model)
        features, state = model[:2](x, ps, st)           # a part, with the parameters and the state of the whole
        lux.Chain(*model, lux.Scale(1))                  # its layers spliced into another chain, numbered anew
        lux.Chain(**model.children(), scale=lux.Scale(1))   # or under the names that they have

    **Arguments:** layers by position, named `layer_0`, `layer_1`, ..., or by name, as in `Chain(encoder=..., decoder=...)`.
    A plain function of the input alone is wrapped in a `WrappedFunction`.

    **Call:** `x` goes to the first layer, the last one's result comes back; an empty chain returns `x`. A slice is a `Chain`
    whose layers keep their names: it takes the parameters and the state of the whole, and returns the state of the whole
    with its layers' part updated. For a vector of its own, `lux.flatten.transplant` into what `lux.setup` makes for it.

    **Parameters** and **states:** those of the layers, by name.

    **Errors:** `LayerError` for something that is neither layer nor function, and for two layers of one name; `PathError`
    for a position or name that is not there.
    """

    # Said again for type checkers, which would take the fields for arguments.
    def __init__(self, *layers: Any, **named: Any) -> None:
        super().__init__(*layers, **named)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        states = {}
        for name, layer in self.layers:
            x, states[name] = layer(x, ps[name], st[name])
        return x, State({**st, **states})

    def _part(self, layers: tuple[tuple[str, AbstractLayer], ...]) -> "Chain":
        return Chain(**dict(layers))  # of a subclass that does more, such as adding the input, too
