"""Quantities that follow from the parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from ..._errors import LayerError
from ...flatten import Params
from .._uncertainty import uncertainty
from ._estimate import Estimate


class Derived(NamedTuple):
    """`values`, as the function returned them, and their standard errors `stderr`, in the same structure: infinite for what the data do not
    determine, NaN for what depends on parameters on a bound alone."""

    values: Any
    stderr: Any


def derived(estimate: Estimate, function: Callable[[Params], Any]) -> Derived:
    """The delta method: `G C G^T`, with `G` the derivative of the function by the vector. **Errors:** `LayerError` for a function whose
    result is not made of floating-point numbers."""
    layout = estimate.point.layout

    def numbers(vector: jax.Array) -> jax.Array:
        return ravel_pytree(function(layout.unravel(vector)))[0]

    values = function(estimate.values)
    flat, unravel = ravel_pytree(values)
    if not np.issubdtype(flat.dtype, np.floating):
        raise LayerError(
            f"a derived quantity is made of floating-point numbers, got {flat.dtype}; compute it with jax.numpy from the parameters"
        )
    rates = np.asarray(jax.jacfwd(numbers)(estimate.point.vector), np.float64)
    epsilon = float(np.finfo(layout.dtype).eps)
    found = uncertainty(estimate.information.root, rates, 1.0, epsilon, estimate.sides)
    stderr = unravel(jax.numpy.asarray(found.stderr, flat.dtype))
    # JAX returns mappings with their keys sorted.
    return Derived(values, {key: stderr[key] for key in values} if isinstance(values, dict) else stderr)
