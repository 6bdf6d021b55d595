"""`SecondOrderODE`: the equation `x'' = model(x, x')`."""

import dataclasses
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._errors import LayerError, ShapeError
from ...core import State, kind_of
from ...flatten import Params
from .._types import StateTree, Time
from ..differential import AbstractODE, takes_two_terms


class SecondOrderODE(AbstractODE):
    """The solution of `x'' = model(x, x')`, `x(t0) = x0`, `x'(t0) = v0`, as a layer: the law of motion is learned, not the velocity.

        d/dt (x, v) = (v, model(x, v))

    `model` is called on the tuple `(x, v)`; with `time=True` on `(t, (x, v))`; a solve that is given `inputs` appends their value
    at `t`. A network begins with a function that joins the two: `lux.Chain(jnp.concatenate, lux.MLP(2 * n, (32,), n))`.

    **Arguments:** `model`; then, by name:

    - `velocity`: whether the model is given `v`. An acceleration by position alone, `x'' = model(x)`, may be solved
      by methods that treat `x` and `v` in turn: `lux.solvers.StormerVerlet()`, `lux.solvers.Yoshida4()`, `diffrax.SemiImplicitEuler()`,
      with `dt0`.
    - all settings of an `AbstractODE`.

    **Call:** `(x0, v0)`, two arrays, or trees of them, of the same shapes, gives `(x(t1), v(t1))`.

    **Parameters** and **states:** `model`; `solution` as for every `AbstractODE`. The state is constant during a solve and
    advanced once per call.

    **Errors:** those of an `AbstractODE`; `LayerError` for a method that treats `x` and `v` in turn where the model is given both;
    `ShapeError` for anything but two of a kind.

    **Source:** Norcliffe et al. 2020, On Second Order Behaviour in Augmented Neural ODEs; Hairer, Norsett and Wanner 1993, Solving
    Ordinary Differential Equations I, section II.14.
    """

    pair = "x, v"

    _: dataclasses.KW_ONLY
    velocity: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.velocity and takes_two_terms(self.solver):
            raise LayerError(
                f"SecondOrderODE: {type(self.solver).__name__} advances x by v and v by x in turn, and the model is given both; write "
                "velocity=False for x'' = model(x), or use a Runge-Kutta method"
            )

    def derivative(self, t: Time, y: StateTree, params: Params, state: State, inputs: Any) -> tuple[Any, State]:
        x, v = y
        acceleration, model = self._acceleration(t, x, v, params, state, inputs)
        return (v, acceleration), State(model=model)

    def lift(self, y0: Any, params: Params, state: State) -> Any:
        check_pair("SecondOrderODE", "(x, v), positions and velocities", y0)
        return y0

    @property
    def hides_state(self) -> bool:
        return False

    def terms(self, solver: diffrax.AbstractSolver[Any]) -> Any:
        if not takes_two_terms(solver):
            return super().terms(solver)
        return _velocity, jax.tree_util.Partial(SecondOrderODE._acceleration_term, self)

    def _acceleration(
        self, t: Time, x: Array, v: Array | None, params: Params, state: State, inputs: Any
    ) -> tuple[Any, State]:
        seen = self.model_input(t, (x, v) if self.velocity else x, inputs)
        return self.model(seen, params["model"], state["model"])

    def _acceleration_term(self, t: Time, x: Array, args: PyTree) -> Any:
        params, state, inputs = args
        return self.checked(self._acceleration(t, x, None, params, state, inputs)[0], x)


@jax.tree_util.Partial
def _velocity(t: Time, v: Array, args: PyTree) -> Any:
    return v


def check_pair(name: str, what: str, y0: Any) -> None:
    """Refuses anything but a tuple of two trees of the same structure, shapes and dtypes."""
    kinds = (
        [jax.tree.map(lambda leaf: f"{leaf.dtype}{list(jnp.shape(leaf))}", part) for part in y0]
        if isinstance(y0, tuple | list)
        else []
    )
    if not isinstance(y0, tuple) or len(y0) != 2 or kinds[0] != kinds[1]:
        got = f"{type(y0).__name__} of {', '.join(map(str, kinds))}" if kinds else kind_of(y0)
        first, second = what[1 : what.index(")")].split(", ")
        raise ShapeError(
            f"{name} starts at a tuple {what} of the same shapes and dtypes, got {got}; write ({first}0, {second}0), two arrays"
        )
