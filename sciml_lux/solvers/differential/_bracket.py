"""Bisection of a step in which a function changes sign."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix
import optimistix as optx
from jaxtyping import Array, Float, PyTree


class Bracket(optimistix.AbstractRootFinder[Any, Any, Any, Any]):
    """Bisection of a step within which a function goes from negative to positive, or, where it is not oriented, from either to the other,
    down to neighboring times.

    Unlike `optimistix.Bisection` it has no tolerance in the unit of the function, and takes a function that is 0 at the end of
    the step, which is what diffrax passes for the samples of a batch that had no event.
    """

    is_oriented: bool = eqx.field(static=True, default=True)
    rtol: float = 0.0
    atol: float = 0.0
    norm: ClassVar[Callable[[Any], Any]] = jnp.abs

    def init(
        self,
        fn: Callable[..., Any],
        y: Float[Array, ""],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree,
        aux_struct: PyTree,
        tags: frozenset[object],
    ) -> Any:
        lower, upper = (jnp.asarray(options[name], y.dtype) for name in ("lower", "upper"))
        sign = 1.0 if self.is_oriented else jnp.where(_sum(fn(lower, args)[0]) > 0, -1.0, 1.0)
        return lower, upper, sign * _sum(fn(upper, args)[0]) <= 0, jnp.asarray(sign)

    def step(
        self,
        fn: Callable[..., Any],
        y: Float[Array, ""],
        args: PyTree,
        options: dict[str, Any],
        state: Any,
        tags: frozenset[object],
    ) -> tuple[Any, Any, Any]:
        lower, upper, at_end, sign = state
        values, aux = fn(y, args)
        value = sign * _sum(values)
        lower, upper = jnp.where(value < 0, y, lower), jnp.where((value < 0) | at_end, upper, y)
        return jnp.where(at_end, upper, lower + 0.5 * (upper - lower)), (lower, upper, at_end, sign), aux

    def terminate(
        self,
        fn: Callable[..., Any],
        y: Float[Array, ""],
        args: PyTree,
        options: dict[str, Any],
        state: Any,
        tags: frozenset[object],
    ) -> tuple[Any, optimistix.RESULTS]:
        lower, upper, at_end, _ = state
        eps = jnp.finfo(y.dtype).eps
        rounding = 2 * eps * jnp.maximum(jnp.maximum(jnp.abs(lower), jnp.abs(upper)), eps)
        return at_end | (upper - lower <= rounding), optimistix.RESULTS.successful

    def postprocess(
        self,
        fn: Callable[..., Any],
        y: Float[Array, ""],
        aux: PyTree,
        args: PyTree,
        options: dict[str, Any],
        state: Any,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[Any, Any, dict[str, Any]]:
        return y, aux, {}


def _sum(values: Any) -> Any:
    """Of several conditions, all but the one that occurred are 0."""
    return sum(jax.tree.leaves(values))
