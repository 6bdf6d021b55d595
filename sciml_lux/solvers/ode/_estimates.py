"""What a solver thinks of an equation while it solves it: its estimates of the local error and of the stiffness, to be trained down."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..._errors import LayerError
from ...core import State, as_params, as_state
from ...flatten import Parameters, Params
from .._constant import constant
from .._types import StateTree, Time
from ..differential import (
    AbstractODE,
    Equation,
    Request,
    SolveSettings,
    as_array,
    check_times,
    diffrax_settings,
    integrate,
    per_component,
    time_dtype,
)
from ..runge_kutta import stage_points, stages, tableau_of, weighted, why_not_by_tableau


def solve_with_estimates(
    node: AbstractODE,
    y0: Any,
    ps: Parameters,
    st: State,
    ts: Any = None,
    *,
    t0: Any = None,
    inputs: Any = None,
    steps: int = 32,
) -> tuple[diffrax.Solution, State]:
    """The solution of `node.solve`, and in `solution.stats` how hard the equation was to solve, which can be differentiated.

        error_estimate     = sum_n |h_n| E_n,    E_n = rms((h_n sum_i (b_i - b^_i) k_i) / (atol + rtol max(|y_n|, |y_{n+1}|)))
        stiffness_estimate = sum_n |h_n| S_n,    S_n = |k_i - k_j| / |Y_i - Y_j|

    over the accepted steps `n` of size `h_n`, with the slopes `k` and states `Y` of their stages: the local error by the method's embedded
    formula, in units of the tolerance, and the size of the field's Jacobian by two stages `i, j` at one and the same time. Added
    to a loss with a small weight, they lead to fields that need fewer steps for the same fit:

        solve = functools.partial(lux.solvers.solve_with_estimates, node)
        loss = TrajectoryLoss(node, solve=solve, penalty=lambda solution: 0.1 * solution.stats["error_estimate"])

    The steps are recorded in a solve without derivatives, and their stages computed anew, side by side. Sizes of steps are not
    differentiated, states and parameters are.

    **Arguments:** `node`; `y0`, `ps`, `st`, `ts`, `t0`, `inputs`: as for `node.solve`; `steps`: of how many steps the stages
    are computed. If there are more, so many at equal distances stand for all.

    **Returns:** `(solution, st)`, of that very solve; with `batching="each"` the estimates have a leading axis, the samples.
    `stats` has `stiffness_estimate` for methods with two such stages (`Tsit5`, `Dopri5`, `Dopri8`).

    **Errors:** `LayerError` for a method that is not explicit or has no embedded formula, for a node with events, jumps or noise, and
    for one whose solution is not the state that it solves for.

    **Source:** Pal, Ma, Shah and Rackauckas 2021, Opening the blackbox: accelerating neural differential equations by regularizing internal
    solver heuristics (arXiv 2105.03918), where the stiffness is summed without `h_n`; the estimate is that of Hairer and
    Wanner 1996, Solving Ordinary Differential Equations II, section IV.2.
    """
    settings = SolveSettings.of(node)
    solver = _method(node, settings)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise LayerError(f"solve_with_estimates: steps is a whole number, 1 or more, got {steps!r}")
    params, state = as_params(ps), as_state(st)
    given = jax.tree.map(jnp.asarray, y0)
    lifted = node.lift(jax.tree.map(lambda leaf: leaf[0], given) if settings.by_sample else given, params, state)
    _check_observed(node, lifted, params, state)
    time = time_dtype(lifted).type
    if ts is not None:
        begin = node.t0 if t0 is None else t0
        check_times(settings.adapter, as_array(ts), begin, node.t1, None, settings.by_sample)
    ts = jnp.asarray([node.t1] if ts is None else ts, time)
    first = jnp.asarray(node.t0 if t0 is None else t0, time)
    sampled = _SampledSteps(node, settings, solver, params, state, steps)
    request = Request(given, first, ts, inputs=inputs)

    # One solve for what was asked for and for the states that the steps begin from, so that derivatives go through both.
    recorded = sampled.of_each(sampled.record, request)
    solution, st = node.solve(y0, ps, st, ts=recorded.every, t0=first, inputs=inputs)
    changed = sampled.of_each(sampled.estimate, request, recorded, solution.ys, solution.stats)
    return eqx.tree_at(lambda s: (s.ts, s.ys, s.stats), solution, changed), st


class _Recorded(NamedTuple):
    """Where steps begin and end, the weight of each, all times to save at in their order, and the way back from it."""

    begin: Array
    end: Array
    weight: Array
    every: Array
    back: Array


class _SampledSteps(NamedTuple):
    """Whose steps are looked at, and how many."""

    node: AbstractODE
    settings: SolveSettings
    solver: Any
    params: Any
    state: Any
    steps: int

    def of_each(self, function: Callable[..., Any], request: Request, *own: Any) -> Any:
        """`function(request, *own)`; of each sample with its own of all of them, where each is solved by itself."""
        if not self.settings.by_sample:
            return function(request, *own)
        axes = (request.axes(self.node.input_axes(request.inputs), None), *[eqx.if_array(0)] * len(own))
        return eqx.filter_vmap(function, in_axes=axes)(request, *own)

    def record(self, request: Request) -> _Recorded:
        ts = request.ts
        start = self.node.lift(request.y0, self.params, self.state)
        args = (self.params, self.state, request.inputs)
        begin, end, weight = _recorded(self.node, self.settings, start, args, request.t0, ts, self.steps)
        every = jnp.concatenate([ts, begin])
        order = jnp.argsort(every * np.sign(self.settings.t1 - self.settings.t0).astype(every.dtype), stable=True)
        return _Recorded(begin, end, weight, every[order], jnp.argsort(order))

    def estimate(
        self, request: Request, recorded: _Recorded, ys: StateTree, stats: dict[str, Any]
    ) -> tuple[Any, Any, dict[str, Any]]:
        """The times that were asked for, the states at them, and `stats` with the estimates."""
        begin, end, weight, _, back = recorded
        number = request.ts.size
        both = jax.tree.map(lambda leaf: leaf[back], ys)
        states = jax.tree.map(lambda leaf: leaf[number:], both)
        args = (self.params, self.state, request.inputs)
        sums = {
            name: jnp.sum(weight * jnp.abs(end - begin).astype(value.dtype) * value)
            for name, value in _estimates(self.node, self.settings, self.solver, begin, end, states, args).items()
        }
        return request.ts, jax.tree.map(lambda leaf: leaf[:number], both), {**stats, **sums}


def _method(node: AbstractODE, settings: SolveSettings) -> Any:
    solver: Any = settings.solver or diffrax.Tsit5()
    tableau = getattr(solver, "tableau", None)
    unknown = "stiff=True chooses an implicit one" if settings.stiff else why_not_by_tableau(solver)
    if unknown or getattr(tableau, "b_error", None) is None:
        unknown = unknown or f"{type(solver).__name__} has none"
        raise LayerError(
            f"solve_with_estimates takes an explicit Runge-Kutta method with an error estimate, such as diffrax.Tsit5(); {unknown}"
        )
    if type(node).driven_terms is not Equation.driven_terms:
        raise LayerError(f"solve_with_estimates takes no equation that more than time drives, got {settings.adapter}")
    if settings.event is not None or hasattr(node, "jump"):
        raise LayerError(
            "solve_with_estimates takes no events, jumps or doses, where steps end that the solver did not choose; "
            f"got {type(node).__name__}"
        )
    return solver


def _check_observed(node: AbstractODE, y: StateTree, params: Params, state: State) -> None:
    if node.observe(y, params, state) is not y:
        raise LayerError(
            "solve_with_estimates takes an adapter whose solution is the state that it solves for, such as NeuralODE, "
            f"and this {type(node).__name__} makes something else of it"
        )


def _recorded(
    equation: Equation,
    settings: SolveSettings,
    y0: StateTree,
    args: PyTree,
    t0: Float[Array, ""],
    ts: Float[Array, " times"],
    number: int,
) -> tuple[Array, Array, Array]:
    """Where `number` of the accepted steps begin and end, and the weight of each; those that there are not have no length."""
    y0, args, t0, ts = constant((y0, args, t0, ts))
    t1 = ts[-1]
    options = diffrax_settings(settings, y0, t0, t1)
    options["max_steps"] = settings.max_steps or 4096
    saveat = diffrax.SaveAt(t0=True, steps=True, fn=_nothing)
    field = equation.terms(options["solver"])
    solution = integrate(field, y0, args, None, saveat, options, diffrax.ForwardMode(), None)
    times: Any = solution.ts
    taken = solution.stats["num_accepted_steps"].astype(jnp.int32)
    index = jnp.arange(number, dtype=jnp.int32) * jnp.maximum(taken, number) // number
    active = index < taken
    begin = jnp.where(active, times[jnp.minimum(index, times.size - 2)], t1)
    end = jnp.where(active, times[jnp.minimum(index + 1, times.size - 1)], t1)
    counted = jnp.minimum(taken, number)
    dtype = jnp.finfo(jax.tree.leaves(y0)[0].dtype).dtype
    return begin, end, taken.astype(dtype) / jnp.maximum(counted, 1).astype(dtype)


def _nothing(t: Time, y: StateTree, args: PyTree) -> None:
    return None


def _estimates(
    equation: Equation,
    settings: SolveSettings,
    solver: diffrax.AbstractERK,
    begin: Float[Array, " steps"],
    end: Float[Array, " steps"],
    states: Float[Array, "steps state"],
    args: PyTree,
) -> dict[str, Array]:
    """For each step the error in units of the tolerance, and the stiffness."""
    tableau, terms = tableau_of(solver), equation.terms(solver)
    c = tableau.c
    pair = [(i, j) for j in range(c.size) for i in range(j) if i > 0 and c[i] == c[j]][-1:]
    state = jax.tree.map(lambda leaf: leaf[0], states)
    tolerances, (_, unravel), y0 = _tolerances(settings, state), ravel_pytree(state), jax.vmap(_raveled)(states)

    @jax.vmap
    def field(t: Float[Array, ""], y: Float[Array, " state"]) -> Any:
        return _raveled(terms(t, unravel(y), args))

    k, _ = stages(field, tableau, begin, end, y0)
    _, points = stage_points(tableau, begin, end, y0, k)
    larger = jnp.maximum(jnp.abs(y0), jnp.abs(y0 + weighted(tableau.b, k)))
    error = weighted(tableau.b_error, k) / (jnp.asarray(tolerances, larger.dtype)[None] + settings.rtol * larger)
    found = {"error_estimate": _size(error) / np.sqrt(y0.shape[1]).astype(larger.dtype)}
    # A step of no length has no slopes, and counts for nothing.
    length = jnp.abs(end - begin).astype(larger.dtype)
    for i, j in pair:
        change = _size(k[i] - k[j]) / jnp.where(length > 0, length, 1)
        found["stiffness_estimate"] = change / _size(points[i] - points[j])
    return found


def _raveled(tree: PyTree[Array]) -> Array:
    return ravel_pytree(tree)[0]


def _tolerances(settings: SolveSettings, y: StateTree) -> np.ndarray:
    """`atol` of each number of the state."""
    entries = per_component(f"{settings.adapter}: atol", settings.atol, y)
    full = jax.tree.map(lambda values, leaf: np.broadcast_to(values, leaf.shape).ravel(), entries, y)
    return np.concatenate(jax.tree.leaves(full))


def _size(vectors: Array) -> Array:
    # Its derivative is finite everywhere, in a step of no length too.
    return jnp.sqrt(jnp.sum(jnp.abs(vectors) ** 2, axis=-1) + jnp.finfo(vectors.dtype).tiny)
