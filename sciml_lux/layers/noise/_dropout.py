"""`Dropout` and `VariationalDropout`: numbers set to zero at random."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State, Training
from .._checks import check_number


class Dropout(AbstractLayer):
    """In train mode, each number is set to zero with probability `p` and divided by `1 - p` otherwise, which keeps the mean.

    The variance grows: that of a constant `c` is `c**2 * p / (1 - p)`. In test mode, `y = x`.

    **Arguments:** `p`: 0 (nothing is dropped) to 1 (everything is); `broadcast_axes`: those along which one decision is shared, so that
    they are kept or dropped as one: `(-3, -2)` drops whole channels of images. Negative ones count from the end.

    **Call:** `x` of any shape gives the same shape. Mapped over with one state, all inputs share a mask; map over the keys too.

    **Parameters:** none. **States:** `key`, advanced by each call in train mode; `training`.

    **Errors:** `LayerError` for arguments that cannot be; `ShapeError` for an input that lacks one of the axes.

    **Source:** Srivastava et al. 2014, Dropout.
    """

    p: float = 0.5
    broadcast_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_options(self)

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"key": key, "training": Training()}

    def __call__(self, x: Float[Array, "..."], ps: Any, st: State) -> tuple[Float[Array, "..."], State]:
        shape = _mask_shape(self, x)
        if not st.training:
            return x, st
        now, later = jax.random.split(st.key)
        return _dropped(x, kept(now, self.p, shape), self.p), st.set("key", later)


class VariationalDropout(AbstractLayer):
    """Dropout whose mask stays the same from call to call until it is asked to change.

        st = lux.update_state(st, "update_mask", True)     # a new mask for the next call, and those after it

    This is what a solver needs, which calls its model many times and must see one function, and what is meant by variational
    dropout over the steps of a sequence. The state holds no mask but the key from which each call draws it: the same key gives the
    same mask for inputs of one shape, and the state's structure depends on no input. When `update_mask` is true, a call
    in train mode first advances the key, and returns a state in which it is false. A solver that holds the state constant
    thus sees one mask too, and the call after it sees the same.

    **Arguments** and **call:** as for `Dropout`. **Parameters:** none.

    **States:** `key`; `update_mask`, a boolean scalar, false at the start; `training`.

    **Errors:** as for `Dropout`.

    **Source:** Gal and Ghahramani 2016, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks.
    """

    p: float = 0.5
    broadcast_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_options(self)

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"key": key, "update_mask": jnp.zeros((), bool), "training": Training()}

    def __call__(self, x: Float[Array, "..."], ps: Any, st: State) -> tuple[Float[Array, "..."], State]:
        shape = _mask_shape(self, x)
        if not st.training:
            return x, st
        key = jnp.where(st.update_mask, jax.random.split(st.key)[1], st.key)
        updated = State(key=key, update_mask=jnp.zeros((), bool), training=st.training)
        return _dropped(x, kept(key, self.p, shape), self.p), updated


def kept(key: Key[Array, ""], p: float | int, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """True with probability `1 - p`. Always from float32, so that a key gives the same mask whatever the precision."""
    return jax.random.bernoulli(key, np.float32(1.0 - p), shape)


def _dropped(x: Float[Array, "..."], mask: Bool[Array, "..."], p: float | int) -> Float[Array, "..."]:
    # Chosen, not multiplied by the mask: what is dropped is 0 even if it is not finite.
    return jnp.where(jnp.broadcast_to(mask, x.shape), x * (1.0 / (1.0 - p) if p < 1 else 0.0), 0.0)


def _check_options(layer: Any) -> None:
    check_number(layer, 0.0, 1.0, p=layer.p)
    axes = layer.broadcast_axes
    if not isinstance(axes, tuple) or any(isinstance(axis, bool) or not isinstance(axis, int) for axis in axes):
        raise LayerError(f"{type(layer).__name__}: broadcast_axes is a tuple of axes such as (-3, -2), got {axes!r}")


def _mask_shape(layer: Any, x: Any) -> tuple[int, ...]:
    """The shape of `x`, with 1 along the axes that share a decision."""
    axes = layer.broadcast_axes
    if any(not -x.ndim <= axis < x.ndim for axis in axes):
        raise ShapeError(
            f"{type(layer).__name__} shares its mask along the axes {axes}, got an input of shape {x.shape}, which lacks one"
        )
    shared = {axis % x.ndim for axis in axes}
    return tuple(1 if axis in shared else size for axis, size in enumerate(x.shape))
