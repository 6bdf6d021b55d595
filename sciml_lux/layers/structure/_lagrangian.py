"""`LagrangianNN`: motion by a learned principle of least action."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import LayerError
from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from ._scalar import halves, summed


class LagrangianNN(AbstractContainer):
    """The Euler-Lagrange equations of a learned Lagrangian: `(q, v)` gives `(v, a)`, with `L(q, v)` what the layer returns.

    The accelerations solve `M a = dL/dq - (d²L/dv dq) v`, with the mass matrix `M = d²L/dv² + regularization * identity`.
    Coordinates can be any, angles for example; momenta need not be known.

    Where `M` is singular the motion is undefined. A sample whose `M` is singular to working precision (condition number above
    `1 / (n epsilon)`, `epsilon` that of the dtype) gets accelerations of NaN, and NaN in what is differentiated through them:
    a solver that calls this layer then fails, instead of following numbers without meaning. Layers that are piecewise
    linear, relu networks for example, have `M = 0`: give smooth activations such as `jax.nn.softplus` or `jnp.tanh`.

    **Arguments:** `layer`: from `(..., 2 n)` to one number for each sample, `(..., 1)` or `(...)`; `regularization`: 0 or more, is added to
    the diagonal of `M`; it changes the motion, by as much as a kinetic energy `regularization * |v|² / 2`.

    **Call:** `x` of shape `(..., 2 n)`, `n` positions and then their `n` velocities, gives their derivatives in time, of the same
    shape. `n + 1` derivatives of the layer's gradient are computed.

    **Parameters** and **states:** `layer`: those of the layer.

    **Errors:** `LayerError` for something that is no layer, or a negative regularization; `ShapeError` for an odd number of features,
    and if the layer returns anything but one number for each sample.

    **Source:** Cranmer et al. 2020, Lagrangian Neural Networks (who take the pseudo-inverse of `M`).
    """

    layer: AbstractLayer
    regularization: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.layer, AbstractLayer):
            raise LayerError(f"LagrangianNN: layer is a layer that returns a Lagrangian, got {self.layer!r}")
        number: Any = self.regularization
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
            raise LayerError(f"LagrangianNN: regularization is a number, 0 or more, got {number!r}")

    def __call__(
        self, x: Float[Array, "... state"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... state"], State]:
        size = halves(self, x, "positions", "velocities")
        lagrangian = summed("LagrangianNN", self.layer, ps.layer, st.layer, jnp.shape(x)[:-1])
        gradient, second, state = jax.linearize(jax.grad(lagrangian, has_aux=True), x, has_aux=True)
        # The columns of d²L/dv², and (d²L/dv dq) v, in one go.
        velocity = x[..., size:]
        along_velocity = jnp.concatenate([velocity, jnp.zeros_like(velocity)], axis=-1)
        units = jnp.eye(2 * size, dtype=x.dtype)[size:].reshape(size, *(1,) * (x.ndim - 1), 2 * size)
        directions = jnp.concatenate([jnp.broadcast_to(units, (size, *x.shape)), along_velocity[None]])
        second_derivatives = jax.vmap(second)(directions)[..., size:]
        mass = widened(jnp.moveaxis(second_derivatives[:size], 0, -1))
        mass = mass + self.regularization * jnp.broadcast_to(jnp.eye(size, dtype=mass.dtype), mass.shape)
        right = widened(gradient[..., :size] - second_derivatives[size])
        acceleration = _solve(mass, right, epsilon=float(jnp.finfo(x.dtype).eps)).astype(x.dtype)
        return jnp.concatenate([velocity, acceleration], axis=-1), State(layer=state)


def _solve(matrix: Float[Array, "... n n"], right: Float[Array, "... n"], epsilon: float) -> Float[Array, "... n"]:
    """The solution, times NaN, for the derivatives' sake, where the matrix is singular to the precision `epsilon`."""
    fixed = jax.lax.stop_gradient(matrix)
    condition = _norm(fixed) * _norm(jnp.linalg.inv(fixed))  # of few numbers: exact, and no dearer than an estimate
    sound = condition < 1 / (max(1, matrix.shape[-1]) * epsilon)
    solution = jnp.linalg.solve(matrix, right[..., None])[..., 0]
    return solution * jnp.where(sound, 1.0, jnp.nan).astype(solution.dtype)[..., None]


def _norm(matrix: Float[Array, "... n n"]) -> Float[Array, "..."]:
    return jnp.max(jnp.sum(jnp.abs(matrix), axis=-2), axis=-1, initial=0.0)
