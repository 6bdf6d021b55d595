"""One layer many times over."""

from typing import Any

import jax
from jaxtyping import Array, Key

from ..._errors import ShapeError
from ...core import AbstractContainer, AbstractLayer, State, declared_parameters, declared_states
from ...flatten import Parameters
from ...kernels import scan
from .._checks import check_flag, check_is_layer, check_positive


class Repeated(AbstractContainer):
    """One layer, `number` times in a row, run by one `scan`: the time to compile does not grow with `number`.

    - Untied (the default): `number` layers of one kind, each with its own parameters and state, stacked. A few small
      ones run faster unrolled, in a `Chain`.
    - Tied: one layer that is iterated. Its state goes from each iteration into the next.

    **Arguments:** `layer`; `number`: 1 or more; `tied`; `injection`: whether the layer is called on the tuple `(z, x)` of
    the value so far and the input of all, as the cell of a `DeepEquilibrium` is, instead of on `z` alone.

    **Call:** `z = x`, then `number` times `z = layer(z)`, or `z = layer((z, x))`; the last `z` comes back, with the shape and
    dtype of `x`.

    **Parameters:** `layer`: those of the layer; untied, each with a leading axis of length `number`. **States:** `layer`, likewise.

    **Errors:** `LayerError` for a number that is not 1 or more, and for flags that are none; `ShapeError` if the layer's result
    has another shape or dtype than `x`.
    """

    layer: AbstractLayer
    number: int
    tied: bool = False
    injection: bool = False

    def __post_init__(self) -> None:
        check_is_layer(self, layer=self.layer)
        check_positive(self, number=self.number)
        check_flag(self, tied=self.tied, injection=self.injection)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"layer": self._declared(declared_parameters, key)}

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"layer": self._declared(declared_states, key)}

    def _declared(self, declared: Any, key: Key[Array, ""]) -> Any:
        if self.tied:
            return declared(self.layer, key)
        return jax.vmap(lambda key: declared(self.layer, key))(jax.random.split(key, self.number))

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        x = jax.tree.map(jax.numpy.asarray, x)

        def one(z: Any, params: Any, state: Any) -> tuple[Any, State]:
            y, state = self.layer((z, x) if self.injection else z, params, state)
            got, expected = (jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (y, x))
            if got != expected:
                raise ShapeError(f"Repeated: the layer returned {got} for an input of {expected}; it must keep both")
            return y, state

        if self.tied:
            y, state = scan(
                lambda carry, _: (one(carry[0], ps.layer, carry[1]), None), (x, st.layer), length=self.number
            )[0]
        else:
            y, state = scan(lambda z, own: one(z, *own), x, (ps.layer, st.layer), length=self.number)
        return y, State(layer=state)
