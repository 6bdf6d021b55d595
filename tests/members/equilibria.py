"""Layers whose output is an equilibrium."""

import diffrax
import jax.numpy as jnp

import sciml_lux as lux
from sciml_lux.solvers import Anderson, ImplicitGradient, JacobianPenalty, MultiScaleCell, UnrolledGradient

from .base import Layer, array


def side_by_side(z_and_x):
    return jnp.concatenate(z_and_x, axis=-1)


def cell():
    return lux.Chain(side_by_side, lux.Dense(4, 2, jnp.tanh))


def halved(z):
    return 0.5 * z[..., :1]


def doubled(z):
    return 0.3 * jnp.concatenate([z, z], axis=-1)


def two_scales():
    return MultiScaleCell((cell(), lux.Dense(1, 1, jnp.tanh)), ((None, halved), (doubled, None)), jnp.tanh)


names = {
    "Tsit5": diffrax.Tsit5,
    "side_by_side": side_by_side,
    "halved": halved,
    "doubled": doubled,
    "Anderson": Anderson,
    "ImplicitGradient": ImplicitGradient,
    "JacobianPenalty": JacobianPenalty,
    "MultiScaleCell": MultiScaleCell,
    "UnrolledGradient": UnrolledGradient,
}
# Finite differences see the tolerance of the solve.
accurate = Anderson(rtol=1e-14, atol=1e-14)
floats = (jnp.float32, jnp.float64)

LAYERS = [
    Layer(
        "DeepEquilibrium",
        lambda: lux.DeepEquilibrium(cell(), solver=accurate),
        array(3, 2),
        dtypes=floats,
        names=names,
    ),
    Layer(
        "DeepEquilibrium with a predicted start and a penalty",
        lambda: lux.DeepEquilibrium(
            cell(),
            solver=accurate,
            adjoint=ImplicitGradient(solver="bicgstab"),
            init=lux.Dense(2, 2),
            jacobian_penalty=JacobianPenalty(),
            throw=False,
        ),
        array(3, 2),
        dtypes=floats,
        names=names,
        slow=True,
    ),
    Layer(
        "DeepEquilibrium, unrolled",
        lambda: lux.DeepEquilibrium(cell(), adjoint=UnrolledGradient(steps=3), init="skip_reg", batched=False),
        array(3, 2),
        dtypes=floats,
        names=names,
        slow=True,
    ),
    Layer(
        "MultiScaleCell",
        two_scales,
        ((array(3, 2), array(3, 1)), array(3, 2)),
        names=names,
    ),
    Layer(
        "MultiScaleDEQ",
        lambda: lux.MultiScaleDEQ(two_scales(), shapes=((2,), (1,)), solver=accurate),
        array(3, 2),
        dtypes=floats,
        names=names,
        slow=True,
    ),
    Layer(
        "ContinuousDEQ",
        lambda: lux.ContinuousDEQ(cell(), solver=diffrax.Tsit5(), rtol=1e-12, atol=1e-12),
        array(3, 2),
        dtypes=(jnp.float64,),  # rounding in float32 is above these tolerances
        names=names,
    ),
]
