"""`DeepEquilibrium`: the fixed point of a model, as a layer."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jaxtyping import Array, Key, PyTree

from ..._errors import LayerError, ShapeError
from ...core import (
    AbstractLayer,
    State,
    as_params,
    as_state,
    is_numbers,
    kind_of,
    make_array,
    with_fields,
)
from ...flatten import Parameters, Params
from .._adapter import AbstractAdapter
from .._failure import Outcome, guard
from .._types import Truth
from ..fixed_point import Anderson
from ._attach import Rule, accuracy_of, attach
from ._cell import Cell, apply
from ._corrections import iterates
from ._find import Found, find_equilibrium, judge_at
from ._penalties import JacobianPenalty, largest_growth
from ._report import explain, figures, result_of, warn_of_weak_contraction
from ._rows import rows_of
from ._settings import check_settings, check_solver
from ._start import finite_start, isolated, start_of, zeros_like_input
from .gradients import Accuracy, GradientChoice, UnrolledGradient, choose_gradient


class DeepEquilibrium(AbstractAdapter):
    """The fixed point of a model in its first argument, as a layer.

        z* = model(z*, x),        dz*/dp = (I - d model/dz)^-1 (d model/dp)

    The steps that lead to `z*` are not differentiated and take no memory: gradients come from the equation.

    **Arguments:** `model`: a layer that takes the pair `(z, x)` and returns the next `z`, of the same shape and dtype; then, by name:

    - `solver`: a fixed-point solver or root finder of optimistix, such as `lux.solvers.Anderson(rtol=1e-4, atol=1e-4)`, the default.
      Those of this package solve each sample by itself; others all as one.
    - `adjoint`: `lux.solvers.ImplicitGradient()`, which `"auto"`, the default, stands for; `JacobianFreeGradient()`, `PhantomGradient()`,
      `ShineGradient()`, or `UnrolledGradient(steps=...)`. `print(deq.choose_adjoint(x, ps, st))` says more.
    - `init`: what `z` starts from: `"zeros"`, of the shape of `x`; `"skip_reg"`, the model applied to these; a function of `x`; or a layer,
      which predicts it from `x` and learns to through `st.solution.init_distance`.
    - `max_steps`: of the solver. `throw`: whether a failed solve raises.
    - `unconverged`: `"fail"`, or `"best"`: a sample that did not converge is no failure, but returns its best iterate, the one with the
      smallest residual; `st.solution.converged` and `residual` still say so. Its gradient is that of the equation linearized there,
      as if it were an equilibrium: the derivative of a step of Newton's method from it, not of the value that is returned. A sample
      that is not finite fails as ever.
    - `batched`: whether the leading axis of `z` is the sample: each then converges on its own. A `z` of one axis is one sample always.
    - `warm_start`: start from the result of the last call, kept in the state, if that had as many samples: for frames of a video, or
      steps of training on the same batch.
    - `jacobian_penalty`: a `lux.solvers.JacobianPenalty(probes=..., mode=...)` to be estimated at each call.

    **Call:** `x`, any tree of arrays, gives `z*`. `solve` gives the whole solution.

    **Parameters:** `model`, unravelled once, before the solver's loop; `init`, if that is a layer.

    **States:** `model`, constant during a solve (one dropout mask) and advanced once per call, by one application at `z*`; `init`;
    `solution`, for losses and loggers, with a leading axis of samples: `residual`, `error` (an estimate of how far `z*` is, from how the
    residual changed in the last step; where the model contracts weakly it is much larger than the residual, and outside compiled
    functions a warning says so), `num_steps`, `converged`, `init_distance` (the mean
    square of start minus `z*`, differentiable in both) and `jacobian_penalty`, if asked for (differentiable); and `result`
    (`optimistix.RESULTS`) of all samples: that of the first that failed; with `throw=False` it says `successful` unless all failed.
    `key`, with `jacobian_penalty`; `start`, with `warm_start`. In a state from `lux.setup` there are no samples yet: where a state may not
    change its shape, as in `lax.scan`, begin with one that a call returned. `lux.fit` does that by itself.

    **Errors:** `LayerError` for settings that cannot be; `ShapeError` for a model whose result is not like `z`; at run time, for
    samples that do not converge, `lux.SolveError`, which says which, with what residual, and what to try (within a compiled
    function: a `jax.errors.JaxRuntimeError` with that text), and so for an adjoint system that is not solved. With `throw=False` failed
    samples are NaN and their gradient is 0, others are what they are alone, and `st.solution.converged` says which; of a single sample
    without an axis of samples the gradient is NaN, too, and so is that of a failed adjoint system. A second derivative is an error, but
    for `UnrolledGradient`.

    **Source:** Bai, Kolter and Koltun 2019, Deep Equilibrium Models; Pal, Edelman and Rackauckas 2022, Continuous Deep Equilibrium
    Models (`init` as a layer, `"skip_reg"`).
    """

    model: AbstractLayer
    _: dataclasses.KW_ONLY
    solver: Any = Anderson(rtol=1e-4, atol=1e-4, memory=5)
    adjoint: Any = "auto"
    init: Any = "zeros"
    max_steps: int = 100
    unconverged: str = "fail"
    batched: bool = True
    throw: bool = True
    warm_start: bool = False
    jacobian_penalty: JacobianPenalty | None = None

    def __post_init__(self) -> None:
        check_settings(self)
        check_solver(self)

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        samples = (0,) if self.batched else ()
        none, some = jnp.zeros(samples), jax.random.fold_in(key, 0)
        solution = {
            "residual": none,
            "error": none,
            "num_steps": jnp.zeros(samples, jnp.int32),
            "converged": jnp.zeros(samples, bool),
            "init_distance": none,
            "result": optx.RESULTS.successful,
        }
        penalty = {} if self.jacobian_penalty is None else {"jacobian_penalty": none}
        states = {**super().initial_states(key), "solution": {**solution, **penalty}}
        states |= {} if self.jacobian_penalty is None else {"key": some}
        return states | ({"start": jnp.zeros((0, 0))} if self.warm_start else {})

    def zeros(self, x: PyTree) -> Any:
        """The `z` of zeros for an input."""
        return zeros_like_input(type(self).__name__, x)

    def tolerances(self) -> tuple[float, float]:
        """The relative and the absolute tolerance of the residual."""
        return self.solver.rtol, self.solver.atol

    def search(self, cell: Cell, z0: Array, inputs: PyTree, trusted: Truth = False) -> Found:
        """The equilibrium that is reached from `z0`, a matrix of samples, without derivatives. `trusted`: the samples of which it was
        known to be one."""
        return find_equilibrium(self.solver, cell, z0, inputs, self.max_steps, trusted)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        solution, st = self.solve(x, ps, st)
        return self.final(solution), st

    def final(self, solution: optx.Solution[Any, Any]) -> Any:
        """The equilibrium."""
        return solution.value

    def solve(self, x: Any, ps: Parameters, st: State) -> tuple[optx.Solution[Any, Any], State]:
        """The whole solution, and the state.

        **Returns:** `(solution, st)`: `solution.value` is `z*`, `solution.result` that of the first sample that failed, if any;
        `solution.stats` holds `residual`, `error`, `num_steps` and `converged` of each sample, and, if the solver was asked to keep them
        (`trace=True`), `residuals`, of every step.
        """
        x, params, state = _arrays(type(self).__name__, x), as_params(ps), as_state(st)
        cell, z0, advanced = self._prepared(x, params, state)
        inputs = (x, params["model"], state["model"])
        of_samples, start = cell.rows.of_samples, self._warm(cell, z0, state)
        found, okay, z = self._found(cell, start, inputs, self._is_warm(z0, state) and state["solution"]["converged"])
        warn_of_weak_contraction(type(self).__name__, found)
        if not self.throw:
            # What is differentiated holds nothing of the failed samples.
            z, inputs = isolated(cell, okay, z, inputs)
            z0 = self._prepared(inputs[0], params, state)[1]
            start = self._warm(cell, z0, state)
        z = self._differentiable(cell, found, z, start, inputs)
        values = {"z": z, "init_distance": jnp.mean(jnp.square(jnp.abs(z0 - z)), axis=1)}
        key = {}
        if self.jacobian_penalty is not None:
            now, later = jax.random.split(state["key"])
            values["jacobian_penalty"] = self.jacobian_penalty.estimate(cell, z, inputs, now)
            key = {"key": later}
        if jax.tree.leaves(state["model"]):
            advanced["model"] = apply(self.model, cell.rows.tree(z), *inputs)[1]
        values, known = jax.tree.map(of_samples, (values, figures(found)))
        outcome = Outcome(*jax.tree.map(of_samples, (okay, found.code, found.num_steps, found.residual)))
        values = guard(values, outcome, functools.partial(explain, self), self.throw)
        z = cell.rows.tree(values.pop("z").reshape(z.shape))
        report = State({**known, **values, "result": result_of(okay, found.code, self.throw)})
        kept = {"start": lax.stop_gradient(found.z)} if self.warm_start else {}
        state = State(
            {**state, **advanced, "solution": State({name: report[name] for name in state["solution"]}), **key, **kept}
        )
        stats = known if found.trace is None else {**known, "residuals": found.trace}
        result = result_of(okay, found.code, True)
        return optx.Solution(value=z, result=result, aux=None, stats=stats, state=None), state

    def unrolled(self, steps: int = 8, damping: float = 1.0) -> "DeepEquilibrium":
        """The same layer, for the same parameters and state, that takes `steps` steps and differentiates them: for pre-training."""
        return with_fields(self, adjoint=UnrolledGradient(steps=steps, damping=damping))

    def choose_adjoint(self, x: Any, ps: Parameters, st: State) -> GradientChoice:
        """How the equilibrium is differentiated, and why, to be printed. Arguments as for a call."""
        x, params, state = _arrays(type(self).__name__, x), as_params(ps), as_state(st)
        z0 = jax.eval_shape(lambda: start_of(self, x, params, state)[0])
        return choose_gradient(self.adjoint, rows_of(type(self).__name__, z0, self.batched).size)

    def check_adjoint(self, x: Any, ps: Parameters, st: State, cotangent: PyTree = None) -> Accuracy:
        """How accurately the system of the gradient is solved, for each sample: relative `residual`, `num_steps`, `okay`.

        Of an approximate gradient, the residual says how far it is from the implicit one.

        **Arguments:** as for a call; `cotangent`: the gradient of a loss in `z*`, like `z*` (default: ones).
        """
        x, params, state = _arrays(type(self).__name__, x), as_params(ps), as_state(st)
        cell, z0, _ = self._prepared(x, params, state)
        inputs = jax.tree.map(lax.stop_gradient, (x, params["model"], state["model"]))
        found = self.search(cell, finite_start(cell.rows, z0), inputs)
        g = jnp.ones_like(found.z) if cotangent is None else cell.rows.matrix(cell.checked(cotangent))
        rule = dataclasses.replace(self._rule(cell), throw=False)
        if isinstance(rule.gradient, UnrolledGradient):
            raise LayerError(
                f"{type(self).__name__}: UnrolledGradient differentiates its own steps, and solves no system"
            )
        accuracy = accuracy_of(rule, found.z, inputs, rule.gradient.remembered(self.solver, found.memory), g)
        return jax.tree.map(cell.rows.of_samples, accuracy)

    def spectral_radius(self, x: Any, ps: Parameters, st: State, *, key: Key[Array, ""], steps: int = 60) -> Array:
        """The largest magnitude of an eigenvalue of the model's Jacobian in `z` at the equilibrium, for each sample.

        Below 1, plain iteration would converge; how far below says how fast. By power iteration: the growth over the last half of
        `steps` products, which needs some more where many eigenvalues are as large.
        """
        x, params, state = _arrays(type(self).__name__, x), as_params(ps), as_state(st)
        cell, z0, _ = self._prepared(x, params, state)
        inputs = (x, params["model"], state["model"])
        z = self.search(cell, finite_start(cell.rows, z0), inputs).z
        return cell.rows.of_samples(largest_growth(cell, z, inputs, key, steps))

    def corrections(self, x: Any, ps: Parameters, st: State, *, number: int = 3, steps: int = 4) -> Any:
        """Iterates on the way to the equilibrium, for a loss that asks them to be right early (fixed-point correction).

            z, st = deq(x, ps, st)
            early = deq.corrections(x, ps, st, number=3, steps=4)
            loss = error(z) + sum(0.8 ** (3 - i) * error(early[i]) for i in range(3))

        **Arguments:** as for a call; `number`, `steps`: iterates after `steps`, `2 * steps`, ... steps, at each of which the solver
        begins anew. They take these evaluations beside those of the call.

        **Returns:** a tree like `z` with a leading axis of `number`. The gradient is that of one application of the model to each.

        **Source:** Bai et al. 2022, Deep Equilibrium Optical Flow Estimation.
        """
        x, params, state = _arrays(type(self).__name__, x), as_params(ps), as_state(st)
        cell, z0, _ = self._prepared(x, params, state)
        inputs = (x, params["model"], state["model"])
        search = with_fields(self, max_steps=steps).search
        return jax.vmap(cell.rows.tree)(iterates(search, cell, finite_start(cell.rows, z0), inputs, number))

    def _prepared(self, x: Any, params: Params, state: State) -> tuple[Cell, Array, dict[str, Any]]:
        """The cell, the start as a matrix of samples, and the advanced state of what made it."""
        z0, advanced = start_of(self, x, params, state)
        rows = rows_of(type(self).__name__, z0, self.batched)
        return Cell(type(self).__name__, self.model, rows), rows.matrix(z0), advanced

    def _warm(self, cell: Cell, z0: Array, state: State) -> Array:
        """Where the search starts: `z0`, or the result of the last call."""
        return finite_start(cell.rows, state["start"].astype(z0.dtype) if self._is_warm(z0, state) else z0)

    def _is_warm(self, z0: Array, state: State) -> bool:
        return self.warm_start and state["start"].shape == z0.shape

    def _rule(self, cell: Cell) -> Rule:
        rtol, atol = self.tolerances()
        gradient = choose_gradient(self.adjoint, cell.rows.size).gradient
        return Rule(cell, gradient, min(float(rtol or atol), 1e-2), self.throw)

    def _found(self, cell: Cell, start: Array, inputs: PyTree, trusted: Truth) -> tuple[Found, Array, Array]:
        """What was found, which samples are all right, and their `z`, which is differentiable if its steps are."""
        if isinstance(self.adjoint, UnrolledGradient):
            z = self.adjoint.iterate(cell, start, inputs)
            detached, fixed = jax.tree.map(lax.stop_gradient, (z, inputs))
            found = judge_at(self.tolerances(), cell, detached, fixed, self.adjoint.steps)
            return found, jnp.isfinite(found.residual), z
        found = self.search(cell, lax.stop_gradient(start), jax.tree.map(lax.stop_gradient, inputs), trusted)
        okay = found.converged
        return found, okay | jnp.isfinite(found.residual) if self.unconverged == "best" else okay, found.z

    def _differentiable(self, cell: Cell, found: Found, z: Array, start: Array, inputs: PyTree) -> Array:
        """`z` as a function of `inputs`."""
        if isinstance(self.adjoint, UnrolledGradient):
            # The same steps, unless failed samples are isolated.
            return z if self.throw else self.adjoint.iterate(cell, start, inputs)
        rule = self._rule(cell)
        return attach(rule, z, inputs, rule.gradient.remembered(self.solver, found.memory))


def _arrays(name: str, x: PyTree) -> Any:
    """The input as arrays. **Errors:** `ShapeError` for lists of numbers, which are meant as arrays."""
    leaves = jax.tree.leaves(x, is_leaf=lambda node: isinstance(node, list) and is_numbers(node))
    if wrong := [leaf for leaf in leaves if isinstance(leaf, list | str)]:
        raise ShapeError(
            f"{name}: x is an array, or a tree of arrays, got {kind_of(wrong[0])}; {make_array(wrong[0], floating=True)}"
        )
    return jax.tree.map(jnp.asarray, x)
