"""An explicit Runge-Kutta method made reversible, by a second solution that is coupled to the first."""

from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._types import StateTree, TermTree, Time, Truth
from ..runge_kutta import Shape, Tableau, stages, tableau_of, weighted


class Coupled(NamedTuple):
    """What the reversible method carries beside `y`: the other solution, and the sum of the estimated errors of all steps."""

    z: Float[Array, " state"]
    error: Float[Array, ""]


class CoupledSolver(diffrax.AbstractAdaptiveSolver[Any]):
    """The reversible method of `ReversibleAdjoint`, for diffrax to step.

    `solver`: the base method; `coupling`: over the whole time `span`; `shape` of the solution.
    """

    term_structure: ClassVar[Any] = diffrax.AbstractTerm
    solver: diffrax.AbstractERK
    coupling: float = eqx.field(static=True)
    span: Any
    shape: Shape = eqx.field(static=True)

    @property
    def interpolation_cls(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return eqx.Partial(Interpolation, solver=self.solver, shape=self.shape)

    def order(self, terms: TermTree) -> int | None:
        return self.solver.order(terms)

    def error_order(self, terms: TermTree) -> Any:
        return self.solver.error_order(terms)

    def func(self, terms: TermTree, t0: Time, y0: StateTree, args: PyTree) -> Any:
        return self.solver.func(terms, t0, y0, args)

    def init(self, terms: TermTree, t0: Time, t1: Time, y0: StateTree, args: PyTree) -> Any:
        z0 = self.shape.vector(y0)
        return Coupled(z0, jnp.zeros((), z0.dtype))

    def step(
        self, terms: TermTree, t0: Any, t1: Any, y0: StateTree, args: PyTree, solver_state: Any, made_jump: Truth
    ) -> Any:
        del made_jump
        y, (z, error) = self.shape.vector(y0), solver_state
        method = tableau_of(self.solver)
        k = self.stages(method, terms, t0, t1, z, args)
        # Not `mix y + (1 - mix) z`, whose weights, once rounded, do not add up to 1.
        y1 = y + (1 - self.mix(t0, t1, y.dtype)) * (z - y) + weighted(method.b, k)
        y_error = weighted(method.b_error, k)
        method = method.advancing()
        z1 = z - weighted(method.b, self.stages(method, terms, t1, t0, y1, args))
        # Ten of these part the solves that are as accurate as those of the base method from those that are not.
        error = error + norm(y_error) + 10 * jnp.finfo(y.dtype).eps * norm(y1)
        results: Any = diffrax.RESULTS
        result = results.where(norm(y1 - z1) <= 10 * error, results.successful, results.nonlinear_divergence)
        return self.shape.tree(y1), self.shape.tree(y_error), {"y0": y, "y1": y1, "k": k}, Coupled(z1, error), result

    def mix(self, t0: Any, t1: Any, dtype: np.dtype[Any]) -> Any:
        """The `lambda` of a step."""
        return (self.coupling ** ((t1 - t0) / self.span)).astype(dtype)

    def stages(
        self,
        method: Tableau,
        terms: Any,
        t0: Float[Array, ""],
        t1: Float[Array, ""],
        y0: Float[Array, " state"],
        args: PyTree,
    ) -> Float[Array, "stages state"]:
        """The stages from `t0`, which may be the later time, to `t1`."""

        def field(t: Float[Array, ""], y: Float[Array, " state"]) -> Any:
            return self.slope(terms, t, y, args)

        return stages(field, method, t0, t1, y0)[0]

    def slope(self, terms: Any, t: Float[Array, ""], y: Float[Array, " state"], args: PyTree) -> Float[Array, " state"]:
        """The derivative in the time that diffrax solves in, which runs forward."""
        control = terms.contr(jnp.zeros_like(t), jnp.ones_like(t))
        return self.shape.vector(terms.vf_prod(t, self.shape.tree(y), args, control))


class Interpolation(diffrax.AbstractLocalInterpolation):
    """The interpolation of the base method, from `y0` to `y1`, which the stages of `z` do not lead to exactly.

    What is missing at the end is added in proportion to the time, so that the solution is continuous.
    """

    t0: Any
    t1: Any
    y0: Any
    y1: Any
    k: Any
    solver: diffrax.AbstractERK
    shape: Shape = eqx.field(static=True)

    def evaluate(self, t0: Time, t1: Time | None = None, left: bool = True) -> Any:
        if t1 is not None:
            raise NotImplementedError("an increment of the interpolation")
        return self.shape.tree(self.vector(t0))

    def vector(self, t: Time) -> Any:
        base = self.solver.interpolation_cls(t0=self.t0, t1=self.t1, y0=self.y0, y1=self.y1, k=self.k)
        fraction = ((t - self.t0) / (self.t1 - self.t0)).astype(self.y0.dtype)
        return base.evaluate(t) + fraction * (self.y1 - base.evaluate(jnp.asarray(self.t1)))


def norm(y: Float[Array, " state"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(y**2))
