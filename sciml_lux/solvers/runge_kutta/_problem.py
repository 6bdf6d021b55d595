"""An initial value problem whose state is a vector, and many of them side by side."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._types import Time
from ._shape import Shape


class InitialValueProblem(NamedTuple):
    """`dy/dt = field(t, y, args)` from `t0` to `t1`, and how it is solved. Here time runs forward: `direction` times the real one."""

    field: Any
    y0: Any
    args: Any
    ts: Any  # where to save, or None
    settings: dict[str, Any]  # of `diffrax.diffeqsolve`

    @property
    def solver(self) -> diffrax.AbstractERK:
        return self.settings["solver"]

    @property
    def direction(self) -> Any:
        forward = jnp.asarray(self.settings["t0"]) < jnp.asarray(self.settings["t1"])
        return jnp.where(forward, 1, -1).astype(jnp.result_type(self.settings["t0"]))

    @property
    def start(self) -> Any:
        return self.settings["t0"] * self.direction

    @property
    def end(self) -> Any:
        return self.settings["t1"] * self.direction

    def slope(self, t: Time, y: Float[Array, " state"]) -> Any:
        direction = self.direction
        return (self.field(t * direction, y, self.args) * direction.astype(y.dtype)).astype(y.dtype)

    def term(self) -> diffrax.ODETerm[Any]:
        return diffrax.ODETerm(lambda t, y, args: self.slope(t, y))

    def controller(self) -> diffrax.AbstractStepSizeController[Any, Any]:
        return self.settings["stepsize_controller"].wrap(self.direction)


class RecordedProblem(eqx.Module):
    """An equation whose state is a tree, as one of vectors, and the settings of its solve, whose steps are recorded."""

    field: Any
    shape: Shape = eqx.field(static=True)
    settings: dict[str, Any]
    ends: bool = eqx.field(static=True)  # whether the value at the end is all that is wanted

    def on_vectors(self, t: Float[Array, ""], y: Float[Array, " state"], args: PyTree) -> Any:
        return self.shape.vector(self.field(t, self.shape.tree(y), args))

    def derivative(self, t: Float[Array, ""], y: Float[Array, " state"], floating: PyTree[Array], rest: PyTree) -> Any:
        """The same, of the two parts of `args`."""
        return self.on_vectors(t, y, eqx.combine(floating, rest))

    def direction(self, dtype: np.dtype[Any]) -> Any:
        """1 forward in time, -1 backward."""
        return jnp.sign(jnp.asarray(self.settings["t1"], dtype) - jnp.asarray(self.settings["t0"], dtype))


class Lanes(NamedTuple):
    """Things side by side, such as problems: `build(leaves)` is one of them. Leaves whose axis is 0 have a row for each. Where `axes` is
    `None` there is but one thing, whose arrays have no such axis."""

    build: Callable[[Any], Any]
    leaves: list[Any]
    axes: list[int | None] | None
    number: int

    def each(
        self, function: Callable[..., Any], *values: Any, axes: int | tuple[int | None, ...] = 0, out: int = 0
    ) -> Any:
        """`function(thing, *values)` for each of them, where `axes` are those of all the values, or of each, and `out` of the results."""
        if self.axes is None:
            return function(self.build(self.leaves), *values)
        axes = axes if isinstance(axes, tuple) else (axes,) * len(values)
        call = lambda leaves, *values: function(self.build(leaves), *values)  # noqa: E731
        return jax.vmap(call, (self.axes, *axes), out, axis_size=self.number)(self.leaves, *values)
