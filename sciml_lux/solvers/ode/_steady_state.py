"""`SteadyStateODE`: where `dy/dt = model(y)` comes to rest."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key, PyTree

from ..._errors import LayerError
from ...core import differentiation_mode
from .._constant import constant
from .._types import StateTree
from ..differential import (
    RESULTS,
    SUCCESSFUL,
    SolveSettings,
    Start,
    advice_for,
    diffrax_settings,
    integrate,
    largest,
    per_component,
    time_dtype,
)
from ._jacobian import jacobian, packed
from ._neural_ode import NeuralODE

# How far from an equilibrium a solve may be, in units of the tolerance: explicit steps stay about it, a few of their own tolerances away,
# which are a tenth of it.
_NEAR = 10
# Each squares the distance, nearly, which is one of rounding after the second; the third shows it.
_NEWTON_STEPS = 3


class SteadyStateODE(NeuralODE):
    """The equilibrium that the solution of `dy/dt = model(y)`, `y(t0) = y0`, comes to, as a layer.

        model(y*, p) = 0,        dy*/dp = -(d model/dy)^-1 (d model/dp)

    The equation is solved, with a tenth of these tolerances, until no number would move by more than about its tolerance,
    `atol + rtol |y|`, in as long as the solve has lasted; then Newton's method decides whether an equilibrium is that near, and finds it to
    rounding. If none is, the solve goes on for as long again. So each number is judged by itself, in its own units and in no unit of time:
    what is at rest beside it makes no difference. The start of an orbit that leaves an unstable equilibrium counts as being there if
    it is within the tolerance.

    Gradients come from the implicit function theorem at the equilibrium, not from the solve: they cost one linear system, and no memory
    for the steps. With samples along the leading axis, which do not depend on each other, that is one small matrix for each; where
    they do, GMRES solves the system of all. Which equilibrium is found depends on `y0`; where it lies does not, so that the
    gradient in `y0` is 0.

    **Arguments:** as for every `AbstractODE`, of which `time`, `event`, `jump_ts` and `adjoint` have no place here. `t1` (default: 1e4)
    is when to give up.

    **Call:** `y0`, any tree of floating-point arrays, gives `y*` of the same structure. `inputs` are those of a model that takes
    control inputs; for an equilibrium they should not depend on time.

    **Parameters:** `model`.

    **States:** as for every `AbstractODE`; `solution.result` is of `lux.solvers.RESULTS`.

    **Errors:** as for every `AbstractODE`; `LayerError` for `ts`; at run time, if no equilibrium is reached by `t1`, and in `max_steps`
    between two looks. Where the Jacobian is singular, as for a conserved quantity, the equilibrium is not a function of the parameters
    alone, and gradients of what depends on more than them are NaN: integrate to a late `t1` with a `NeuralODE` instead. A second
    derivative is an error.

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
        return advice_for(result)

    def solution_from(self, start: Start, settings: SolveSettings) -> diffrax.Solution:
        if start.ts is not None or start.saveat is not None:
            raise LayerError(
                f"{type(self).__name__} returns the equilibrium alone; use a NeuralODE to see how it is reached"
            )
        y0, rtol = start.y0, settings.rtol
        atol = per_component(f"{settings.adapter}: atol", settings.atol, y0)
        tenth = jax.tree.map(lambda atol: 0.1 * atol, settings.atol)
        closer = dataclasses.replace(settings, rtol=0.1 * rtol, atol=tenth)
        options = diffrax_settings(closer, y0, start.t0, time_dtype(y0).type(settings.t1))
        tolerance = jax.tree.map(
            lambda atol, leaf: jnp.broadcast_to(jnp.asarray(atol, leaf.dtype), leaf.shape), atol, y0
        )
        return _solved(self.terms(options["solver"]), y0, start.args, rtol, tolerance, options)


class _Progress(NamedTuple):
    """Where a solve is: `wait`, how long it lasts before it may be at rest."""

    t: Any
    y: Any
    wait: Any
    num_steps: Any
    result: Any
    done: Any


@eqx.filter_jit  # for calls that nothing compiles: the loop would be compiled anew each time
def _solved(
    field: Callable[..., Any], y0: StateTree, args: PyTree, rtol: float, atol: PyTree[Array], settings: dict[str, Any]
) -> diffrax.Solution:
    """The equation solved until it is at rest, which is looked at where nothing moves by more than the tolerance in as long as the solve
    lasts; where it is not at rest after all, it goes on for as long again."""
    start, constants, t0, t1 = constant((y0, args, settings["t0"], settings["t1"]))
    time = jnp.result_type(t0)

    def advance(at: _Progress) -> _Progress:
        event = diffrax.Event(jax.tree_util.Partial(_seems_at_rest, field, (rtol, atol), t0, at.wait))
        of_piece = {**settings, "t0": at.t, "t1": t1}
        solution = integrate(field, at.y, constants, None, None, of_piece, diffrax.ForwardMode(), event)
        t, y = jax.tree.map(lambda leaf: leaf[-1], (solution.ts, solution.ys))
        t = jnp.asarray(t, time)
        settled, at_rest = _settled(field, t, y, constants, rtol, atol, t1 - t0)
        num_steps = at.num_steps + jnp.asarray(solution.stats["num_steps"], jnp.int32)
        result = RESULTS.promote(solution.result)
        goes_on = (result == RESULTS.event_occurred) & ((t1 - t) * (t1 - t0) > 0)
        stopped = (result == RESULTS.successful) | (result == RESULTS.event_occurred)
        result = RESULTS.where(stopped, RESULTS.no_steady_state, result)
        okay = at_rest & ((result == RESULTS.no_steady_state) | (result == RESULTS.max_steps_reached))
        result = RESULTS.where(okay, SUCCESSFUL, result)
        y = jax.tree.map(lambda new, old: jnp.where(okay, new, old), settled, y)
        return _Progress(t, y, 2 * jnp.abs(t - t0), num_steps, result, okay | ~goes_on)

    zero = jnp.zeros((), jnp.int32)
    begin = _Progress(
        jnp.asarray(t0, time), start, jnp.zeros((), time), zero, RESULTS.no_steady_state, jnp.asarray(False)
    )
    end = lax.while_loop(lambda at: ~at.done, advance, begin)
    y = _root(end.y, (field, end.t, constants), packed(field(end.t, end.y, args))[0])
    stats = {"num_steps": end.num_steps, "t_reached": end.t, "y_largest": largest(end.y, time)}
    return diffrax.Solution(
        t0=t0, t1=t1, ts=end.t[None], ys=jax.tree.map(lambda leaf: leaf[None], y), interpolation=None, stats=stats,
        result=end.result, solver_state=None, controller_state=None, made_jump=None, event_mask=None,
    )  # fmt: skip


def _seems_at_rest(
    field: Callable[..., Any],
    tolerances: tuple[Any, Any],
    begin: Float[Array, ""],
    wait: Float[Array, ""],
    t: Float[Array, ""],
    y: StateTree,
    args: PyTree,
    **kwargs: Any,
) -> Bool[Array, ""]:
    """Whether no number would move by more than about its tolerance in as long as the solve has lasted: in no unit of time."""
    del kwargs
    (rtol, atol), elapsed = tolerances, jnp.abs(t - begin)

    def slow(dy: Array, y: Array, atol: Any) -> Any:
        return jnp.all(jnp.abs(dy) * elapsed.astype(dy.dtype) <= _NEAR * (atol + rtol * jnp.abs(y)))

    parts = jax.tree.leaves(jax.tree.map(slow, field(t, y, args), y, atol))
    return jnp.all(jnp.stack([elapsed > wait, *parts]))


def _settled(
    field: Callable[..., Any],
    t: Float[Array, ""],
    y: StateTree,
    args: PyTree,
    rtol: Any,
    atol: PyTree[Array],
    span: Float[Array, ""],
) -> tuple[Any, Bool[Array, ""]]:
    """The equilibrium next to `y` by Newton's method with one Jacobian, and whether it is one and that near.

    Where the Jacobian is singular, nothing moves: there `y` is at rest if the field leads to where it is 0, and what leads nowhere
    would not move by the tolerance in the whole span.
    """
    vector, unpacked, size = packed(y)
    tolerance = packed(atol)[0] + rtol * jnp.abs(vector)

    def on_vectors(vector: Float[Array, " state"]) -> Any:
        with differentiation_mode("forward"):
            return packed(field(t, unpacked(vector), args))[0]

    linear = jacobian(on_vectors, on_vectors, vector, size)

    def step(_: Array, at: tuple[Any, ...]) -> Any:
        x = at[0]
        change, left, regular = linear.nearest(on_vectors(x))
        return jnp.where(regular, x - change, x), change, left, regular

    start = (vector, vector, vector, jnp.zeros(vector.shape, bool))
    x, last, left, regular = lax.fori_loop(0, _NEWTON_STEPS, step, start)
    of_regular = (jnp.abs(x - vector) <= _NEAR * tolerance) & (jnp.abs(last) <= tolerance)
    drift = jnp.abs(left) * jnp.abs(span).astype(left.dtype)
    of_singular = (jnp.abs(last) <= _NEAR * tolerance) & (drift <= tolerance)
    return unpacked(x), jnp.all(jnp.where(regular, of_regular, of_singular))


@eqx.filter_custom_jvp
def _root(y: StateTree, system: tuple[Any, ...], residual: Array) -> Any:
    """`y`, which moves with the residual so as to keep it 0. `system`: the field, the time and its arguments, as constants."""
    del system, residual
    return y


@_root.def_jvp
def _(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    y, system, residual = primals
    _, _, dresidual = tangents
    # What the Jacobian owes to the parameters is not known here.
    once = eqxi.nondifferentiable(jnp.sum(residual), msg="a steady state can be differentiated once, not twice")
    return y, _moved(system, y, dresidual + 0 * once)


@eqx.filter_jit  # for derivatives that nothing compiles, as the solve
def _moved(system: tuple[Any, ...], y: StateTree, dresidual: Array) -> Any:
    field, t, args = system
    vector, unpacked, size = packed(y)

    def on_vectors(vector: Float[Array, " state"]) -> Any:
        return packed(field(t, unpacked(vector), args))[0]

    def forward(vector: Float[Array, " state"]) -> Any:
        with differentiation_mode("forward"):
            return on_vectors(vector)

    return unpacked(-jacobian(forward, on_vectors, vector, size).solve(dresidual))
