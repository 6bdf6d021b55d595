"""A layer together with its parameters and state, for interactive work."""

from typing import Any

import jax
from jax.core import Tracer
from jax.extend.core import get_opaque_trace_state

from ..._errors import LayerError
from ...core import AbstractLayer, as_params, as_state, check_layer


class StatefulLayer:
    """A layer that keeps its parameters and state: `y = model(x)`. For notebooks, plots and callbacks; it is no layer itself.

        model = lux.StatefulLayer(layer, fitted.ps, lux.test_mode(fitted.st))
        y = model(x)                                  # model.st is the new state
        model.st = lux.train_mode(model.st)

    **Arguments** and **attributes:** `layer`, which stays; `ps`, `st`, which can be set.

    **Call:** any `x` that the layer takes gives its result; `st` becomes the state that came back.

    **Errors:** those of the layer; `LayerError` for a call inside `jax.jit` or another transformation that would leave traced state
    here. Compiled code calls the layer itself.
    """

    def __init__(self, layer: AbstractLayer, ps: Any, st: Any) -> None:
        check_layer(layer)
        as_params(ps)
        self._layer, self._trace = layer, get_opaque_trace_state()
        self.ps, self.st = ps, as_state(st)

    @property
    def layer(self) -> AbstractLayer:
        """The layer itself."""
        return self._layer

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        y, st = self.layer(x, self.ps, self.st, *args, **kwargs)
        traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(st))
        if traced and get_opaque_trace_state() != self._trace:
            raise LayerError(
                "this StatefulLayer was made outside of the transformation (jax.jit, jax.grad, jax.vmap, lax.scan, ...) in which it is "
                "called, so that its new state would leak out of it; call y, st = model.layer(x, ps, st) there and return st"
            )
        self.st = st
        return y

    def __repr__(self) -> str:
        return f"StatefulLayer of {self.layer!r}"
