"""One layer many times over."""

from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Key

from ...core import AbstractContainer, AbstractLayer, State, declared_parameters, declared_states
from ...flatten import LayerError, Parameter, Params, ShapeError


class Repeated(AbstractContainer):
    """`number` layers of one kind after each other, each with its own parameters, run by one `scan`.

    Equal layers in a row compile as one: the time to compile does not grow with their number, and their parameters are
    contiguous in the vector. A few small layers run faster unrolled, in a `Chain`.

    **Arguments:** `layer`: its result must have the shape and dtype of its input; `number`: 1 or more.

    **Call:** `x` goes through all of them; the result has the same shape.

    **Parameters:** `layer`: those of one layer, each with a leading axis of length `number`. **States:** `layer`, likewise.

    **Errors:** `LayerError` for a number that is not 1 or more; `ShapeError` if the layer changes the shape of its input.
    """

    layer: AbstractLayer
    number: int

    def __post_init__(self) -> None:
        if not isinstance(self.layer, AbstractLayer):
            raise LayerError(f"Repeated: layer is a layer, got {self.layer!r}")
        if isinstance(self.number, bool) or not isinstance(self.number, int) or self.number < 1:
            raise LayerError(f"Repeated: number is a whole number, 1 or more, got {self.number!r}")

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        keys = jax.random.split(key, self.number)
        declared: Params | Parameter = jax.vmap(lambda key: declared_parameters(self.layer, key))(keys)
        return {"layer": declared}

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        keys = jax.random.split(key, self.number)
        return {"layer": jax.vmap(lambda key: declared_states(self.layer, key))(keys)}

    def __call__(self, x: Any, ps: Params, st: State) -> tuple[Any, State]:
        def step(x: Any, own: Any) -> tuple[Any, State]:
            y, state = self.layer(x, *own)
            got, expected = (jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (y, x))
            if got != expected:
                raise ShapeError(f"Repeated: the layer returned {got} for an input of {expected}; it must keep both")
            return y, state

        x = jax.tree.map(jax.numpy.asarray, x)
        y, state = lax.scan(step, x, (ps.layer, st.layer), length=self.number)
        return y, State(layer=state)
