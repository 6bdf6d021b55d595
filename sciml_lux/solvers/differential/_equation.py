"""`Equation`: what an adapter says of what it solves."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..._errors import LayerError, ShapeError
from ...core import State, describe
from ...flatten import Params
from .._types import StateTree, Time
from ._checks import takes_two_terms
from ._integrate import integrate
from ._methods import chosen_adjoint, diffrax_settings
from ._request import Start
from ._settings import SolveSettings
from ._values import time_dtype


class Equation:
    """What an adapter says of what it solves: the hooks that the engine calls. It knows nothing else of an adapter.

    An adapter writes `derivative`, and, where what it solves for is not what it is given, `lift` and `observe`; `terms` where a solver
    takes several; `driven_terms` where noise or a path drives it; `advance` where its layers are called elsewhere too; `solution_from`
    where it is not diffrax that solves it, or not in one piece.

    In all of them `params` are the structured parameters, and `state` is that of the adapter, constant during a solve. Where the equation
    `is_random`, `state["key"]` is the random key of the very solve: with `batching="each"`, that of the sample.
    """

    # What a state is made of that is a pair, and the model is called on: "q, p".
    pair: ClassVar[str | None] = None
    # Whether a solve is given a random key, which is in the state, another one for each sample and each call.
    is_random: ClassVar[bool] = False

    model: Any

    def derivative(self, t: Time, y: StateTree, params: Params, state: State, inputs: Any) -> tuple[Any, State]:
        """`dy/dt` at `(t, y)`, and the advanced state of the children. `inputs`: as given to `solve`."""
        raise LayerError(
            f"{type(self).__name__} has no derivative(self, t, y, params, state, inputs); "
            "write one that returns (dy, state of the children)"
        )

    def lift(self, y0: Any, params: Params, state: State) -> Any:
        """The state that is solved for, from the initial value that was given."""
        return y0

    def observe(self, y: StateTree, params: Params, state: State) -> Any:
        """What is returned of a state that was solved for."""
        return y

    @property
    def hides_state(self) -> bool:
        """Whether what is given and returned is another thing than the state that is solved for, so that a solve cannot be taken up
        again from what it returned."""
        return type(self).lift is not Equation.lift or type(self).observe is not Equation.observe

    def terms(self, solver: diffrax.AbstractSolver[Any]) -> Any:
        """The derivative as a callable pytree of `(t, y, args)`; a tuple of them for a solver that takes several terms, such as
        `diffrax.SemiImplicitEuler()`. `args` are `(params, state, inputs)`."""
        if takes_two_terms(solver):
            raise LayerError(
                f"{type(self).__name__} has one field, and {type(solver).__name__} takes two; use it with SecondOrderODE or HamiltonianODE"
            )
        # As a pytree, not as a method, which equals only that of the same object: equal nodes share a compilation.
        return jax.tree_util.Partial(_field, self)

    def driven_terms(self, solver: diffrax.AbstractSolver[Any], start: Start) -> Any:
        """The terms of one solve, of diffrax where more than time drives it: noise, or a measured path.

            noise = diffrax.VirtualBrownianTree(self.t0, self.t1, 1e-3, start.y0.shape, start.state["key"])
            return diffrax.MultiTerm(diffrax.ODETerm(self.terms(solver)), diffrax.ControlTerm(diffusion, noise))

        By default `terms(solver)`. Their functions are callable pytrees as there. `start`: where the solve begins, with what.
        """
        return self.terms(solver)

    def advance(self, t0: Time, given: StateTree, y0: StateTree, params: Params, state: State, inputs: Any) -> State:
        """The state of the children after a call. `t0`: the start of the solve; `given`: the initial value as it came; `y0`: what
        `lift` made of it."""
        return self.derivative(t0, y0, params, state, inputs)[1]

    def advice(self, result: int) -> str | None:
        """What to try after a failure that is this adapter's own, given the number of the result; `None` after any other."""
        return None

    def solution_from(self, start: Start, settings: SolveSettings) -> diffrax.Solution:
        """The solution of one solve, whether it succeeded or not: by default the engine's, `integrate`."""
        t1 = time_dtype(start.y0).type(settings.t1) if start.ts is None else start.ts[-1]
        options = diffrax_settings(settings, start.y0, start.t0, t1)
        terms, adjoint = self.driven_terms(options["solver"], start), chosen_adjoint(settings)
        return integrate(terms, start.y0, start.args, start.ts, start.saveat, options, adjoint, settings.event, True)

    def input_axes(self, inputs: Any) -> Any:
        """Which arrays in `inputs` have a leading axis, the samples of `batching="each"`, as for `equinox.filter_vmap`: by default all
        of an interpolation whose times are a matrix, and none of any other."""
        times: Any = getattr(inputs, "ts", None)
        return eqx.if_array(0) if np.ndim(times) == 2 else None

    def drive_axes(self, drives: Any) -> Any:
        """The same of what else drives the equation: by default no array."""
        return None

    def checked(self, dy: Any, y: StateTree) -> Any:
        """`dy`, a time derivative of `y` or of a part of the state, if it is of its shape and dtype. **Errors:** `ShapeError`."""
        # Types and shapes as strings; a tree of them is compared, and shown, as one.
        got, expected = (
            jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", tree) for tree in (dy, y)
        )
        if got != expected:
            raise ShapeError(
                f"{type(self).__name__}: the model {describe(self.model)} returned {got}, expected a time derivative of the shape "
                f"and dtype of the state, {expected}"
            )
        return dy


def _field(equation: Equation, t: Time, y: StateTree, args: PyTree) -> Any:
    params, state, inputs = args
    return equation.checked(equation.derivative(t, y, params, state, inputs)[0], y)
