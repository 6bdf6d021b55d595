"""The largest of several layers' results."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..._errors import LayerError, ShapeError
from ...core import State
from ...flatten import Parameters
from ..containers._named_layers import AbstractNamedLayers


class Maxout(AbstractNamedLayers):
    """The elementwise maximum of what several layers make of one input, `y = max(layer_0(x), layer_1(x), ...)`.

        lux.Maxout(*[lux.Dense(3, 5) for _ in range(4)])     # convex and piecewise linear

    **Arguments:** layers, or functions, by position (`layer_0`, ...) or by name, at least one.

    **Call:** `x` goes to each; the results have one shape, which is that of `y`.

    **Parameters** and **states:** those of the layers, by name.

    **Errors:** `LayerError` for no layers; `ShapeError` for results of several shapes.

    **Source:** Goodfellow et al. 2013, Maxout Networks.
    """

    def __init__(self, *layers: Any, **named: Any) -> None:
        super().__init__(*layers, **named)
        if not self.layers:
            raise LayerError(
                "Maxout takes at least one layer, got none; write lux.Maxout(lux.Dense(3, 5), lux.Dense(3, 5))"
            )

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Array, State]:
        results, states = {}, {}
        for name, layer in self.layers:
            results[name], states[name] = layer(x, ps[name], st[name])
        shapes = {
            name: jnp.shape(result) if isinstance(result, jax.Array) else None for name, result in results.items()
        }
        if len(set(shapes.values())) != 1 or None in shapes.values():
            raise ShapeError(f"Maxout: the layers must return arrays of one shape, got {shapes}")
        largest, *rest = results.values()
        for result in rest:
            largest = jnp.maximum(largest, result)
        return largest, State({**st, **states})
