"""An equilibrium that was found without derivatives, made a differentiable function of what its equation contains."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int, PyTree

from ...core import describe, observed
from .._failure import Failure, Outcome, guard
from ..fixed_point import row_lengths
from ._cell import Cell
from .gradients import AbstractEquilibriumGradient, Accuracy, System

_ONCE = "an equilibrium can be differentiated once, not twice; UnrolledGradient(steps=...) has derivatives of any order"


@dataclass(frozen=True)
class Rule:
    """How an equilibrium of `cell` is differentiated. Static. `rtol`: that of the forward solve; `throw`: as for the adapter."""

    cell: Cell
    gradient: AbstractEquilibriumGradient
    rtol: float
    throw: bool


def attach(rule: Rule, z: Array, inputs: PyTree, memory: PyTree) -> Array:
    """`z`, a matrix of equilibria without derivatives, with those that the rule gives it in `inputs`, in forward and in reverse mode."""
    moving, still = eqx.partition(inputs, eqx.is_inexact_array)
    return _attached(rule, lax.stop_gradient(z), moving, still, memory)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attached(
    rule: Rule, z: Float[Array, "samples size"], moving: PyTree[Array], still: PyTree[Array], memory: PyTree
) -> Any:
    return z


@functools.partial(_attached.defjvp, symbolic_zeros=True)
def _(rule: Rule, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    z, moving, still, memory = primals
    # What nobody differentiates may contain what cannot be, such as a loop over numbers of the state.
    is_moving = jax.tree.map(lambda leaf: not isinstance(leaf, SymbolicZero), tangents[1], is_leaf=_is_symbolic)
    moving, more = eqx.partition(moving, is_moving)
    directions = eqx.filter(tangents[1], is_moving, is_leaf=_is_symbolic)
    if not jax.tree.leaves(directions):
        return z, jnp.zeros_like(z)
    return z, _pushed_forward(rule, z, moving, eqx.combine(still, more), memory, directions)


def _is_symbolic(leaf: object) -> bool:
    return isinstance(leaf, SymbolicZero)


# Compiled as one: without an enclosing jit, a loop would be compiled anew at every call.
@functools.partial(jax.jit, static_argnums=0)
def _pushed_forward(
    rule: Rule,
    z: Float[Array, "samples size"],
    moving: PyTree[Array],
    still: PyTree[Array],
    memory: PyTree,
    directions: PyTree[Array],
) -> Any:
    """The derivative of `z` along `directions` of `moving`.

    It is linear in these, and JAX transposes it for gradients: the system with `J` then becomes that with `J^T`.
    """
    z, moving = eqxi.nondifferentiable((z, moving), msg=_ONCE)
    # Debug mode, which has looked at the cell while it was solved for, looks at backward passes only by forbidding forward ones.
    with observed(None):
        _, g = jax.jvp(lambda moving: rule.cell(z, eqx.combine(moving, still)), (moving,), (directions,))
    operator = _operator(rule, z, eqx.combine(moving, still))

    def solve(transposed: bool, system: Callable[..., Any], g: Float[Array, "samples size"]) -> Any:
        return _solved(rule, System(lambda u: u - system(u), g, rule.rtol, memory, transposed))[0]

    u = lax.custom_linear_solve(
        lambda u: u - operator(u), _real(g), functools.partial(solve, False), functools.partial(solve, True)
    )
    return _like(u, z)


def _operator(rule: Rule, z: Float[Array, "samples size"], inputs: PyTree) -> Any:
    """Products with the Jacobian of the cell in `z`, in real numbers."""
    with observed(None):
        _, push = jax.linearize(lambda z: rule.cell(z, inputs), z)
    return lambda u: _real(push(_like(u, z)))


@functools.partial(jax.jit, static_argnums=0)
def accuracy_of(
    rule: Rule, z: Float[Array, "samples size"], inputs: PyTree, memory: PyTree, g: Float[Array, "samples size"]
) -> Accuracy:
    """How accurately the system of the gradient is solved for the gradient `g` of a loss in `z`."""
    _, pull = jax.vjp(lambda z: rule.cell(z, inputs), z)
    return _solved(rule, System(lambda u: _real(pull(_like(u, z))[0]), _real(g), rule.rtol, memory))[1]


def _solved(rule: Rule, system: System) -> tuple[Any, Accuracy]:
    u, num_steps = rule.gradient.propagate(system)
    return _checked(rule, system, u, system.operator(u), num_steps)


def _checked(
    rule: Rule,
    system: System,
    u: Float[Array, "samples size"],
    product: Float[Array, "samples size"],
    num_steps: Int[Array, " samples"],
) -> tuple[Any, Accuracy]:
    """`u`, safe in case that it does not solve the system, and how well it does. `product`: of `u` and the operator."""
    start, residual = row_lengths(system.g), row_lengths(system.g - (u - product))
    okay = jnp.full(start.shape, True)
    if rule.gradient.exact:
        okay = (residual <= rule.gradient.tolerated(system, u)) & jnp.isfinite(residual)
    relative = jnp.where(start > 0, residual / jnp.where(start > 0, start, 1), residual)
    accuracy = Accuracy(relative, num_steps, okay)
    if not rule.gradient.exact:
        return u, accuracy
    worst = jnp.argmax(jnp.where(okay, 0, 1))
    given = jnp.isfinite(start[worst]).astype(jnp.int32)
    outcome = Outcome(jnp.all(okay), given, worst.astype(jnp.int32), relative[worst])
    return guard(u, outcome, functools.partial(_explain, rule), rule.throw), accuracy


def _explain(rule: Rule, failure: Failure) -> str:
    sample = f" of sample {failure.t}" if rule.cell.rows.batched else ""
    if not failure.result:
        return (
            f"{rule.cell.name}: the gradient of the equilibrium could not be computed: the gradient of the loss in z*{sample} is not "
            "finite; look in the loss for a root, logarithm or quotient of 0. With throw=False the gradient is NaN"
        )
    if not math.isfinite(failure.largest):
        return (
            f"{rule.cell.name}: the gradient of the equilibrium could not be computed: the linear system{sample} has no finite solution. "
            "Either I - J is singular (J: the Jacobian of the model in z, finite then), and there is no gradient: make the model "
            "contract, by lux.SpectralNorm around the layers that act on z. Or J is not finite: look in the model for a root, "
            "logarithm or quotient of 0. With throw=False the gradient is NaN"
        )
    return (
        f"{rule.cell.name}: the gradient of the equilibrium could not be computed: the linear system{sample} was solved to a "
        f"residual of {failure.largest:.3g}, relative to its right-hand side, by {describe(rule.gradient)}. Where I - J is singular or "
        "nearly so there is no gradient (J: the Jacobian of the model in z; deq.spectral_radius measures it): make it contract, by "
        "lux.SpectralNorm around the layers that act on z. Otherwise raise max_steps, loosen rtol, or write coupled=True for a model "
        "in which samples depend on each other, as by batch normalization. PhantomGradient() solves no system. With throw=False the "
        "gradient is NaN"
    )


# Complex numbers as pairs of reals: the derivative of a function that is not holomorphic is linear in these alone.


def _real(rows: Array) -> Any:
    return jnp.concatenate([rows.real, rows.imag], axis=1) if jnp.iscomplexobj(rows) else rows


def _like(rows: Array, z: Array) -> Any:
    if not jnp.iscomplexobj(z):
        return rows
    real, imaginary = jnp.split(rows, 2, axis=1)
    return lax.complex(real, imaginary)
