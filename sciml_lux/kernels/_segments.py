"""Cutting a vector into segments, and joining them: the two operations that everything flat rests on.

Both are `lax.split` and one `lax.concatenate`. On the CPU they are compiled apart from what surrounds them, because XLA's CPU
backend would otherwise fuse them with it, at a price that is out of proportion:

- A segment that is fused into its consumer makes that consumer's kernel its own (every offset is another constant), so that fifty
  equal layers become fifty kernels to compile instead of one.
- A concatenate that is fused with a reshape of its operands is emitted as a chain of comparisons for each element, where alone
  it copies memory.

Where there are many segments, they are cut at offsets that the compiler cannot see through, so that all segments of one length
share one kernel. Where there are few, the small ones (biases) are left to be fused with what consumes them, which saves their
kernels.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Shaped

from ._backend import compiled_apart, on_cpu

_FEW = 16  # segments up to which a kernel each is cheap to compile
_SMALL = 2048  # numbers up to which a segment may as well be read in place


def split(vector: Shaped[Array, "*batch size"], sizes: tuple[int, ...]) -> Sequence[Shaped[Array, "..."]]:
    """The consecutive segments of the last axis with these sizes. Its transpose is one `concatenate`."""
    if not sizes:
        return ()
    # A concrete vector has no tangent; inside vmap, custom_jvp would return tracers for it, which cannot be kept.
    return _split(sizes, vector) if isinstance(vector, Tracer) else _primal_split(sizes, vector)


def concatenate(segments: Sequence[Shaped[Array, "..."]]) -> Shaped[Array, "..."]:
    """The segments end to end along the last axis."""
    return compiled_apart(_join)(*segments)


def _primal_split(sizes: tuple[int, ...], vector: Any) -> Any:
    if vector.ndim > 1 or not on_cpu():
        return _plain_split(sizes, vector)
    return _few_split(sizes, vector) if len(sizes) <= _FEW else _shared_split(sizes, vector)


_split = jax.custom_jvp(_primal_split, nondiff_argnums=(0,))


@_split.defjvp
def _split_jvp(sizes: tuple[int, ...], primals: Any, tangents: Any) -> Any:
    # The tangent is cut by the plain operation, whose transpose is a concatenate.
    return _split(sizes, *primals), _plain_split(sizes, *tangents)


def _plain_split(sizes: tuple[int, ...], vector: Any) -> Any:
    return tuple(compiled_apart(_cut)(vector, sizes))


@functools.partial(jax.jit, static_argnums=1)
def _cut(vector: Any, sizes: tuple[int, ...]) -> Any:
    return lax.split(vector, sizes, axis=vector.ndim - 1)


def _few_split(sizes: tuple[int, ...], vector: Any) -> Any:
    large, small = compiled_apart(_cut)(vector, sizes), _cut(vector, sizes)  # what is not used of each is dropped
    return tuple(a if size > _SMALL else b for a, b, size in zip(large, small, sizes, strict=True))


@jax.jit
def _join(*segments: Any) -> Any:
    return lax.concatenate(segments, dimension=segments[0].ndim - 1)


def _shared_split(sizes: tuple[int, ...], vector: Any) -> Any:
    """Each segment is cut by a call that also returns the offset of the next, as numbers that are known only at run time."""
    zero = (jnp.isnan(vector[0]) & jnp.isfinite(vector[0])).astype(np.int32)  # always 0, but the compiler does not know
    lengths = {size: zero + np.int32(size) for size in set(sizes)}
    offset, segments = zero, []
    for size in sizes:
        segment, offset = compiled_apart(_cut_one)(vector, offset, lengths[size], size)
        segments.append(segment)
    return tuple(segments)


@functools.partial(jax.jit, static_argnums=3)
def _cut_one(vector: Any, offset: Any, length: Any, size: int) -> Any:
    return lax.dynamic_slice(vector, (offset,), (size,), allow_negative_indices=False), lax.add(offset, length)
