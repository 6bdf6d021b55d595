"""Runs of layers with the samples on the last axis.

A `Dense` layer treats each sample alone, so that `(features, samples)` serves as well as `(samples, features)`. On a CPU it serves
better: the vector units run along the samples, of which there are many, instead of along a few features, and a bias is added, and
its gradient summed up, along contiguous memory. With few samples, or with layers nearly as wide as there are samples, nothing is
gained. XLA does not find this by itself: it undoes transpositions around single products. `benchmarks/layers.py` trains small
networks this way.

A layer joins by `register_on_columns`, under the very function that its form for columns stands for: a subclass with another `__call__`
runs as it is written.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..core import is_observed, locate, named_by_path
from ..flatten import Parameters, Params
from ..kernels import may_specialize

# Functions that are known to act on each number alone: a softmax in their place would go along the wrong axis.
ELEMENTWISE = frozenset(
    {
        None,
        *(jnp.tanh, jnp.sin, jnp.cos, jnp.exp, jnp.abs, jnp.square, jnp.arctan, lax.tanh, lax.logistic),
        *(jax.nn.relu, jax.nn.relu6, jax.nn.leaky_relu, jax.nn.elu, jax.nn.celu, jax.nn.selu, jax.nn.gelu),
        *(jax.nn.sigmoid, jax.nn.silu, jax.nn.softplus, jax.nn.log_sigmoid, jax.nn.soft_sign, jax.nn.mish),
        *(jax.nn.hard_tanh, jax.nn.hard_sigmoid, jax.nn.hard_silu, jax.nn.squareplus, jax.nn.identity),
    }
)
_FEWEST_SAMPLES = 128


def is_elementwise(activation: Any) -> bool:
    """Whether this very function is known to act on each number alone; another one that compares as equal may do anything."""
    return any(activation is known for known in ELEMENTWISE)


class OnColumns(NamedTuple):
    """How a kind of layer runs on columns.

    `sizes`: `(in_features, out_features)` of a layer, or None if it cannot after all; `run`: the result, `(out, samples)`, for a layer,
    samples `(in, samples)` and its parameters. The state is empty, and stays.
    """

    sizes: Callable[[Any], tuple[int, int] | None]
    run: Callable[[Any, Array, Parameters], Array]


_FORMS: dict[Callable[..., Any], OnColumns] = {}


def register_on_columns(
    call: Callable[..., Any],
    sizes: Callable[[Any], tuple[int, int] | None],
    run: Callable[[Any, Array, Parameters], Array],
) -> None:
    """Declares that `run` gives what `call` gives, the `__call__` of a class, with the samples in columns."""
    _FORMS[call] = OnColumns(sizes, run)


def length_of_run(layers: Sequence[Any], x: Any) -> int:
    """How many of the first `layers` should run on columns for an input like `x`: 0, or at least 2."""
    if is_observed() or not isinstance(x, jax.Array | np.ndarray) or x.ndim < 2 or not may_specialize(x):
        return 0
    samples, features = math.prod(x.shape[:-1]), x.shape[-1]
    if samples < _FEWEST_SAMPLES or not jnp.issubdtype(x.dtype, jnp.floating):
        return 0
    widest, length = features, 0
    for layer in layers:
        form = _FORMS.get(type(layer).__call__)
        sizes = form and form.sizes(layer)
        if sizes is None or sizes[0] != features or max(widest, sizes[1]) > samples // 2:
            break
        widest, features, length = max(widest, sizes[1]), sizes[1], length + 1
    return length if length >= 2 else 0


def run_on_columns(layers: Sequence[Any], x: Float[Array, "... in"], ps: Sequence[Params]) -> Float[Array, "... out"]:
    """The layers one after the other, on columns; shapes outside are as always."""
    # The barriers keep the transpositions out of the products and sums next to them, which would then run along short rows
    # again; in a training loop the one of the data leaves the loop.
    columns = lax.optimization_barrier(x.reshape(-1, x.shape[-1]).T)
    for layer, own in zip(layers, ps, strict=True):
        try:
            with named_by_path(layer, own):
                columns = _FORMS[type(layer).__call__].run(layer, columns, own)
        except Exception as error:
            locate(error, layer, own)
            raise
    return lax.optimization_barrier(columns).T.reshape(*x.shape[:-1], -1)
