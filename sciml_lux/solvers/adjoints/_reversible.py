"""`ReversibleAdjoint`: gradients of explicit solves in memory that does not grow with the number of steps."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import PyTree

from ..._errors import LayerError
from ...core import differentiation_mode
from .._both_modes import in_both_modes
from .._constant import constant
from .._failure import Outcome, guard
from .._types import StateTree, TermTree, Time
from ..runge_kutta import Shape, why_not_by_tableau
from ._coupled import CoupledSolver
from ._reversible_backward import SAVE_Y, Problem, Recorded, Solve, probe, pull_back_steps, subs_of

APART = (
    "ReversibleAdjoint: the two solutions that it couples came further apart than the errors of the steps explain, as they do where "
    "the equation damps strongly, or the steps are long. Try smaller tolerances or steps, or a smaller coupling in float64; "
    "adjoint=diffrax.RecursiveCheckpointAdjoint() has no such limit"
)
_OTHERS = "diffrax.RecursiveCheckpointAdjoint()"


class ReversibleAdjoint(diffrax.AbstractAdjoint):
    """Exact gradients of explicit Runge-Kutta solves, in memory that does not grow with the number of steps.

    A second solution `z` is carried along, and each is stepped from the other. With the increment `Psi_h(t, y)` of the base method,

        y_{n+1} = z_n + lambda (y_n - z_n) + Psi_h(t_n, z_n),      z_{n+1} = z_n - Psi_{-h}(t_{n+1}, y_{n+1}),

    of the order of the base method, and inverted by algebra alone:

        z_n = z_{n+1} + Psi_{-h}(t_{n+1}, y_{n+1}),      y_n = z_n + (y_{n+1} - z_n - Psi_h(t_n, z_n)) / lambda.

    The gradient undoes the steps from the last to the first, and takes the adjoint of each on the way. What is kept of a solve
    are `y` and `z` at its end and, for each step, the time and one number to check by: for `max_steps` steps `2 max_steps`
    numbers, and the activations of one step while it is differentiated.

    `lambda = coupling^(h / |t1 - t0|)` for a step of length `h`: over the whole solve the distance between the two solutions is
    damped by the factor `coupling`, and rounding errors are magnified by its reciprocal on the way back, whatever
    the number of steps (McCallum and Foster hold `lambda` constant: `N` equal steps with theirs are these with `coupling = lambda^N`).

    **When to choose it:** long solves of large states, where not even the checkpoints of `diffrax.RecursiveCheckpointAdjoint`, about
    `sqrt(2 N)` states, fit into memory. A step evaluates the field twice as often as the base method, and as often once more on the
    way back: with a small state, checkpoints are faster.
    The distance between the solutions grows like `exp(a |t1 - t0|) coupling` where the equation damps at the rate `a`, and so
    do rounding errors on the way back. Solves with `a |t1 - t0|` beyond about 10 fail, and say so: `coupling=1e-6`, in float64, reaches
    somewhat further. Stiff and strongly damped equations need another adjoint.

    **Arguments:** `coupling`: above 0, at most 1; by default 1e-3, and 1e-2 in float32, where solves that spread out drift on the way back.
    `throw`: whether a way back that fails raises; by default as `diffeqsolve` and the adapter do.

    **Use:** `diffrax.diffeqsolve(..., adjoint=ReversibleAdjoint())`, or the `adjoint` of any `AbstractODE`, with an explicit
    Runge-Kutta method (`diffrax.Tsit5()`, `diffrax.Dopri8()`, ...), fixed or adaptive steps, forward or backward in time, and any
    `diffrax.SaveAt` but `dense`. Gradients, in reverse mode, of first order, with respect to `y0`, `args`, `ts`, `t1` and
    what the field refers to; as for `diffrax`, the choice of the steps is not differentiated.

    **Errors:** `LayerError` for what it cannot reverse: implicit methods, terms that are no `diffrax.ODETerm`, events, dense output,
    complex or mixed states, `max_steps=None`, least squares in forward mode; `RuntimeError` for derivatives of second order or with
    respect to anything else; at run time, `diffrax.RESULTS.nonlinear_divergence` if the solutions come further apart than ten times
    the sum of the estimated errors of the steps, and an error, or with `throw=False` gradients of NaN, if on the way back the solution
    is missed by more than half of its digits, at the end of any step.

    **Source:** McCallum and Foster 2024, Efficient, Accurate and Stable Gradients for Neural ODEs, arXiv:2410.11648.
    """

    coupling: float | None = None
    throw: bool | None = None

    def __check_init__(self) -> None:
        if self.coupling is not None and not (isinstance(self.coupling, int | float) and 0 < self.coupling <= 1):
            raise LayerError(f"ReversibleAdjoint: coupling is a number above 0 and at most 1, got {self.coupling!r}")

    def loop(
        self,
        *,
        args: PyTree,
        terms: TermTree,
        solver: Any,
        saveat: diffrax.SaveAt,
        t1: Time,
        init_state: Any,
        **rest: Any,
    ) -> Any:
        """What `diffrax.diffeqsolve` calls: the solve, and the rule for its gradient."""
        _check(terms, solver, saveat, init_state.y, rest)
        terms, saveat = _converted(terms, saveat, (jnp.asarray(rest["t0"]), init_state.y, args))
        fixed = {name: rest[name] for name in ("t0", "dt0", "stepsize_controller")}
        rest |= eqx.internal.nondifferentiable(fixed, msg=_only("y0, args, ts and t1, not t0, dt0 or the controller"))
        coupling = self.coupling or (1e-3 if jax.tree.leaves(init_state.y)[0].dtype == jnp.dtype("float64") else 1e-2)
        coupled = CoupledSolver(solver, coupling, lax.stop_gradient(t1) - rest["t0"], Shape.of(init_state.y))
        solve = Solve(init_state.y, args, terms, [sub.ts for sub in subs_of(saveat)], t1)
        start = (coupled, saveat, constant(init_state), rest)
        final, recorded = _forward(constant(solve), *start)
        # The times to save at are a part of `solve`.
        saveat = eqx.tree_at(
            lambda s: [sub.ts for sub in subs_of(s) if sub.ts is not None], saveat, replace_fn=lax.stop_gradient
        )
        problem = Problem(
            coupled,
            saveat,
            rest["stepsize_controller"],
            rest["t0"],
            rest["throw"] if self.throw is None else self.throw,
        )
        # What was not made constant: arrays that a function refers to without being given them.
        fixed = eqx.internal.nondifferentiable(
            (_saved(final), recorded, problem),
            msg=_only("y0, args, ts, t1 and what the field refers to, not what fn of SaveAt does"),
        )
        ys = in_both_modes(
            lambda given: _with_gradient(given[0], *given[1]),
            lambda given: _saved(_forward(given[0], *given[2])[0]),
            (solve, fixed, start),
            _only("y0, args, ts and t1"),
            twice=False,
        )
        if rest["throw"]:
            apart = final.result == diffrax.RESULTS.nonlinear_divergence
            ys = guard(ys, Outcome(~apart, 0, final.tprev, 0.0), lambda _: APART, throw=True)
        return eqx.tree_at(_saved, final, ys), {}


def _only(what: str) -> str:
    return (
        f"ReversibleAdjoint gives first derivatives, in reverse mode, with respect to {what}; write adjoint={_OTHERS}"
    )


def _check(
    terms: TermTree, solver: diffrax.AbstractSolver[Any], saveat: diffrax.SaveAt, y0: StateTree, rest: dict[str, Any]
) -> None:
    """Refuses what cannot be reversed, before anything is compiled."""
    leaves = jax.tree.leaves(y0)
    unknown = why_not_by_tableau(solver)
    passed = rest["passed_solver_state"] or rest["passed_controller_state"]
    refused = {
        f"steps an explicit Runge-Kutta method such as diffrax.Tsit5(), and {unknown}": unknown is not None,
        "solves a single diffrax.ODETerm": not isinstance(getattr(terms, "term", terms), diffrax.ODETerm),
        "solves for real arrays of one dtype": len({leaf.dtype for leaf in leaves}) > 1
        or any(jnp.iscomplexobj(leaf) for leaf in leaves),
        "needs a bound on the steps, max_steps": rest["max_steps"] is None,
        "knows no events": rest["event"] is not None,
        "saves no dense output and no state of the solver; give it times, ts": saveat.dense
        or saveat.solver_state
        or saveat.controller_state,
        "starts with its own state of solver and controller": passed,
        "is for reverse mode": differentiation_mode.value == "forward",
    }
    for what, is_so in refused.items():
        if is_so:
            other = "diffrax.ForwardMode()" if "reverse mode" in what else _OTHERS
            raise LayerError(f"ReversibleAdjoint {what}; otherwise write adjoint={other}")


def _converted(terms: Any, saveat: diffrax.SaveAt, point: tuple[Any, ...]) -> tuple[Any, Any]:
    """The functions with the arrays that they refer to as leaves: a function of the way back may not meet them otherwise."""
    field = eqx.filter_closure_convert(terms.term.vector_field, *point)
    terms = eqx.tree_at(lambda t: t.term.vector_field, terms, field)
    chosen = [sub.fn is not SAVE_Y for sub in subs_of(saveat)]

    def functions(saveat: diffrax.SaveAt) -> list[Any]:
        return [sub.fn for sub, is_chosen in zip(subs_of(saveat), chosen, strict=True) if is_chosen]

    converted = [eqx.filter_closure_convert(fn, *point) for fn in functions(saveat)]
    return terms, eqx.tree_at(functions, saveat, converted)


def _saved(state: Any) -> list[Any]:
    return [save.ys for save in _save_states(state.save_state)]


def _save_states(tree: PyTree) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=lambda node: hasattr(node, "saveat_ts_index"))


def _forward(
    solve: Solve, coupled: CoupledSolver, saveat: diffrax.SaveAt, init_state: Any, rest: dict[str, Any]
) -> Any:
    """diffrax's final state, as if the base method had been stepped, and what is needed to go back."""
    z0 = coupled.shape.vector(solve.y0)
    time, size = jnp.result_type(rest["t0"]), rest["max_steps"]
    saves = _save_states(init_state.save_state)
    record = type(saves[0])(
        saveat_ts_index=0, ts=jnp.full(size, jnp.inf, time), ys=jnp.full(size, jnp.inf, z0.dtype), save_index=0
    )
    steps = diffrax.SubSaveAt(steps=True, fn=lambda t, y, args: probe(coupled.shape.vector(y)))
    final, _ = diffrax.ForwardMode().loop(
        args=solve.args,
        terms=solve.terms,
        solver=coupled,
        saveat=eqx.tree_at(lambda s: s.subs, solve.saving(saveat), (solve.saving(saveat).subs, steps)),
        t1=solve.t1,
        init_state=eqx.tree_at(
            lambda s: (s.y, s.solver_state, s.save_state),
            init_state,
            (
                solve.y0,
                coupled.init(solve.terms, rest["t0"], solve.t1, solve.y0, solve.args),
                (init_state.save_state, record),
            ),
            is_leaf=lambda node: node is None,
        ),
        **rest,
    )
    save_state, record = final.save_state
    indices = [(save.save_index, save.saveat_ts_index) for save in _save_states(save_state)]
    recorded = Recorded(
        t=jnp.concatenate([jnp.asarray(rest["t0"], time)[None], record.ts]),
        probes=record.ys,
        number=final.num_accepted_steps,
        y=coupled.shape.vector(final.y),
        z=final.solver_state.z,
        indices=indices,
    )
    final = eqx.tree_at(
        lambda s: (s.solver_state, s.save_state),
        final,
        (init_state.solver_state, save_state),
        is_leaf=lambda node: node is None,
    )
    return final, recorded


@eqx.filter_custom_vjp
def _with_gradient(solve: Solve, ys: list[Any], recorded: Recorded, problem: Problem) -> Any:
    """`ys`, which was computed without derivatives, as a function of `solve`."""
    del solve, recorded, problem
    return ys


@_with_gradient.def_fwd
def _with_gradient_forward(
    perturbed: Solve, solve: Solve, ys: list[Any], recorded: Recorded, problem: Problem
) -> tuple[Any, None]:
    del perturbed, solve, recorded, problem
    return ys, None


@_with_gradient.def_bwd
def _with_gradient_backward(
    residuals: None,
    ys_bar: list[Any],
    perturbed: Solve,
    solve: Solve,
    ys: list[Any],
    recorded: Recorded,
    problem: Problem,
) -> Any:
    del residuals
    ys_bar = jax.tree.map(
        lambda y, bar: jnp.zeros_like(y) if bar is None else bar, eqx.filter(ys, eqx.is_inexact_array), ys_bar
    )
    # A derivative of this is a second derivative.
    solve = eqx.internal.nondifferentiable(solve, msg=_only("y0, args, ts and t1"))
    return pull_back_steps(problem, recorded, ys_bar, solve, perturbed)
