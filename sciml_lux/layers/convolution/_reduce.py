"""Reductions over windows, of which pooling is made: the first largest element, the sum, the norm."""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ...kernels import inverse_unit
from ...kernels.convolution import Sizes, Window

_FEW = 8  # elements of a window up to which they are compared one by one


def window_maximum(x: Float[Array, "..."], window: Window, first_axis: int) -> Float[Array, "..."]:
    """The largest element in each window over the axes from `first_axis` on; NaN where there is one.

    The gradient goes to the first largest element in C order, as in PyTorch. `lax.reduce_window` does the same, but its gradient took
    8 to 30 times as long on a CPU. Reducing one axis after the other, the last one first, keeps the order.
    """
    for i in reversed(range(len(window.kernel))):
        axis, low, high = first_axis + i, *window.padding[i]
        if low or high:
            pads = [(low, high) if other == axis else (0, 0) for other in range(x.ndim)]
            x = jnp.pad(x, pads, constant_values=-np.inf)
        x = _maximum_along(x, axis, window.kernel[i], window.stride[i], window.dilation[i])
    return x


def window_sum(x: Float[Array, "..."], window: Window, first_axis: int) -> Float[Array, "..."]:
    """The sum of each window over the axes from `first_axis` on; padding is 0."""
    before, behind = first_axis, x.ndim - first_axis - len(window.kernel)

    def all_axes(sizes: Sizes) -> Sizes:
        return (1,) * before + sizes + (1,) * behind

    padding = [*[(0, 0)] * before, *window.padding, *[(0, 0)] * behind]
    zero = np.zeros((), x.dtype)  # concrete, or the sum is not recognized as one that can be differentiated
    return lax.reduce_window(
        x, zero, lax.add, all_axes(window.kernel), all_axes(window.stride), padding, None, all_axes(window.dilation)
    )


def segment_maximum(x: Float[Array, "..."], bounds: Sequence[tuple[int, int]], axis: int) -> Float[Array, "..."]:
    """The largest elements within each of the ranges along an axis; the gradient as in `window_maximum`."""
    parts = [
        _maximum_along(lax.slice_in_dim(x, start, stop, axis=axis), axis, stop - start, 1, 1) for start, stop in bounds
    ]
    return jnp.concatenate(parts, axis)


def segment_sum(x: Float[Array, "..."], bounds: Sequence[tuple[int, int]], axis: int) -> Float[Array, "..."]:
    """The sums over each of the ranges along an axis."""
    parts = [lax.slice_in_dim(x, start, stop, axis=axis) for start, stop in bounds]
    return jnp.concatenate([jnp.sum(part, axis, keepdims=True) for part in parts], axis)


def window_norm(x: Float[Array, "..."], p: float | int, window: Window, first_axis: int) -> Float[Array, "..."]:
    """The p-norm of each window over the axes from `first_axis` on; padding is 0.

    A norm of norms is a norm, so that one axis goes after the other.
    """
    for i in reversed(range(len(window.kernel))):
        axis = first_axis + i
        if any(window.padding[i]):
            x = jnp.pad(x, [window.padding[i] if other == axis else (0, 0) for other in range(x.ndim)])
        x = _norm(jnp.stack(_taps(x, axis, window.kernel[i], window.stride[i], window.dilation[i])), p, 0)[0]
    return x


def segment_norm(
    x: Float[Array, "..."], p: float | int, bounds: Sequence[tuple[int, int]], axis: int
) -> Float[Array, "..."]:
    """The p-norms over each of the ranges along an axis."""
    return jnp.concatenate([_norm(lax.slice_in_dim(x, *each, axis=axis), p, axis) for each in bounds], axis)


def norm_over(x: Float[Array, "..."], p: float | int, axes: tuple[int, ...], keepdims: bool) -> Float[Array, "..."]:
    """The p-norm over some axes."""
    y = _norm(x, p, axes)
    return y if keepdims else jnp.squeeze(y, axes)


def _norm(x: Float[Array, "..."], p: float | int, axes: int | tuple[int, ...]) -> Float[Array, "..."]:
    """`(sum |x|**p)**(1/p)`; where all is 0, its gradient is 0, which the root has none of."""
    per_unit, _ = inverse_unit(jnp.max(jnp.abs(lax.stop_gradient(x)), axes, keepdims=True))
    total = jnp.sum(_power(x * per_unit, p), axes, keepdims=True)
    positive = total > 0
    safe = jnp.where(positive, total, 1)
    rooted = lax.sqrt(safe) if p == 2 else safe ** (1.0 / p)
    return jnp.where(positive, rooted, total) / per_unit


def _power(x: Float[Array, "..."], p: float | int) -> Float[Array, "..."]:
    """`|x|**p`. Whole exponents are made of products."""
    whole = int(p) if p == int(p) else None
    if whole is not None and whole % 2 == 0:
        return x**whole
    # Not jnp.abs, whose derivative at 0 is 1.
    return (x * jnp.sign(x)) ** (p if whole is None else whole)


def filled(window: Window, sizes: Sizes) -> list[Float[np.ndarray, " places"]]:
    """Along each axis, how many elements of each window are not padding."""
    counts = []
    for size, places, kernel, stride, (low, _), step in zip(
        sizes, window.positions(sizes), window.kernel, window.stride, window.padding, window.dilation, strict=True
    ):
        elements = np.arange(places)[:, None] * stride + np.arange(kernel)[None, :] * step - low
        counts.append(np.sum((elements >= 0) & (elements < size), axis=1).astype(float))
    return counts


def _taps(x: Float[Array, "..."], axis: int, size: int, stride: int, step: int) -> list[Float[Array, "..."]]:
    """The first elements of all windows along an axis, the second ones, and so on."""
    span = (x.shape[axis] - (size - 1) * step - 1) // stride * stride + 1
    return [lax.slice_in_dim(x, i * step, i * step + span, stride, axis) for i in range(size)]


def _maximum_along(x: Float[Array, "..."], axis: int, size: int, stride: int, step: int) -> Float[Array, "..."]:
    places = (x.shape[axis] - (size - 1) * step - 1) // stride + 1
    span = (places - 1) * stride + 1

    def shifted(x: Float[Array, "..."], start: int, span: int, stride: int = 1) -> Float[Array, "..."]:
        return lax.slice_in_dim(x, start, start + span, stride, axis)

    if size <= _FEW:
        return functools.reduce(_first_larger, _taps(x, axis, size, stride, step))
    # Windows of 2, 4, 8 ... elements, each out of two of half the size; the last two overlap.
    done = 1
    while done < size:
        more = min(done, size - done)
        span_now = x.shape[axis] - more * step
        x = _first_larger(shifted(x, 0, span_now), shifted(x, more * step, span_now))
        done += more
    return shifted(x, 0, span, stride)


def _first_larger(first: Float[Array, "..."], second: Float[Array, "..."]) -> Float[Array, "..."]:
    replaces: Bool[Array, "..."] = (second > first) | (second != second)
    return jnp.where(replaces, second, first)
