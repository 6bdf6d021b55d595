"""What JAX knows about an array beside shape and dtype, and what of ours may therefore stand in for operations of JAX.

Within `jax.shard_map`, and on meshes of explicit axes, the type of an array says along which axes of the mesh it varies or is split.
JAX's operations carry this on: gradients are summed over the devices where they have to be, and a sum that was forgotten is
refused. An operation of our own that knows shape and dtype alone would drop it, and so steps aside.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, get_abstract_mesh

from .._errors import LayerError
from ._backend import on_cpu


def may_specialize(*arrays: Any) -> bool:
    """Whether operations of our own may stand in for those of JAX.

    They are made for CPUs, for sizes that are numbers (`jax.export` has symbols, which cannot be compared), and for arrays whose type
    says nothing of a mesh.
    """
    known = all(type(size) is int for array in arrays for size in array.shape)
    return known and on_cpu() and not any(_is_on_mesh(jax.typeof(array)) for array in arrays)


def check_off_mesh(name: str, *kinds: Any) -> None:
    """Raises `LayerError` if an operation of our own, called `name`, is asked what it makes of arrays of types that it would drop."""
    if any(map(_is_on_mesh, kinds)):
        raise LayerError(
            f"{name}: a program that was traced outside of jax.shard_map, or of a mesh of explicit axes, is run within, on arrays of "
            f"types {', '.join(map(str, kinds))}; trace it there, by calling the function instead of evaluating its jaxpr"
        )


def _is_on_mesh(kind: Any) -> bool:
    """Whether the type of an array says how it lies on a mesh."""
    return any(axis != AxisType.Auto for axis in kind.sharding.mesh.axis_types)


def within_shard_map() -> bool:
    """Whether what is traced runs on each device of a mesh by itself."""
    return AxisType.Manual in get_abstract_mesh().axis_types


def scan(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any = None, **options: Any) -> tuple[Any, Any]:
    """`lax.scan` of a carry as `carried` makes it."""
    if not within_shard_map():
        return lax.scan(step, carry, xs, **options)
    first = jax.tree.map(lambda leaf: leaf[0], xs)
    return lax.scan(step, carried(lambda carry: step(carry, first)[0], carry), xs, **options)


def carried(step: Callable[[Any], Any], carry: Any) -> Any:
    """What a loop of `step` starts from: within `jax.shard_map`, a carry that begins the same on all devices but does not stay so
    has to be declared as varying from the start."""
    if not within_shard_map():
        return carry
    for _ in jax.tree.leaves(carry):  # each turn reaches the parts that depend on those of the turn before
        promoted = jax.tree.map(_varying_like, carry, jax.eval_shape(step, carry))
        if all(a is b for a, b in zip(jax.tree.leaves(promoted), jax.tree.leaves(carry), strict=True)):
            break
        carry = promoted
    return carry


def _varying_like(array: Any, kind: Any) -> Any:
    axes = _varying(kind) - _varying(jax.typeof(array))
    return lax.pcast(array, tuple(sorted(axes)), to="varying") if axes else array


def _varying(kind: Any) -> frozenset[str]:
    return frozenset() if kind.manual_axis_type is None else kind.manual_axis_type.varying
