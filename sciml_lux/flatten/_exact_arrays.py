"""Values that are kept or refused: what becomes another value on its way into a vector, an array or a tie is an error.

Numbers that are known are compared and refused with the reason. Traced ones are compared when the program runs: what would not be
kept becomes NaN, as a failure is shown wherever nothing can be raised.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from .._errors import LayoutError
from ..kernels import is_traced


def as_array(value: Any, dtype: Any = None, what: str = "the array", error: type[Exception] = LayoutError) -> Array:
    """`value` as a JAX array of `dtype` (default: what JAX makes of its own), if that holds every number of it.

    Rounding is allowed, infinity is not: float64 1e300 is no float32; nor is 2**40 an int32, to which JAX turns integers unless x64
    is on. Traced values are converted as JAX does it. What others may write into later is copied.

    **Arguments:** `what`: what to call it in a message. **Errors:** `error`, by default `LayoutError`.
    """
    if is_traced(value):
        return jnp.asarray(value, dtype)
    own = value.dtype if isinstance(value, jax.Array) else None
    if own is not None and (dtype is None or own == dtype or jnp.issubdtype(own, jax.dtypes.extended)):
        return value
    given = np.asarray(value)
    wanted = np.dtype(jax.dtypes.canonicalize_dtype(given.dtype if dtype is None else dtype))
    if given.dtype.kind in "biufcV":
        given = as_dtype(given, wanted, what, error)
    return jnp.array(given if own is None else value, dtype)


def as_dtype(given: np.ndarray, wanted: np.dtype, what: str, error: type[Exception] = LayoutError) -> np.ndarray:
    """Numbers of NumPy in the dtype `wanted`, if that holds every one of them. **Errors:** `error`, as `as_array`."""
    if np.iscomplexobj(given) and not jnp.issubdtype(wanted, jnp.complexfloating):
        raise error(f"{what}: got complex numbers, expected real ones ({wanted}); write value.real if that is meant")
    if given.dtype == wanted:
        return given
    with np.errstate(over="ignore", invalid="ignore"):
        made = given.astype(wanted)
    if jnp.issubdtype(wanted, jnp.integer):
        lost = np.asarray(made.astype(given.dtype) != given)  # it wrapped around
    else:
        lost = np.asarray(np.isfinite(given) & ~np.isfinite(made))
    if np.any(lost):
        raise error(
            f"{what}: got {given[lost].reshape(-1)[0]} of {given.dtype}, which no {wanted} holds (the largest is {_largest(wanted)}); "
            'write it in other units, or jax.config.update("jax_enable_x64", True) first, and dtype=jnp.float64 where one is given'
        )
    return made


def owned(value: Any) -> Any:
    """`value`, an array of NumPy's copied: whoever gave it may write into it."""
    return value.copy() if isinstance(value, np.ndarray) else value


def _largest(dtype: np.dtype) -> Any:
    return jnp.iinfo(dtype).max if jnp.issubdtype(dtype, jnp.integer) else jnp.finfo(dtype).max


def agree(given: Any, shown: Any, batch_axes: int = 0, *, exactly: bool) -> bool | Bool[Array, "*batch"]:
    """Whether two trees of arrays hold the same numbers: the same, -0.0 told from 0.0, or the same but for rounding.

    Rounding is up to `sqrt(eps)` of the largest number, as maps that solve equations lose half of the digits. Known numbers give
    True or False; traced ones an array, along the leading axes.
    """
    one, other = jax.tree.leaves(given), jax.tree.leaves(shown)
    if len(one) != len(other):
        return False
    pairs = list(zip(one, other, strict=True))
    if all(a is b for a, b in pairs):
        return True
    if not is_traced(given, shown):
        return all(bool(np.all(_same(np, np.asarray(a), np.asarray(b), batch_axes, exactly))) for a, b in pairs)
    kept: Any = True
    for a, b in pairs:
        kept = kept & _same(jnp, jnp.asarray(a), jnp.asarray(b), batch_axes, exactly)
    return kept


def nan_unless(kept: Any, numbers: Any) -> Any:
    """`numbers`, or NaN where what they stand for was not kept; `kept` is along their leading axes."""
    return numbers if kept is True else jnp.where(jnp.expand_dims(kept, -1), numbers, jnp.nan)


def _same(numpy: Any, given: Any, shown: Any, batch_axes: int, exactly: bool) -> Any:
    given = numpy.broadcast_to(given.astype(shown.dtype), shown.shape)
    same = (given == shown) | (numpy.isnan(given) & numpy.isnan(shown))
    axes = tuple(range(batch_axes, shown.ndim))
    if exactly:
        for part in (numpy.real, numpy.imag) if numpy.iscomplexobj(shown) else (numpy.asarray,):
            zeros = (part(given) == 0) & (part(shown) == 0)
            same = same & ~(zeros & (numpy.signbit(part(given)) != numpy.signbit(part(shown))))
        return numpy.all(same, axis=axes)
    sizes = numpy.where(numpy.isfinite(shown), numpy.abs(shown), 0)
    tolerance = float(jnp.finfo(shown.dtype).eps) ** 0.5 * numpy.max(sizes, axis=axes, keepdims=True, initial=0)
    both = numpy.isfinite(given) & numpy.isfinite(shown)
    difference = numpy.abs(numpy.where(both, given, 0) - numpy.where(both, shown, 0))
    return numpy.all(same | (both & (difference <= tolerance)), axis=axes)
