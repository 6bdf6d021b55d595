"""`SpectralNorm`."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from ...core import AbstractContainer, AbstractLayer, State, Training, declared_layout
from ...flatten import Parameters
from ...kernels import carried, inverse_unit, widened
from .._checks import check_positive
from ._weight_norm import check_named

_FIRST = 15  # steps of the power iteration from a random start, as many as PyTorch's


class SpectralNorm(AbstractContainer):
    """A layer whose weights are divided by their largest singular value, `weight / (left @ matrix @ right)`.

    `matrix`, of shape `(outputs, everything else)`, is the weight with the axis of outputs, its last, in front, followed by that of
    inputs: PyTorch's `dim=0` for its linear layers and convolutions (`dim=1` for transposed ones). `left` and `right` approximate its
    first singular vectors by power iteration: in train mode each call takes `iterations` steps,
    `left = normalized(matrix @ right)`, `right = normalized(left @ matrix)`. They are constants to the derivative.

    **Arguments:** `layer`: any layer; `names`: paths of its parameters to normalize, such as `("weight",)` (the default) or
    `("layer_0.weight", "layer_1.weight")`, each of two axes or more; `iterations`: 1 or more.

    **Call:** as `layer`. **Parameters:** `layer`.

    **States:** `layer`; `vectors`: by the name of the weight, `left` `(outputs,)` and `right` `(everything else,)`; `training`. As long as
    `left` is 0, as it is at the start, a call takes 15 steps first, in test mode too, which keeps no result.

    **Errors:** `LayerError` for something that is no layer, no tuple of names, a parameter of one axis or stored by a ravel map of its
    own; `PathError` for a name that the layer does not have. A weight of zeros stays what it is.

    **Source:** Miyato et al. 2018, Spectral Normalization for Generative Adversarial Networks, algorithm 1.
    """

    layer: AbstractLayer
    names: tuple[str, ...] = ("weight",)
    iterations: int = 1

    def __post_init__(self) -> None:
        check_positive(self, iterations=self.iterations)
        check_named(self, 2)

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        entries = {entry.path: entry for entry in declared_layout(self.layer).entries}
        vectors: dict[str, Any] = {}
        for i, name in enumerate(self.names):
            outputs = entries[name].shape[-1]
            right = jax.random.normal(jax.random.fold_in(key, i), (entries[name].size // outputs,))
            _put(vectors, name, {"left": jnp.zeros(outputs), "right": _normalized(right)})
        return {**super().initial_states(key), "vectors": vectors, "training": Training()}

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        params, vectors = ps.layer, st.vectors
        for name in self.names:
            weight, old = params[name], vectors[name]
            wide = widened(weight)
            scaled = wide * inverse_unit(jnp.max(jnp.abs(lax.stop_gradient(wide)), initial=0.0))[0]
            matrix = jnp.moveaxis(scaled, (-1, -2), (0, 1)).reshape(weight.shape[-1], -1)
            left, right = (lax.stop_gradient(old[side]).astype(matrix.dtype) for side in ("left", "right"))
            steps = self.iterations if st.training else 0
            steps = jnp.where(jnp.any(left != 0), steps, max(steps, _FIRST))
            left, right = _iterated(lax.stop_gradient(matrix), left, right, steps)
            if st.training:
                new = {"left": left.astype(old.left.dtype), "right": right.astype(old.right.dtype)}
                vectors = vectors.set(name, State(new))
            norm = left @ (matrix @ right)
            params = params.set(name, (scaled / jnp.where(norm == 0, 1.0, norm)).astype(weight.dtype))
        y, state = self.layer(x, params, st.layer)
        return y, State(layer=state, vectors=vectors, training=st.training)


def _iterated(
    matrix: Float[Array, "out rest"], left: Float[Array, " out"], right: Float[Array, " rest"], steps: Int[Array, ""]
) -> tuple[Float[Array, " out"], Float[Array, " rest"]]:
    def step(_: Any, vectors: Any) -> Any:
        left = _normalized(matrix @ vectors[1])
        # A weight of zeros leaves no vector to go on from, so that the old one is kept for when it is no longer zero.
        return left, jnp.where(jnp.any(left != 0), _normalized(left @ matrix), vectors[1])

    start = carried(lambda vectors: step(0, vectors), (left, right))
    return lax.fori_loop(0, steps, step, start)


def _normalized(vector: Float[Array, " size"]) -> Float[Array, " size"]:
    """The vector by its length, of any size; zeros stay."""
    vector = vector * inverse_unit(jnp.max(jnp.abs(vector)))[0]
    length = jnp.linalg.norm(vector)
    return vector / jnp.where(length == 0, 1.0, length)


def _put(tree: Mapping[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        tree = tree.setdefault(name, {})  # type: ignore[attr-defined]
    tree[last] = value  # type: ignore[index]
