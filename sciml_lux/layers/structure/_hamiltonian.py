"""`HamiltonianNN`: motion that keeps a learned energy."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import LayerError
from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters
from ._scalar import halves, summed


class HamiltonianNN(AbstractContainer):
    """Hamilton's equations of a learned energy: `(q, p)` gives `(dH/dp, -dH/dq)`, with `H(q, p)` what the layer returns.

        model = lux.NeuralODE(lux.HamiltonianNN(lux.MLP(2, (64, 64), 1)), t1=1.0)

    Along its flow `H` is constant and volumes are kept. Where the layer mixes samples (batch statistics), the derivative is that of
    the sum of the energies.

    **Arguments:** `layer`: from `(..., 2 n)` to one number for each sample, `(..., 1)` or `(...)`; its activations should be smooth.

    **Call:** `x` of shape `(..., 2 n)`, `n` positions and then their `n` momenta, gives their derivatives in time, of the same shape.

    **Parameters** and **states:** `layer`: those of the layer.

    **Errors:** `LayerError` for something that is no layer; `ShapeError` for an odd number of features, and if the layer returns
    anything but one number for each sample.

    **Source:** Greydanus et al. 2019, Hamiltonian Neural Networks.
    """

    layer: AbstractLayer

    def __post_init__(self) -> None:
        if not isinstance(self.layer, AbstractLayer):
            raise LayerError(f"HamiltonianNN: layer is a layer that returns an energy, got {self.layer!r}")

    def __call__(
        self, x: Float[Array, "... state"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... state"], State]:
        halves(self, x, "positions", "momenta")
        energy = summed("HamiltonianNN", self.layer, ps.layer, st.layer, jnp.shape(x)[:-1])
        gradient, state = jax.grad(energy, has_aux=True)(x)
        by_position, by_momentum = jnp.split(gradient, 2, axis=-1)
        return jnp.concatenate([by_momentum, -by_position], axis=-1), State(layer=state)
