"""One text of the steps for two kinds of arrays: JAX's, compiled with what is solved, or NumPy's, on the host.

A single solve on the host compiles residual and Jacobian alone: the steps between, some hundred operations on a few numbers each, take
NumPy as long as XLA, which would need a second to compile them. A batch of solves compiles both.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

if TYPE_CHECKING:
    Numbers = jax.Array | np.ndarray[Any, Any]
else:
    Numbers = jax.Array | np.ndarray | np.generic

_Carry = TypeVar("_Carry")


def namespace_of(array: Numbers) -> Any:
    """`jax.numpy` or `numpy`, of which the array is."""
    return jnp if isinstance(array, jax.Array) else np


def branch(predicate: Numbers | np.bool_, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """`lax.cond`; on the host only what is asked for."""
    if isinstance(predicate, jax.Array):
        return lax.cond(predicate, yes, no)
    return yes() if predicate else no()


def choose(condition: Numbers | np.bool_, one: Numbers | float | int, other: Numbers | float | int) -> Any:
    """`jnp.where` of a condition that is one number; on the host, where arrays of one number cost as much as others, one of the two."""
    if isinstance(condition, jax.Array):
        return jnp.where(condition, one, other)
    found, beside = (one, other) if condition else (other, one)
    return found if isinstance(found, np.ndarray | np.generic) else np.asarray(beside).dtype.type(found)


def repeat_while(goes_on: Callable[[_Carry], Any], body: Callable[[_Carry], _Carry], carry: _Carry) -> _Carry:
    """`lax.while_loop`, or a loop on the host."""
    if isinstance(goes_on(carry), jax.Array):
        return lax.while_loop(goes_on, body, carry)
    while goes_on(carry):
        carry = body(carry)
    return carry


def repeat(times: int, body: Callable[[_Carry], _Carry], carry: _Carry) -> _Carry:
    """`lax.fori_loop` of one array, or a loop on the host."""
    if isinstance(carry, jax.Array):
        return lax.fori_loop(0, times, lambda _, carry: body(carry), carry)
    for _ in range(times):
        carry = body(carry)
    return carry


def decomposed(matrix: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The singular value decomposition `U, S, V^T` of a finite matrix; NaN where LAPACK finds none."""
    xp = namespace_of(matrix)
    try:
        left, values, right = xp.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:  # XLA says NaN
        rank = min(matrix.shape)
        left, values, right = (
            xp.full(shape, np.nan, matrix.dtype)
            for shape in ((matrix.shape[0], rank), (rank,), (rank, matrix.shape[1]))
        )
    return left, values, right
