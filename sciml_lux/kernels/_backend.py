"""Compiling an operation apart from what surrounds it."""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def compiled_apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, a jitted one, compiled apart from what surrounds it on a CPU, whose compiler may fuse too much.

    A call that is marked as not inlineable is inlined only after fusion, which keeps the two apart.
    """
    if not on_cpu():
        return function

    def call(*arguments: Any) -> Any:
        with set_xla_metadata(inlineable="false"):
            return function(*arguments)

    return call


def on_cpu() -> bool:
    """Whether JAX runs on a CPU by default."""
    return jax.default_backend() == "cpu"
