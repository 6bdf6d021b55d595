"""`MultiScaleDEQ`: an equilibrium of several resolutions at once."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..._errors import LayerError, ShapeError
from ...core import AbstractContainer, AbstractLayer, State, with_fields
from ...flatten import Parameters
from ._deep_equilibrium import DeepEquilibrium


class MultiScaleCell(AbstractContainer):
    """One step of several resolutions that exchange what they know: the model of a `MultiScaleDEQ`.

        h_i = branches[i](z_i),        z_j <- after[j](sum_i mixing[i][j](h_i))

    **Arguments:** `branches`: a layer for each resolution; `mixing`: rows of layers or functions, `mixing[i][j]` from resolution `i` to
    `j` (resampling, strided convolution), `None` on the diagonal for no change, elsewhere for no exchange; `after`: layers or functions
    on the sums, such as an activation, `None` for no change; one of them for all.

    **Call:** `((z_0, ..., z_n), x)`. If `x` is a tuple with one entry for each resolution, each branch takes `(z_i, x_i)`. Otherwise the
    first takes `(z_0, x)`, and the others `z_i`. Returns the next `(z_0, ..., z_n)`.

    **Parameters** and **states:** `branch_0`, ..., `mix_0_1`, ..., `after_0`, ..., of those that are layers.

    **Errors:** `LayerError` for a number of rows, entries or `after` that is not that of the branches.

    **Source:** Bai, Koltun and Kolter 2020, Multiscale Deep Equilibrium Models.
    """

    branches: tuple[AbstractLayer, ...]
    mixing: tuple[tuple[Any, ...], ...]
    after: tuple[Any, ...] | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        good = isinstance(self.branches, tuple) and all(isinstance(branch, AbstractLayer) for branch in self.branches)
        if not good or not self.branches:
            raise LayerError(
                f"MultiScaleCell: branches is a tuple of layers, one for each resolution, got {self.branches!r}"
            )
        number = len(self.branches)
        shape = [len(row) for row in self.mixing]
        if shape != [number] * number:
            raise LayerError(
                f"MultiScaleCell: mixing has a row for each of {number} branches and in it an entry for each, got rows of {shape}; "
                "write None for no exchange"
            )
        if isinstance(self.after, AbstractLayer):
            raise LayerError("MultiScaleCell: after is a function for all, or a tuple with a layer for each branch")
        if isinstance(self.after, tuple) and len(self.after) != number:
            raise LayerError(f"MultiScaleCell: after has {len(self.after)} entries for {number} branches")

    def _parts(self) -> dict[str, Any]:
        number = range(len(self.branches))
        after = self.after if isinstance(self.after, tuple) else (self.after,) * len(self.branches)
        return {
            **{f"branch_{i}": self.branches[i] for i in number},
            **{f"mix_{i}_{j}": self.mixing[i][j] for i in number for j in number},
            **{f"after_{i}": after[i] for i in number},
        }

    def children(self) -> dict[str, AbstractLayer]:
        return {name: part for name, part in self._parts().items() if isinstance(part, AbstractLayer)}

    def with_children(self, children: Mapping[str, AbstractLayer]) -> "MultiScaleCell":
        if set(children) != set(self.children()):
            raise LayerError(f"MultiScaleCell is made of {list(self.children())}, got {list(children)}")
        parts, number = {**self._parts(), **children}, range(len(self.branches))
        after = tuple(parts[f"after_{i}"] for i in number) if isinstance(self.after, tuple) else self.after
        return with_fields(
            self,
            branches=tuple(parts[f"branch_{i}"] for i in number),
            mixing=tuple(tuple(parts[f"mix_{i}_{j}"] for j in number) for i in number),
            after=after,
        )

    def __call__(self, z_and_x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        z, x = z_and_x
        number, parts, states = len(self.branches), self._parts(), dict(st)
        if not isinstance(z, tuple) or len(z) != number:
            raise ShapeError(
                f"MultiScaleCell has {number} branches, got z with {len(z) if isinstance(z, tuple) else 1} resolutions"
            )

        def call(name: str, value: Any) -> Any:
            part = parts[name]
            if part is None:
                return value
            if not isinstance(part, AbstractLayer):
                return part(value)
            value, states[name] = part(value, ps[name], st[name])
            return value

        each = isinstance(x, tuple) and len(x) == number
        inputs = list(zip(z, x, strict=True)) if each else [(z[0], x), *z[1:]]
        hidden = [call(f"branch_{i}", value) for i, value in enumerate(inputs)]
        new = []
        for j in range(number):
            terms = [
                call(f"mix_{i}_{j}", hidden[i]) for i in range(number) if i == j or parts[f"mix_{i}_{j}"] is not None
            ]
            new.append(call(f"after_{j}", sum(terms[1:], terms[0])))
        return tuple(new), State(states)


class MultiScaleDEQ(DeepEquilibrium):
    """The joint fixed point of several resolutions, as a layer: `z*` is a tuple of arrays.

        cell = lux.solvers.MultiScaleCell(
            branches=(fine, coarse),                    # fine takes (z_0, x), coarse takes z_1
            mixing=((None, down), (up, None)),
            after=jax.nn.relu,
        )
        deq = lux.MultiScaleDEQ(cell, shapes=((8, 8, 16), (4, 4, 32)))

    **Arguments:** as for `DeepEquilibrium`; `model`: a `MultiScaleCell`, or any layer that takes `((z_0, ..., z_n), x)` and returns the
    next such tuple; `shapes`: those of the arrays in `z`, of one sample. `"zeros"` and `"skip_reg"` start from zeros of these shapes.

    **Call:** `x`, whose arrays have the leading axis of samples, gives the tuple `z*`.

    **Parameters**, **states** and **errors:** as for `DeepEquilibrium`.

    **Source:** Bai, Koltun and Kolter 2020, Multiscale Deep Equilibrium Models.
    """

    _: dataclasses.KW_ONLY
    shapes: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        good = isinstance(self.shapes, tuple) and all(
            isinstance(shape, tuple) and all(isinstance(size, int) and size > 0 for size in shape)
            for shape in self.shapes
        )
        if not good or not self.shapes:
            raise LayerError(
                f"MultiScaleDEQ: shapes is a tuple with the shape of each resolution, without the axis of samples, such as "
                f"((8, 8, 16), (4, 4, 32)); got {self.shapes!r}"
            )

    def zeros(self, x: PyTree) -> Any:
        leaves = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        if not leaves or (self.batched and leaves[0].ndim == 0):
            raise ShapeError(
                "MultiScaleDEQ: z has the dtype and the number of samples of x, which holds no such array; write init=function of x"
            )
        samples = leaves[0].shape[:1] if self.batched else ()
        return tuple(jnp.zeros((*samples, *shape), leaves[0].dtype) for shape in self.shapes)
