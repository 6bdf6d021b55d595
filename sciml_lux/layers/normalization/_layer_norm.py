"""`LayerNorm` and `RMSNorm`: statistics over the last axes."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from ..._errors import ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import inverse_unit, widened
from .. import init
from .._checks import check_positive
from ._statistics import Over, across, affine_parameters, check_options, finished, moments


class LayerNorm(AbstractLayer):
    """Each sample normalized over its last axes, `y = activation((x - mean) / sqrt(var + epsilon) * weight + bias)`.

    Mean and biased variance are those of the last axes, each element of which has a weight and a bias of its own.

    **Arguments:** `shape`: of the last axes, a number for one; `activation`: an elementwise function, or None; `epsilon`; `affine`:
    whether to scale and shift; `use_bias`: whether to shift; `init_weight`, `init_bias`: ones and zeros.

    **Call:** `x` of shape `(..., *shape)` gives the same shape. Statistics are computed in float32 at least.

    **Parameters:** if `affine`: `weight` of `shape`; `bias` of `shape` if `use_bias`. **States:** none; train and test mode
    are the same.

    **Errors:** `LayerError` for arguments that cannot be; `ShapeError` for other last axes.

    **Source:** Ba, Kiros and Hinton 2016, Layer Normalization.
    """

    shape: int | tuple[int, ...]
    activation: Callable[[Any], Any] | None = None
    epsilon: float = 1e-5
    affine: bool = True
    use_bias: bool = True
    init_weight: Callable[..., Any] = init.ones()
    init_bias: Callable[..., Any] = init.zeros()

    def __post_init__(self) -> None:
        _check_shape(self, self.shape)
        check_options(self)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return affine_parameters(self, key, _as_tuple(self.shape))

    def __call__(self, x: Float[Array, "..."], ps: Parameters, st: State) -> tuple[Float[Array, "..."], State]:
        over = Over(_last_axes(self, x, self.shape))
        deviation, rest, inverse_std, _, _ = moments(widened(x), over, self.epsilon)
        return finished(self, deviation, rest, inverse_std, ps, x.dtype), st


class RMSNorm(AbstractLayer):
    """Each sample divided by the root mean square of its last axes, `y = x / sqrt(mean(x**2) + epsilon) * weight`.

    **Arguments:** `shape`: of the last axes, a number for one; `epsilon` (PyTorch's default is that of the dtype, here it is
    1e-5 in all); `affine`: whether to scale; `init_weight`: ones.

    **Call:** `x` of shape `(..., *shape)` gives the same shape. The mean square is computed in float32 at least.

    **Parameters:** `weight` of `shape` if `affine`. **States:** none; train and test mode are the same.

    **Errors:** `LayerError` for arguments that cannot be; `ShapeError` for other last axes.

    **Source:** Zhang and Sennrich 2019, Root Mean Square Layer Normalization.
    """

    shape: int | tuple[int, ...]
    epsilon: float = 1e-5
    affine: bool = True
    init_weight: Callable[..., Any] = init.ones()

    def __post_init__(self) -> None:
        _check_shape(self, self.shape)
        check_options(self)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"weight": self.init_weight(key, _as_tuple(self.shape))} if self.affine else {}

    def __call__(self, x: Float[Array, "..."], ps: Parameters, st: State) -> tuple[Float[Array, "..."], State]:
        over, numbers = Over(_last_axes(self, x, self.shape)), widened(x)
        per_unit, root_epsilon = inverse_unit(over.largest(jnp.abs(lax.stop_gradient(numbers))), self.epsilon)
        numbers = numbers * per_unit
        y = numbers * lax.rsqrt(over.mean(jnp.square(numbers)) + jnp.square(root_epsilon))
        if self.affine:
            y = y * across(ps.weight, y)
        return y.astype(x.dtype), st


def _as_tuple(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    return shape if isinstance(shape, tuple) else (shape,)


def _check_shape(layer: AbstractLayer, shape: Any) -> None:
    sizes = _as_tuple(shape)
    if not sizes:
        check_positive(layer, shape=shape)
    for size in sizes:
        check_positive(layer, shape=size)


def _last_axes(layer: AbstractLayer, x: Any, shape: int | tuple[int, ...]) -> tuple[int, ...]:
    """The axes to normalize over, counted from the end, after the check that they have `shape`."""
    sizes = _as_tuple(shape)
    if x.shape[max(x.ndim - len(sizes), 0) :] != sizes:
        raise ShapeError(f"{type(layer).__name__} expects last axes of shape {sizes}, got an input of shape {x.shape}")
    return tuple(range(-len(sizes), 0))
