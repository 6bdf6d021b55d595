"""Steps of implicit methods whose derivative is that of their stages, and which do not look beyond a jump.

The stages of a diagonally implicit method are the roots `k_i` of

    k_i = h f(t_0 + c_i h, y_0 + sum_{j <= i} a_ij k_j),        y_1 = y_0 + sum_i b_i k_i,

found without derivatives, by the root finder of the method. Their derivatives come from the implicit function theorem, stage by stage:

    (I - h a_ii df/dy) dk_i = d(h f(t_0 + c_i h, y_0 + sum_{j < i} a_ij k_j)) at constant k_i.

diffrax differentiates its root finder the same way, but lineax raises an error of its own wherever a matrix has no inverse, be it in a
step that was rejected, whose stages may be anything, and whose cotangents are 0. Here 0 remains 0 whatever the matrix, and what is
singular is an error of ours, or NaN.

A stage may lie beyond the end of the step (`Kvaerno5` has one at `t_0 + 1.23 h`). Where the step ends at a jump of the field, or the
solve where its inputs do, the field is evaluated at the end instead.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ...core import is_okay
from .._constant import constant
from .._failure import Failure, Outcome, guard
from .._types import StateTree, TermTree, Time, Truth
from ..runge_kutta import Shape, below_diagonal


def with_own_derivative(solver: diffrax.AbstractSolver[Any], y0: StateTree, throw: bool) -> diffrax.AbstractSolver[Any]:
    """`solver`, or, for an implicit method of diffrax whose step is its tableau's, the same with the derivative of this module."""
    step = type(solver).step
    known = step in (diffrax.AbstractDIRK.step, diffrax.ImplicitEuler.step) and _coefficients(solver) is not None
    leaves = jax.tree.leaves(y0)
    simple = len({leaf.dtype for leaf in leaves}) == 1 and not jnp.iscomplexobj(leaves[0])
    return ImplicitSteps(solver, throw) if known and simple else solver


def _coefficients(solver: diffrax.AbstractSolver[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """`a`, `b` and `c` of a diagonally implicit method for one term."""
    if isinstance(solver, diffrax.ImplicitEuler):
        return np.ones((1, 1)), np.ones(1), np.ones(1)
    tableau = getattr(solver, "tableau", None)
    diagonal = getattr(tableau, "a_diagonal", None)
    if not isinstance(tableau, diffrax.ButcherTableau) or diagonal is None:
        return None
    a = below_diagonal(tableau) + np.diag(np.asarray(diagonal, np.float64))
    first = np.zeros(1) if tableau.c1 is None else np.asarray(tableau.c1).reshape(1)  # pyright: ignore[reportUnnecessaryComparison]
    return a, np.asarray(tableau.b_sol), np.concatenate([first, tableau.c])


class ImplicitSteps(diffrax.AbstractImplicitSolver[Any], diffrax.AbstractAdaptiveSolver[Any]):
    """An implicit method of diffrax with the derivative of this module.

    `base`: the method; `throw`: whether a derivative that does not exist raises; `jump_ts`: where the field jumps, if it does; `end`:
    beyond which it is not known.
    """

    base: Any
    throw: bool = eqx.field(static=True)
    jump_ts: Any = None
    end: Any = None

    @property
    def term_structure(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.term_structure

    @property
    def interpolation_cls(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.base.interpolation_cls

    @property
    def root_finder(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.root_finder

    @property
    def root_find_max_steps(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.root_find_max_steps

    def order(self, terms: TermTree) -> int | None:
        return self.base.order(terms)

    def error_order(self, terms: TermTree) -> Any:
        return self.base.error_order(terms)

    def func(self, terms: TermTree, t0: Time, y0: Float[Array, " state"], args: PyTree) -> Any:
        return self.base.func(terms, t0, y0, args)

    def init(self, terms: TermTree, t0: Time, t1: Time, y0: Float[Array, " state"], args: PyTree) -> Any:
        return self.base.init(terms, t0, t1, y0, args)

    def step(
        self,
        terms: TermTree,
        t0: Any,
        t1: Any,
        y0: Float[Array, " state"],
        args: PyTree,
        solver_state: Any,
        made_jump: Truth,
    ) -> Any:
        terms = self._within(terms, t1)
        found = self.base.step(*constant((terms, t0, t1, y0, args, solver_state)), made_jump)
        y1, error, dense, solver_state, result = constant(found)
        shape = Shape.of(y0)
        stages = (
            jax.vmap(shape.vector)(dense["k"]) if "k" in dense else (shape.vector(y1) - shape.vector(dense["y0"]))[None]
        )
        okay = is_okay(result) & jnp.all(jnp.isfinite(stages))
        k, y = self._differentiated(terms, t0, t1, shape, y0, args, jnp.where(okay, stages, 0))
        k, y = jnp.where(okay, k, stages), jnp.where(okay, y, shape.vector(y1))
        dense = {"y0": y0, "y1": shape.tree(y)}
        if "k" in found[2]:
            dense["k"] = jax.vmap(shape.tree)(k)
        return shape.tree(y), error, dense, solver_state, result

    def _differentiated(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        shape: Shape,
        y0: Float[Array, " state"],
        args: PyTree,
        roots: Float[Array, "stages state"],
    ) -> Any:
        """The stages and the result, from the roots that were found."""
        coefficients: Any = _coefficients(self.base)
        a, b, c = coefficients
        start, control = shape.vector(y0), terms.contr(t0, t1)

        def stage(k: Float[Array, "stages state"], row: tuple[Any, ...]) -> tuple[Any, None]:
            i, a_i, diagonal, c_i, root = row
            t = jnp.where(c_i == 1, t1, t0 + c_i * (t1 - t0))
            known = start + a_i @ k

            def residual(k_i: Float[Array, " state"]) -> Any:
                slope = terms.vf_prod(t, shape.tree(known + diagonal * k_i), args, control)
                return k_i - shape.vector(slope).astype(k_i.dtype)

            solve = lambda linear, right: self._linear_solve(linear, right, t)  # noqa: E731
            return k.at[i].set(lax.custom_root(residual, root, lambda _, root: root, solve)), None

        lower, diagonal = np.tril(a, -1).astype(start.dtype), np.diag(a).astype(start.dtype)
        rows = (np.arange(b.size, dtype=np.int32), lower, diagonal, c.astype(jnp.result_type(t0)), roots)
        k, _ = lax.scan(stage, jnp.zeros_like(roots), rows)
        return k, start + b.astype(start.dtype) @ k

    def _linear_solve(
        self, linear: Callable[[Array], Array], right: Float[Array, " state"], t: Float[Array, ""]
    ) -> Any:
        """The solution of `linear(x) = right`: 0 for 0, and NaN or an error where there is none."""
        t = lax.stop_gradient(t)

        def solve(linear: Callable[[Array], Array], right: Float[Array, " state"]) -> Any:
            columns = jax.vmap(linear)(jnp.eye(right.size, dtype=right.dtype))
            nothing, given = jnp.all(right == 0), jnp.all(jnp.isfinite(right))
            x = jnp.where(nothing, jnp.zeros_like(right), jnp.linalg.solve(columns.T, right))
            # A factor that is infinite would pass for a solution, 0.
            okay = nothing | ~given | (jnp.all(jnp.isfinite(columns)) & jnp.all(jnp.isfinite(x)))
            size = jnp.max(jnp.abs(right), initial=0)
            return guard(x, Outcome(okay, jnp.zeros((), jnp.int32), t, size), _explain, self.throw)

        return lax.custom_linear_solve(linear, right, solve, solve)

    def _within(self, terms: Any, t1: Any) -> Any:
        """The terms, whose field is not evaluated beyond a jump at which the step ends, nor beyond where it is known."""
        if self.jump_ts is None and self.end is None:
            return terms
        direction, last = terms.direction, jnp.asarray(jnp.inf, t1.dtype)
        if self.end is not None:
            last = direction * self.end
        if self.jump_ts is not None:
            at_jump = jnp.any(eqxi.nextafter(lax.stop_gradient(t1)) == direction * self.jump_ts)
            last = jnp.where(at_jump, lax.stop_gradient(t1), last)
        field = jax.tree_util.Partial(_up_to, terms.term.vector_field, direction, last)
        return eqx.tree_at(lambda terms: terms.term.vector_field, terms, field)


def _up_to(field: Any, direction: Any, last: Any, t: Time, y: StateTree, args: PyTree) -> Any:
    beyond = direction * t > last
    return field(jnp.where(beyond, direction * last, t), y, args)


def _explain(failure: Failure) -> str:
    return (
        f"the gradient of a solve has no value: at t={failure.t:.6g} the matrix of an implicit stage, I - h df/dy, has no inverse, or the "
        "derivative of the field is not finite (the root of 0, an exponential that overflows?): bound it there, or start elsewhere. "
        "With throw=False the gradient is NaN, and fit leaves such a step out"
    )
