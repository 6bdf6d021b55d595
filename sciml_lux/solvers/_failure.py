"""What becomes of a solve that failed: an error that says what to try, or numbers that nobody can mistake for a result."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..core import failure_mode


def guard(values: Any, okay: Bool[Array, ""], result: Any, explain: Callable[[str], str], throw: bool) -> Any:
    """`values`, a tree with the floating-point arrays that a solver returned, made safe in case that it failed.

    With `throw`, and unless a fit has set `failure_mode` to `"nan"`, a failure raises an error at run time. Otherwise every
    number becomes NaN, and so does every gradient through it: the product with NaN, rather than a selection of NaN,
    whose derivative would be an innocent zero.

    **Arguments:** `values`: any tree, of which whatever is no floating-point array stays; `okay`: a traced truth value; `result`: the
    solver's own, an item of `optimistix.RESULTS` or a subclass; `explain`: from the solver's message to the one that is
    raised; `throw`.
    """
    if throw and failure_mode.value == "raise":
        messages = [explain(message) for message in type_of(result)._index_to_message]
        return eqx.internal.branched_error_if(values, ~okay, result._value, messages)
    factor = jnp.where(okay, 1.0, jnp.nan)
    return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype) if eqx.is_inexact_array(leaf) else leaf, values)


def type_of(result: Any) -> Any:
    """The enumeration that `result` is an item of: `diffrax.RESULTS`, `optimistix.RESULTS`, ..."""
    return result._enumeration
