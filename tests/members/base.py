"""What a member of the conformance suites is."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux
from sciml_lux.flatten import AbstractRavelMap


def array(*shape: int) -> jax.Array:
    """Numbers without a pattern, away from 0 where activations have kinks."""
    count = np.arange(1.0, 1.0 + np.prod(shape, dtype=int))
    return jnp.asarray((np.sin(count**2) + 0.01).reshape(shape))


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer with an input.

    `make` builds it, anew at each call; `x`: an input; `mapped`: whether a batch of inputs may be mapped over;
    `dtypes`: those in which it runs; `rtol`: of the finite differences; `names`: what its repr needs in scope;
    `slow`: whether its tests are left to `make test-slow`, for a variant that compiles long and differs little.
    """

    name: str
    make: Callable[[], lux.AbstractLayer]
    x: Any
    mapped: bool = True
    dtypes: tuple[Any, ...] = (jnp.float32, jnp.float64, jnp.bfloat16)
    rtol: float = 1e-6
    names: dict[str, Any] = dataclasses.field(default_factory=dict)
    slow: bool = False


@dataclasses.dataclass(frozen=True)
class Map:
    """A ravel map with what it is for and a value that it can store."""

    name: str
    ravel_map: AbstractRavelMap
    spec: Any
    value: Any
