"""`SteadyStateODE`: where `dy/dt = model(y)` comes to rest."""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optimistix
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key

from ...core import differentiation_mode, with_fields
from ...flatten import LayerError
from .._constant import constant
from ._integrate import integrate
from ._neural_ode import NeuralODE
from ._results import ADVICE, RESULTS, SUCCESSFUL, name_of

# How far from an equilibrium explicit steps may stay about it, in units of the tolerance: a few of their own, which are a tenth of it.
_NEAR = 10


class SteadyStateODE(NeuralODE):
    """The equilibrium that the solution of `dy/dt = model(y)`, `y(t0) = y0`, comes to, as a layer.

        model(y*, p) = 0,        dy*/dp = -(d model/dy)^-1 (d model/dp)

    The equation is solved, with a tenth of these tolerances, until `rms(dy/dt) < atol + rtol rms(y)`, in the units of `y` and of time,
    and a step of Newton's method taken from there if that leads nearer. Where the solution stays about the equilibrium of a fast
    equation, as explicit steps at the limit of stability do, that step decides whether it is one. Gradients come from the implicit
    function theorem at the equilibrium, not from the solve: they cost one linear system of the size of the state, and no memory
    for the steps. Which equilibrium is found depends on `y0`; where it lies does not, so that the gradient in `y0` is 0.

    **Arguments:** as for every `AbstractODE`, of which `time`, `event`, `jump_ts` and `adjoint` have no place here. `t1` (default: 1e4)
    is when to give up.

    **Call:** `y0`, any tree of floating-point arrays, gives `y*` of the same structure. `inputs` are those of a model that takes
    control inputs; for an equilibrium they should not depend on time.

    **Parameters:** `model`.

    **States:** as for every `AbstractODE`; `solution.result` is of `lux.solvers.RESULTS`.

    **Errors:** as for every `AbstractODE`; `LayerError` for `ts`; at run time, if no equilibrium is reached by `t1`. Where the Jacobian
    is singular, as for a conserved quantity, the equilibrium is not a function of the parameters alone, and gradients are NaN:
    integrate to a late `t1` with a `NeuralODE` instead. A second derivative is an error.

    **Source:** Bai, Kolter and Koltun 2019, Deep Equilibrium Models; Kidger 2021, On Neural Differential Equations, section 5.1.2.
    """

    _: dataclasses.KW_ONLY
    t1: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.event is not None:
            raise LayerError(f"{name} ends where the field is 0; use a NeuralODE with event= for any other event")
        if self.time:
            raise LayerError(f"{name}: a field that depends on time has no equilibrium; leave out time=True")
        if self.jump_ts:
            raise LayerError(f"{name}: a field that jumps in time has no equilibrium; leave out jump_ts={self.jump_ts}")
        if self.adjoint != "auto":
            raise LayerError(
                f"{name} differentiates by the implicit function theorem; leave out adjoint={self.adjoint!r}"
            )

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        states = super().initial_states(key)
        return {**states, "solution": {**states["solution"], "result": RESULTS.successful}}

    def advice(self, result: int) -> str | None:
        return ADVICE.get(name_of(result))

    def _solution(self, y0: Any, args: Any, t0: Any, ts: Any, saveat: Any, time: Any) -> diffrax.Solution:
        if ts is not None or saveat is not None:
            raise LayerError(
                f"{type(self).__name__} returns the equilibrium alone; use a NeuralODE to see how it is reached"
            )
        closer = with_fields(self, rtol=0.1 * self.rtol, atol=jax.tree.map(lambda atol: 0.1 * atol, self.atol))
        settings = closer._settings(y0, t0, time(self.t1), time)
        field = self.terms(settings["solver"])
        tolerances = self.rtol, min(jax.tree.leaves(self.atol))
        event = diffrax.Event(diffrax.steady_state_event(*tolerances, optimistix.rms_norm))
        start, constants = constant((y0, args))
        solution = integrate(field, start, constants, None, None, settings, diffrax.ForwardMode(), event)
        result = RESULTS.promote(solution.result)
        result = RESULTS.where(result == RESULTS.successful, RESULTS.no_steady_state, result)
        result = RESULTS.where(result == RESULTS.event_occurred, SUCCESSFUL, result)
        reached: Any = solution.ts
        last = jax.tree.map(lambda leaf: leaf[-1], solution.ys)
        y, is_near = _equilibrium(field, reached[-1], last, args, tolerances)
        stopped = (result == RESULTS.no_steady_state) | (result == RESULTS.max_steps_reached)
        result = RESULTS.where(stopped & is_near, SUCCESSFUL, result)
        ys = jax.tree.map(lambda leaf: leaf[None], y)
        return eqx.tree_at(lambda s: (s.ys, s.result), solution, (ys, result))


def _equilibrium(field: Any, t: Any, y: Any, args: Any, tolerances: tuple[float, float]) -> tuple[Any, Any]:
    """`y`, where the field is 0, as a function of `args`; and whether it is, and was nearly there before Newton's step."""
    vector, tree = ravel_pytree(y)

    def on_vectors(vector: Any, args: Any) -> Any:
        return ravel_pytree(field(t, tree(vector), args))[0]

    known = constant(args)

    def jacobian(vector: Any, args: Any) -> Any:
        with differentiation_mode("forward"):
            return jax.jacfwd(on_vectors)(vector, args)

    # A step of Newton's method, if it leads nearer.
    start, residual = vector, on_vectors(vector, known)
    nearer = vector - jnp.linalg.solve(jacobian(vector, known), residual)
    better = jnp.linalg.norm(on_vectors(nearer, known)) < jnp.linalg.norm(residual)
    vector = jnp.where(better, nearer, vector)
    rms, (rtol, atol) = optimistix.rms_norm, tolerances
    allowed = atol + rtol * rms(vector)
    is_near = (rms(on_vectors(vector, known)) < allowed) & (rms(vector - start) < _NEAR * allowed)
    inverse = _inverse(jacobian(vector, known))
    return tree(_root(vector, inverse, on_vectors(vector, args))), is_near


def _inverse(matrix: Any) -> Any:
    """The inverse of a matrix, NaN if it has none up to rounding."""
    left, values, right = jnp.linalg.svd(matrix)
    smallest = len(matrix) * jnp.finfo(matrix.dtype).eps * jnp.max(values, initial=0)
    values = jnp.where(jnp.min(values, initial=jnp.inf) > smallest, values, jnp.nan)
    return (right.T / values[None, :]) @ left.T


@jax.custom_jvp
def _root(y: Any, inverse: Any, residual: Any) -> Any:
    """`y`, which moves with the residual so as to keep it 0."""
    return y


@_root.defjvp
def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
    y, inverse, residual = primals
    dy, _, dresidual = tangents
    # What the inverse owes to the parameters is not known here.
    once = eqxi.nondifferentiable(jnp.sum(residual), msg="a steady state can be differentiated once, not twice")
    return y, dy - (inverse + 0 * once) @ dresidual
