"""`HamiltonianODE`: Hamilton's equations of a learned energy."""

import dataclasses
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._errors import LayerError, ShapeError
from ...core import AbstractLayer, State, as_params, as_state
from ...flatten import Parameters, Params
from .._types import StateTree, Time
from ..differential import AbstractODE, takes_two_terms
from ._second_order import check_pair


class HamiltonianODE(AbstractODE):
    """Motion that keeps a learned energy: the solution of Hamilton's equations, as a layer.

        dq/dt = dH/dp,    dp/dt = -dH/dq,    H(q, p) = model((q, p)),  or  H = model(q) + kinetic(p)

    Along the exact flow `H` is constant and volumes are kept. Runge-Kutta methods let the energy drift, in proportion to the time; a
    separable energy, with `kinetic`, may be solved by symplectic methods, whose error of the energy stays bounded.

    `model` is called on `(q, p)`; with `time=True` on `(t, (q, p))`, and `kinetic`, if given, as `model` is, on `p` and `q` alone.
    A network begins with a function that joins the two, and its activations should be smooth:
    `lux.Chain(jnp.concatenate, lux.MLP(2, (32,), 1, jnp.tanh))`.

    **Arguments:** `model`: a layer that returns the energy, one number (`()` or `(1,)`), or one for each of the samples that lead,
    `(...)` or `(..., 1)`; then, by name:

    - `kinetic`: a layer from `p` to the kinetic energy; `model` is then the potential, called on `q`. For unit masses,
      `lux.WrappedFunction(lambda p: 0.5 * jnp.sum(p**2))`.
    - all settings of an `AbstractODE`. With `kinetic`, `solver` may be symplectic: `lux.solvers.StormerVerlet()`, `lux.solvers.Yoshida4()`,
      `diffrax.SemiImplicitEuler()`, with the step `dt0`.

    **Call:** `(q0, p0)`, two arrays, or trees of them, of the same shapes, gives `(q(t1), p(t1))`.

    **Parameters** and **states:** `model`, and `kinetic` if given; `solution` as for every `AbstractODE`. The state is constant during a
    solve and advanced once per call.

    **Errors:** those of an `AbstractODE`; `LayerError` for a symplectic method without `kinetic`; `ShapeError` for anything but two of a
    kind, and for an energy of another shape.

    **Source:** Greydanus, Dzamba and Yosinski 2019, Hamiltonian Neural Networks; Chen et al. 2020, Symplectic Recurrent Neural Networks;
    Hairer, Lubich and Wanner 2006, Geometric Numerical Integration, chapter VI.
    """

    pair = "q, p"

    _: dataclasses.KW_ONLY
    kinetic: AbstractLayer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kinetic is None and takes_two_terms(self.solver):
            raise LayerError(
                f"HamiltonianODE: {type(self.solver).__name__} advances q by p and p by q in turn, which takes an energy of two "
                "parts; give the potential as model and kinetic=, or use a Runge-Kutta method"
            )

    def derivative(self, t: Time, y: StateTree, params: Params, state: State, inputs: Any) -> tuple[Any, State]:
        (by_q, by_p), states = jax.grad(self._energy, argnums=1, has_aux=True)(t, y, params, state, inputs)
        return (by_p, _negative(by_q)), states

    def lift(self, y0: Any, params: Params, state: State) -> Any:
        check_pair("HamiltonianODE", "(q, p), positions and momenta", y0)
        return y0

    @property
    def hides_state(self) -> bool:
        return False

    def terms(self, solver: diffrax.AbstractSolver[Any]) -> Any:
        if not takes_two_terms(solver):
            return super().terms(solver)
        return (
            jax.tree_util.Partial(HamiltonianODE._drift, self),
            jax.tree_util.Partial(HamiltonianODE._kick, self),
        )

    def energy(self, y: Any, ps: Parameters, st: State, *, t: Any = None, inputs: Any = None) -> Float[Array, ""]:
        """`H` at `y = (q, p)`, at the time `t` (default: `t0`); `jax.vmap` it over the rows of `solution.ys`."""
        t = self.t0 if t is None else t
        return self._energy(t, y, as_params(ps), as_state(st), inputs)[0]

    def _energy(self, t: Time, y: StateTree, params: Params, state: State, inputs: Any) -> tuple[Any, State]:
        if self.kinetic is None:
            energy, model = self._part("model", t, y, params, state, inputs)
            return energy, State(model=model)
        q, p = y
        potential, model = self._part("model", t, q, params, state, inputs)
        kinetic, moving = self._part("kinetic", t, p, params, state, inputs)
        return potential + kinetic, State(model=model, kinetic=moving)

    def _part(self, name: str, t: Time, y: StateTree, params: Params, state: State, inputs: Any) -> tuple[Any, State]:
        """One layer's energy, summed over samples, which do not mix, so that its gradient is that of each."""
        layer = self.children()[name]
        energy, new = layer(self.model_input(t, y, inputs), params[name], state[name])
        leading = jnp.shape(jax.tree.leaves(y)[0])[:-1]
        if jnp.shape(energy) not in ((), (1,), leading, (*leading, 1)):
            raise ShapeError(
                f"HamiltonianODE: {name} returned an array of shape {jnp.shape(energy)}, expected an energy: one number, (), or one "
                f"for each sample, {leading}"
            )
        return jnp.sum(energy), new

    def _drift(self, t: Time, p: Array, args: PyTree) -> Any:
        velocity, _ = jax.grad(self._part, argnums=2, has_aux=True)("kinetic", t, p, *args)
        return self.checked(velocity, p)

    def _kick(self, t: Time, q: Array, args: PyTree) -> Any:
        slope, _ = jax.grad(self._part, argnums=2, has_aux=True)("model", t, q, *args)
        return self.checked(_negative(slope), q)


def _negative(tree: PyTree[Array]) -> Any:
    return jax.tree.map(jnp.negative, tree)
