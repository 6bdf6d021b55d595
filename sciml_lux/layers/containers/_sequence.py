"""Along the axis of time: a layer step by step, and sequences backwards."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from ..._errors import ShapeError
from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters
from ...kernels import scan
from .._checks import axis_size, check_is_layer, check_mask, check_whole


class Scan(AbstractContainer):
    """A layer applied to every step of a sequence, with the same parameters; its state goes from each step into the next.

    For cells that hand a carry from step to step there is `Recurrence`; here only the state (statistics, keys, counters,
    whatever the layer keeps there) does. The steps run one after the other, in one compiled loop: a layer without
    state that takes leading axes is faster called as it is.

    **Arguments:** `layer`; `axis`: that of time, -2 by default (features come last).

    **Call:** `x`, an array `(..., time, features)` or a tree of them, of one length; the layer is called on `(..., features)`. Its
    results are stacked along `axis`, counted from the end of the result if negative.

    **Parameters** and **states:** `layer`: those of the layer.

    **Errors:** `LayerError` for an axis that is no whole number; `ShapeError` for an input without that axis, or with
    several lengths.
    """

    layer: AbstractLayer
    axis: int = -2

    def __post_init__(self) -> None:
        check_is_layer(self, layer=self.layer)
        check_whole(self, axis=self.axis)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        lengths = {axis_size(self, leaf, self.axis) for leaf in jax.tree.leaves(x)}
        if len(lengths) != 1:
            raise ShapeError(f"Scan: the input has sequences of the lengths {sorted(lengths)}; expected one length")

        def step(state: State, x: Any) -> tuple[State, Any]:
            y, state = self.layer(x, ps.layer, state)
            return state, y

        steps = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, self.axis, 0), x)
        state, ys = scan(step, st.layer, steps)
        for leaf in jax.tree.leaves(ys):
            axis_size(self, leaf, self.axis)
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, self.axis), ys), State(layer=state)


class ReverseSequence(AbstractLayer):
    """A sequence backwards; of padded sequences, the part before the padding, which stays where it is.

    **Arguments:** `axis`: that of time, -2 by default (features come last).

    **Call:** `x` gives `x` reversed along `axis`. A tuple `(x, mask)` gives `(y, mask)`: `mask` is True at the steps that count,
    which come first, and has the shape of `x` up to and including `axis`.

    **Parameters** and **states:** none.

    **Errors:** `LayerError` for an axis that is no whole number; `ShapeError` for an input without that axis, and for a mask
    of another shape or dtype.
    """

    axis: int = -2

    def __post_init__(self) -> None:
        check_whole(self, axis=self.axis)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        if isinstance(x, tuple):
            x, mask = x
            return (self._reversed(x, mask), mask), st
        axis_size(self, x, self.axis)
        return jnp.flip(x, self.axis), st

    def _reversed(self, x: Shaped[Array, "..."], mask: Any) -> Shaped[Array, "..."]:
        length = axis_size(self, x, self.axis)
        axis = self.axis % x.ndim
        check_mask(self, mask, x.shape[: axis + 1], f"an input of shape {x.shape}")
        steps = jnp.broadcast_to(jnp.arange(length), mask.shape)
        count = jnp.sum(mask, axis=-1, keepdims=True)
        source = jnp.where(steps < count, count - 1 - steps, steps)
        source = source.reshape(mask.shape + (1,) * (x.ndim - axis - 1))
        return jnp.take_along_axis(x, jnp.broadcast_to(source, x.shape), axis=axis)
