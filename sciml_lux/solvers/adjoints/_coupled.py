"""An explicit Runge-Kutta method made reversible, by a second solution that is coupled to the first."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._runge_kutta import Shape, Tableau, stages, tableau_of, weighted


class CoupledSolver(diffrax.AbstractAdaptiveSolver):
    """The reversible method of `ReversibleAdjoint`, for diffrax to step; `z`, a vector, is the state of the solver.

    **Arguments:** `solver`: the base method; `coupling`; `shape` of the solution; `only_result`: leave out what is needed for the
    error estimate and the interpolation alone.
    """

    term_structure: ClassVar[Any] = diffrax.AbstractTerm
    solver: diffrax.AbstractERK
    coupling: float = eqx.field(static=True)
    shape: Shape = eqx.field(static=True)
    only_result: bool = eqx.field(static=True)

    @property
    def interpolation_cls(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return eqx.Partial(Interpolation, solver=self.solver, shape=self.shape)

    def order(self, terms: Any) -> int | None:
        return self.solver.order(terms)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return self.solver.func(terms, t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        return self.shape.vector(y0)

    def step(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any) -> Any:
        del made_jump
        y, z, coupling = self.shape.vector(y0), solver_state, self.coupling
        method = tableau_of(self.solver)
        first = method.advancing() if self.only_result else method
        k = self.stages(first, terms, t0, t1, z, args)
        y1 = y + (1 - coupling) * (z - y) + weighted(first.b, k)
        second = method.advancing()
        z1 = z - weighted(second.b, self.stages(second, terms, t1, t0, y1, args))
        error = None if self.only_result else self.shape.tree(weighted(first.b_error, k))
        return self.shape.tree(y1), error, {"y0": y, "y1": y1, "k": k}, z1, diffrax.RESULTS.successful

    def stages(self, method: Tableau, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Float[Array, "stages state"]:
        """The stages from `t0`, which may be the later time, to `t1`."""
        control = terms.contr(t0, t1)

        def slope(t: Any, y: Any) -> Any:
            return self.shape.vector(terms.vf_prod(t, self.shape.tree(y), args, control))

        return stages(slope, method, t0, t1, y0)


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

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            raise NotImplementedError("an increment of the interpolation")
        return self.shape.tree(self.vector(t0))

    def vector(self, t: Any) -> Any:
        base = self.solver.interpolation_cls(t0=self.t0, t1=self.t1, y0=self.y0, y1=self.y1, k=self.k)
        fraction = ((t - self.t0) / (self.t1 - self.t0)).astype(self.y0.dtype)
        return base.evaluate(t) + fraction * (self.y1 - base.evaluate(jnp.asarray(self.t1)))
