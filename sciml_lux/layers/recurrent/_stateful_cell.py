"""`StatefulRecurrentCell`: a cell that remembers its carry."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..._errors import LayerError, ShapeError
from ...core import AbstractContainer, State, declared_parameters, declared_states
from ...flatten import Parameters, flatten
from ...kernels import where
from ._cell import AbstractRecurrentCell


class StatefulRecurrentCell(AbstractContainer):
    """A recurrent cell that keeps its carry in the state, so that each call is one step: for inputs that come one by one.

        y, st = model(x, ps, st)                           # one step
        st = lux.update_state(st, "started", jnp.array(False))     # the next call starts a new sequence

    **Arguments:** `cell`: a recurrent cell; `batch_shape`: the leading axes of its inputs, none by default.

    **Call:** `x` of shape `(*batch_shape, in)` gives the cell's output, `(*batch_shape, out)`.

    **Parameters:** `cell`: those of the cell. **States:** `cell`: that of the cell; `carry`: its arrays, named `"0"`, `"1"`, ...
    in order, in JAX's default float; `started` `()`: whether the carry is one to go on from; the cell's initial one is taken otherwise.

    **Errors:** `LayerError` for what is no cell; `ShapeError` for an input of another batch shape.
    """

    cell: AbstractRecurrentCell
    batch_shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.cell, AbstractRecurrentCell):
            raise LayerError(
                f"StatefulRecurrentCell: cell is a recurrent cell such as LSTMCell(4, 8), got {self.cell!r}"
            )
        sizes = self.batch_shape
        if not isinstance(sizes, tuple) or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in sizes):
            raise LayerError(f"StatefulRecurrentCell: batch_shape is a tuple of sizes such as (32,), got {sizes!r}")

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"cell": declared_parameters(self.cell, key)}

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        def carry(key: Any) -> list[Array]:
            ps = flatten(declared_parameters(self.cell, key)).params
            return jax.tree.leaves(self.cell.initial_carry(ps, self.batch_shape, jnp.result_type(float)))

        shapes = enumerate(jax.eval_shape(carry, key))
        return {
            "cell": declared_states(self.cell, key),
            "carry": State({str(i): jnp.zeros(leaf.shape, leaf.dtype) for i, leaf in shapes}),
            "started": jnp.zeros((), bool),
        }

    def __call__(self, x: Array, ps: Parameters, st: State) -> tuple[Any, State]:
        if jnp.shape(x)[:-1] != self.batch_shape:
            raise ShapeError(
                f"StatefulRecurrentCell keeps a carry for inputs of shape {(*self.batch_shape, '...')}, got one of {jnp.shape(x)}; "
                f"write StatefulRecurrentCell(cell, batch_shape={jnp.shape(x)[:-1]})"
            )
        first, structure = jax.tree.flatten(self.cell.initial_carry(ps.cell, self.batch_shape, x.dtype))
        kept = [part.astype(start.dtype) for part, start in zip(st.carry.values(), first, strict=True)]
        started = jnp.broadcast_to(st.started, self.batch_shape)
        carry = jax.tree.unflatten(structure, where(started, kept, first))
        (y, carry), cell = self.cell((x, carry), ps.cell, st.cell)
        parts = zip(st.carry.items(), jax.tree.leaves(carry), strict=True)
        carried = State({name: part.astype(old.dtype) for (name, old), part in parts})
        return y, State(cell=cell, carry=carried, started=jnp.ones_like(st.started))
