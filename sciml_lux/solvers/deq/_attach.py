"""An equilibrium that was found without derivatives, made a differentiable function of what its equation contains."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero, custom_vjp_primal_tree_values
from jaxtyping import Array

from ...core import describe, differentiation_mode
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


def attach(rule: Rule, z: Array, inputs: Any, memory: Any) -> Array:
    """`z`, a matrix of equilibria without derivatives, with those that the rule gives it in `inputs`.

    Reverse mode, and forward mode where a fit asks for it: JAX takes a function that has rules for both by the forward one.
    """
    moving, still = eqx.partition(inputs, eqx.is_inexact_array)
    attached = _forward if differentiation_mode.value == "forward" else _reverse
    return attached(rule, lax.stop_gradient(z), moving, still, memory)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _reverse(rule: Rule, z: Any, moving: Any, still: Any, memory: Any) -> Any:
    return z


def _saved(rule: Rule, z: Any, moving: Any, still: Any, memory: Any) -> Any:
    # What nobody differentiates may contain what cannot be, such as a loop over numbers of the state.
    is_moving = jax.tree.map(lambda leaf: leaf.perturbed, moving)
    z, moving, still, memory = custom_vjp_primal_tree_values((z, moving, still, memory))
    moving, more = eqx.partition(moving, is_moving)
    return z, (z, moving, eqx.combine(still, more), memory)


def _pulled_back(rule: Rule, saved: Any, g: Any) -> Any:
    if isinstance(g, SymbolicZero):
        g = jnp.zeros_like(saved[0])
    cotangents, _ = pull_back(rule, *saved, g)
    return None, cotangents, None, None


_reverse.defvjp(_saved, _pulled_back, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _forward(rule: Rule, z: Any, moving: Any, still: Any, memory: Any) -> Any:
    return z


@_forward.defjvp
def _(rule: Rule, primals: Any, tangents: Any) -> tuple[Any, Any]:
    return primals[0], _push_forward(rule, *primals, tangents[1])


# Compiled as one: without an enclosing jit, a loop would be compiled anew at every call.
@functools.partial(jax.jit, static_argnums=0)
def pull_back(rule: Rule, z: Any, moving: Any, still: Any, memory: Any, g: Any) -> tuple[Any, Accuracy]:
    """The gradient in `moving` for the gradient `g` in `z`, and how accurate its system was solved.

    The cell is linearized once. The last product with its Jacobian gives the gradient and the residual.
    """
    z, moving = eqxi.nondifferentiable((z, moving), msg=_ONCE)
    _, pull = jax.vjp(lambda z, moving: rule.cell(z, eqx.combine(moving, still)), z, moving)
    system = System(lambda u: _real(pull(_like(u, z))[0]), _real(g), rule.rtol, memory)
    u, num_steps = rule.gradient.propagate(system)
    product, cotangents = pull(_like(u, z))
    # Where nothing depends on the equilibrium, as where all samples failed, nothing comes back, not even 0 times NaN.
    used = jnp.any(g != 0)
    cotangents = jax.tree.map(lambda leaf: jnp.where(used, leaf, jnp.zeros((), leaf.dtype)), cotangents)
    return _checked(rule, system, u, _real(product), num_steps, cotangents)


@functools.partial(jax.jit, static_argnums=0)
def _push_forward(rule: Rule, z: Any, moving: Any, still: Any, memory: Any, tangents: Any) -> Any:
    z, moving = eqxi.nondifferentiable((z, moving), msg=_ONCE)
    _, push = jax.linearize(lambda z, moving: rule.cell(z, eqx.combine(moving, still)), z, moving)
    fixed = jax.tree.map(jnp.zeros_like, moving)
    operator = lambda v: _real(push(_like(v, z), fixed))  # noqa: E731
    system = System(operator, _real(push(jnp.zeros_like(z), tangents)), rule.rtol, memory, transposed=False)
    u, num_steps = rule.gradient.propagate(system)
    product = operator(u) if rule.gradient.exact else u
    return _checked(rule, system, u, product, num_steps, _like(u, z))[0]


def _checked(rule: Rule, system: System, u: Any, product: Any, num_steps: Any, values: Any) -> tuple[Any, Accuracy]:
    """`values`, safe in case that `u` does not solve the system, and how well it does. `product`: of `u` and the operator."""
    start, residual = row_lengths(system.g), row_lengths(system.g - (u - product))
    okay = jnp.full(start.shape, True)
    if rule.gradient.exact:
        okay = (residual <= rule.gradient.tolerated(system, u)) & jnp.isfinite(residual)
    relative = jnp.where(start > 0, residual / jnp.where(start > 0, start, 1), residual)
    accuracy = Accuracy(relative, num_steps, okay)
    if not rule.gradient.exact:
        return values, accuracy
    worst = jnp.argmax(jnp.where(okay, 0, 1))
    given = jnp.isfinite(start[worst]).astype(jnp.int32)
    outcome = Outcome(jnp.all(okay), given, worst.astype(jnp.int32), relative[worst])
    return guard(values, outcome, functools.partial(_explain, rule), rule.throw), accuracy


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
            "Either I - J is singular (J: the Jacobian of the model in z, finite then), and there is no gradient: train the model to "
            "contract, by jacobian_penalty= or normalized weights. Or J is not finite: look in the model for a root, logarithm or quotient "
            "of 0. With throw=False the gradient is NaN"
        )
    return (
        f"{rule.cell.name}: the gradient of the equilibrium could not be computed: the linear system{sample} was solved to a "
        f"residual of {failure.largest:.3g}, relative to its right-hand side, by {describe(rule.gradient)}. Where I - J is singular or "
        "nearly so there is no gradient (J: the Jacobian of the model in z; deq.spectral_radius measures it): train it to contract, by "
        "jacobian_penalty= or normalized weights. Otherwise raise max_steps, loosen rtol, or write coupled=True for a model in which "
        "samples depend on each other, as by batch normalization. PhantomGradient() solves no system. With throw=False the gradient is NaN"
    )


# Complex numbers as pairs of reals: the derivative of a function that is not holomorphic is linear in these alone.


def _real(rows: Any) -> Any:
    return jnp.concatenate([rows.real, rows.imag], axis=1) if jnp.iscomplexobj(rows) else rows


def _like(rows: Any, z: Any) -> Any:
    if not jnp.iscomplexobj(z):
        return rows
    real, imaginary = jnp.split(rows, 2, axis=1)
    return lax.complex(real, imaginary)
