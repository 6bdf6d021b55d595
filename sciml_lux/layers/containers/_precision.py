"""A layer in another precision than the rest of the model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import LayerError
from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters


class AlternatePrecision(AbstractContainer):
    """Runs a layer in another floating dtype: input and parameters are cast to it, the result is cast back.

        lux.AlternatePrecision(lux.Dense(512, 512), jnp.bfloat16)     # a float32 vector, a bfloat16 product

    Gradients arrive in the dtype of the vector. (To store the parameters as they are and show them in another dtype to the
    layers, without casting what goes in and out: `lux.flatten.compute_dtype`.)

    **Arguments:** `layer`; `dtype`: a floating dtype or its name, kept by name.

    **Call:** any `x` that `layer` takes; floating (not complex) arrays are cast, all others are left alone. The result has the dtype of
    the input's first floating array; if there is none, of the parameters.

    **Parameters** and **states:** `layer`: those of the layer. The state is not cast: a layer keeps the dtype of its state.

    **Errors:** `LayerError` for a dtype that is not floating, and in a call, for one that JAX has switched off (float64).
    """

    layer: AbstractLayer
    dtype: str

    def __init__(self, layer: AbstractLayer, dtype: Any) -> None:
        if not isinstance(layer, AbstractLayer):
            raise LayerError(f"AlternatePrecision: layer is a layer, got {layer!r}")
        try:
            name = np.dtype(dtype).name
        except TypeError:
            raise LayerError(f"AlternatePrecision: dtype is one such as jnp.bfloat16, got {dtype!r}") from None
        if not jnp.issubdtype(name, jnp.floating):
            raise LayerError(f"AlternatePrecision: dtype is a floating one such as jnp.bfloat16, got {name}")
        object.__setattr__(self, "layer", layer)
        object.__setattr__(self, "dtype", name)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        if jax.dtypes.canonicalize_dtype(self.dtype) != np.dtype(self.dtype):
            raise LayerError(
                f'AlternatePrecision: JAX has {self.dtype} switched off; write jax.config.update("jax_enable_x64", True)'
            )
        back = floating_dtype(x) or floating_dtype(ps)
        y, state = self.layer(cast_floating(x, self.dtype), cast_floating(ps.layer, self.dtype), st.layer)
        return (y if back is None else cast_floating(y, back)), State(layer=state)


def floating_dtype(tree: Any) -> Any:
    """The dtype of the floating arrays of a tree (of the first one), or None if there are none."""
    dtypes = (jnp.result_type(leaf) for leaf in jax.tree.leaves(tree))
    return next((dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)), None)


def cast_floating(tree: Any, dtype: Any) -> Any:
    """The tree with its floating arrays in another dtype; integers, keys and complex numbers stay what they are."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf, tree
    )
