"""Layers side by side, and layers whose results are combined with their inputs."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ..._errors import ShapeError
from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters
from ._named_layers import AbstractNamedLayers, as_layer, check_combine


class Parallel(AbstractNamedLayers):
    """Layers side by side: each has its own input, and their results are combined.

        lux.Parallel(lux.Dense(2, 8), lux.Dense(3, 8), combine=jnp.add)     # takes (x, y), adds up
        lux.Parallel(image=..., text=...)                                   # takes (x, y), returns a tuple

    **Arguments:** layers by position or by name, as for `Chain`; `combine`: a function of all results, in order; without
    it they come back as a tuple.

    **Call:** a tuple (or list) with one element for each layer, or anything else, which all of them get. For layers that
    share an input that is a tuple, `Branch`.

    **Parameters** and **states:** those of the layers, by name.

    **Errors:** `LayerError` as for `Chain`, and if `combine` is no function; `ShapeError` for a tuple of another length.
    """

    combine: Callable[..., Any] | None = None

    def __init__(self, *layers: Any, combine: Callable[..., Any] | None = None, **named: Any) -> None:
        super().__init__(*layers, **named)
        if combine is not None:
            check_combine("Parallel", combine)
        object.__setattr__(self, "combine", combine)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        if isinstance(x, tuple | list) and len(x) != len(self):
            raise ShapeError(
                f"Parallel has {len(self)} layers, got a tuple of {len(x)}; give each layer one element, "
                "or write lux.Branch for layers that share one input"
            )
        inputs = list(x) if isinstance(x, tuple | list) else [x] * len(self)
        results, states = [], {}
        for (name, layer), own in zip(self.layers, inputs, strict=True):
            y, states[name] = layer(own, ps[name], st[name])
            results.append(y)
        return (tuple(results) if self.combine is None else self.combine(*results)), State({**st, **states})


class Branch(AbstractNamedLayers):
    """Several layers on one input: `(layer_0(x), layer_1(x), ...)`.

    **Arguments:** layers by position or by name, as for `Chain`.

    **Call:** any `x`, which each layer gets, gives the tuple of their results.

    **Parameters** and **states:** those of the layers, by name. **Errors:** `LayerError` as for `Chain`.
    """

    # Said again for type checkers, which would take the fields for arguments.
    def __init__(self, *layers: Any, **named: Any) -> None:
        super().__init__(*layers, **named)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[tuple[Any, ...], State]:
        results, states = [], {}
        for name, layer in self.layers:
            y, states[name] = layer(x, ps[name], st[name])
            results.append(y)
        return tuple(results), State({**st, **states})


class PairwiseFusion(AbstractNamedLayers):
    """Inputs that join one after the other: `y = combine(x_{i+1}, layer_i(y))`, starting from the first.

        x_0 -> layer_0 -> combine -> layer_1 -> combine -> y
                   x_1 ------^           x_2 ------^

    **Arguments:** layers by position or by name, as for `Chain`; `combine`: a function of the next input and the layer's
    result, their sum by default.

    **Call:** a tuple (or list) of one input more than there are layers: `(x_0, x_1, ..., x_n)`; anything else joins every time.

    **Parameters** and **states:** those of the layers, by name.

    **Errors:** `LayerError` as for `Chain`, and if `combine` is no function; `ShapeError` for a tuple of another length.
    """

    combine: Callable[[Any, Any], Any] = jnp.add

    def __init__(self, *layers: Any, combine: Callable[[Any, Any], Any] = jnp.add, **named: Any) -> None:
        super().__init__(*layers, **named)
        check_combine("PairwiseFusion", combine)
        object.__setattr__(self, "combine", combine)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        if isinstance(x, tuple | list) and len(x) != len(self) + 1:
            raise ShapeError(f"PairwiseFusion has {len(self)} layers and takes {len(self) + 1} inputs, got {len(x)}")
        y, *others = x if isinstance(x, tuple | list) else [x] * (len(self) + 1)
        states = {}
        for (name, layer), other in zip(self.layers, others, strict=True):
            y, states[name] = layer(y, ps[name], st[name])
            y = self.combine(other, y)
        return y, State({**st, **states})


class SkipConnection(AbstractContainer):
    """A layer and a way around it: `combine(layer(x), x)`, the sum by default.

    **Arguments:** `layer` (a function is wrapped); `combine`: a function of the result and the input.

    **Call:** any `x` that `layer` takes.

    **Parameters** and **states:** `layer`: those of the layer.

    **Errors:** `LayerError` for a `layer` or `combine` of another type.
    """

    layer: AbstractLayer
    combine: Callable[[Any, Any], Any] = jnp.add

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", as_layer("SkipConnection", "layer", self.layer))
        check_combine("SkipConnection", self.combine)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        y, state = self.layer(x, ps.layer, st.layer)
        return self.combine(y, x), State(layer=state)
