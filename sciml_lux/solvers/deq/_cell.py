"""The map `z -> model(z, x)` whose fixed point is looked for."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._errors import ShapeError
from ...core import AbstractLayer, State, describe
from ...flatten import Params
from .._types import StateTree
from ._rows import Rows


@dataclass(frozen=True)
class Cell:
    """One application of the model, as a function of a matrix of samples and of `inputs = (x, params, state)`.

    Static and hashable, so that equal cells share what is compiled for them.
    """

    name: str
    model: AbstractLayer
    rows: Rows

    def __call__(self, z: Array, inputs: PyTree) -> Array:
        x, params, state = inputs
        new, _ = apply(self.model, self.rows.tree(z), x, params, state)
        return self.rows.matrix(self.checked(new))

    def checked(self, new: PyTree) -> Any:
        """What the model made of `z`, if it is like `z`. **Errors:** `ShapeError`."""
        expected = [f"{self.rows.dtype}{list(shape)}" for shape in self.rows.shapes]
        leaves, structure = jax.tree.flatten(new)
        got = [f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}" for leaf in leaves]
        if got != expected or structure != self.rows.structure:
            same = got == expected
            raise ShapeError(
                f"{self.name}: the model {describe(self.model)} returned {structure if same else ', '.join(got)}, expected the shape "
                f"and dtype of z, {self.rows.structure if same else ', '.join(expected)}. It takes (z, x) and returns the next z; "
                "if z is not like x, say what it starts from: init=function of x, or init=layer"
            )
        return new


def apply(model: AbstractLayer, z: StateTree, x: PyTree, params: Params, state: State) -> tuple[Any, Any]:
    """The model on `(z, x)`, and its advanced state."""
    return model((z, x), params, state)
