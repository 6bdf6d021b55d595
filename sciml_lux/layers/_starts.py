"""How layers with a weight on the last axis, and convolutions, start if nothing else is asked for: `benchmarks/initialization.py` and
`initialization_layers.py` measure why."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float, Key

from . import init

# Uniform within 1 / sqrt(fan_in), which has the variance 1 / (3 fan_in).
DEFAULT_WEIGHT = init.lecun_uniform(gain=1.0 / math.sqrt(3.0))


def initial_affine(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    outputs: int,
    init_weight: Callable[..., Any],
    init_bias: Callable[..., Any] | None,
    use_bias: bool,
) -> dict[str, Float[Array, "..."]]:
    """`weight` of `shape`, `(*window, in, out)`, and `bias` `(outputs,)` if `use_bias`: by default uniform within `1 / sqrt(fan_in)`,
    `fan_in` the number of elements of the window times `in`, as `weight` is.

    A bias of its own start does not see how many inputs there are, so that the default is no initializer but None.
    """
    weight_key, bias_key = jax.random.split(key)
    weight = init_weight(weight_key, shape)
    if not use_bias:
        return {"weight": weight}
    if init_bias is None:
        bound = 1.0 / math.sqrt(max(1, math.prod(shape[:-1])))
        init_bias = init.uniform(-bound, bound)
    return {"weight": weight, "bias": init_bias(bias_key, (outputs,))}
