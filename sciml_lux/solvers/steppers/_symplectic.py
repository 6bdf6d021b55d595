"""Symplectic splitting methods of order 2 and 4, as diffrax solvers; diffrax's own `SemiImplicitEuler` is of order 1."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from .._types import StateTree, TermTree, Time, Truth


class AbstractSplitting(diffrax.AbstractSolver[Any]):
    """Kicks and drifts in turn for `dq/dt = f(t, p)`, `dp/dt = g(t, q)`.

    One stage of length `h`: `p += h/2 g(t, q)`, `q += h f(t + h/2, p)`, `p += h/2 g(t + h, q)`. Each is a shear and keeps
    `dq ^ dp` exactly, hence so does every composition of them, and one that reads the same backwards undoes itself when the sign of
    the time changes. The last kick of a step is the first one of the next: one evaluation of `g` to a stage.

    For `diffrax.diffeqsolve`: `terms=(diffrax.ODETerm(f), diffrax.ODETerm(g))`, `y0=(q, p)`, and
    `stepsize_controller=diffrax.ConstantStepSize()`, since steps whose size follows the solution forfeit what a symplectic method
    keeps. Between steps, cubic Hermite interpolation.
    """

    # The lengths of the stages, in steps.
    stages: ClassVar[tuple[float, ...]]
    term_structure: ClassVar[Any] = (diffrax.AbstractTerm, diffrax.AbstractTerm)
    interpolation_cls: ClassVar[Callable[..., Any]] = diffrax.ThirdOrderHermitePolynomialInterpolation

    @abc.abstractmethod
    def order(self, terms: TermTree) -> int:
        """The order of convergence."""

    def init(self, terms: Any, t0: Time, t1: Time, y0: StateTree, args: PyTree) -> Any:
        """The force `g` at the start."""
        return terms[1].vf(t0, y0[0], args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: StateTree, args: PyTree, solver_state: Any, made_jump: Truth
    ) -> tuple[Any, None, dict[str, Any], Any, diffrax.RESULTS]:
        drift, kick = terms
        force = lax.cond(made_jump, lambda: kick.vf(t0, y0[0], args), lambda: solver_state)

        def stage(carry: tuple[Any, ...], part: tuple[Array, ...]) -> tuple[Any, None]:
            q, p, force = carry
            start, end = (t0 + fraction * (t1 - t0) for fraction in part)
            middle = start + 0.5 * (end - start)
            p = _sum(p, kick.prod(force, kick.contr(start, middle)))
            q = _sum(q, drift.vf_prod(middle, p, args, drift.contr(start, end)))
            force = kick.vf(end, q, args)
            return (q, _sum(p, kick.prod(force, kick.contr(middle, end))), force), None

        ends = [sum(self.stages[: i + 1]) for i in range(len(self.stages))]
        ends[-1] = 1.0  # exactly, so that a step ends where the next one begins
        parts = tuple(jnp.asarray(fractions, jnp.result_type(t0)) for fractions in ([0.0, *ends[:-1]], ends))
        (q, p, next_force), _ = lax.scan(stage, (*y0, force), parts)
        control = drift.contr(t0, t1), kick.contr(t0, t1)
        k0 = drift.vf_prod(t0, y0[1], args, control[0]), kick.prod(force, control[1])
        k1 = drift.vf_prod(t1, p, args, control[0]), kick.prod(next_force, control[1])
        return (q, p), None, {"y0": y0, "y1": (q, p), "k0": k0, "k1": k1}, next_force, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Time, y0: StateTree, args: PyTree) -> Any:
        drift, kick = terms
        return drift.vf(t0, y0[1], args), kick.vf(t0, y0[0], args)


class StormerVerlet(AbstractSplitting):
    """The Stormer-Verlet (leapfrog) method: order 2, symplectic, reversible in time, one force evaluation a step.

    The energy of a Hamiltonian system stays within `O(h^2)` of its first value, for times that grow exponentially in `1/h`.

    **Arguments:** none. For `lux.HamiltonianODE(..., kinetic=...)` and `lux.SecondOrderODE(..., velocity=False)`, with `dt0`; on
    its own as every `AbstractSplitting`.

    **Source:** Hairer, Lubich and Wanner 2003, Geometric numerical integration illustrated by the Stormer-Verlet method.
    """

    stages: ClassVar[tuple[float, ...]] = (1.0,)

    def order(self, terms: TermTree) -> int:
        return 2


class Yoshida4(AbstractSplitting):
    """Three Stormer-Verlet stages, the middle one backwards: order 4, symplectic, reversible in time, three force evaluations a step.

        stages of length w, 1 - 2 w, w,    w = 1 / (2 - 2^(1/3))

    **Arguments:** none; used as `StormerVerlet`.

    **Source:** Yoshida 1990, Construction of higher order symplectic integrators; Forest and Ruth 1990.
    """

    stages: ClassVar[tuple[float, ...]] = (1 / (2 - 2 ** (1 / 3)), 1 - 2 / (2 - 2 ** (1 / 3)), 1 / (2 - 2 ** (1 / 3)))

    def order(self, terms: TermTree) -> int:
        return 4


def _sum(a: StateTree, b: StateTree) -> Any:
    return jax.tree.map(jnp.add, a, b)
