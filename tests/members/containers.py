"""Containers, and layers without parameters."""

import jax
import jax.numpy as jnp

import sciml_lux as lux

from .base import Layer, array
from .custom import CustomLayer


def cell():
    """What takes `(z, x)`."""
    return lux.Parallel(lux.Dense(3, 3, jnp.tanh), lux.Scale(3), combine=jnp.add)


def first(pair):
    """The sequence without its mask."""
    return pair[0]


shared = ("layer_0", "layer_1")

LAYERS = [
    Layer("NoOp", lux.NoOp, array(3)),
    Layer("WrappedFunction", lambda: lux.WrappedFunction(jnp.sin), array(3)),
    Layer("Chain", lambda: lux.Chain(lux.Dense(3, 4, jax.nn.gelu), jnp.tanh, out=lux.Scale(4)), array(2, 3)),
    Layer("empty Chain", lux.Chain, array(3)),
    Layer("Share", lambda: lux.Share(lux.Chain(lux.Dense(3, 3, jnp.tanh), lux.Dense(3, 3)), *shared), array(2, 3)),
    Layer("slice of a Chain", lambda: lux.Chain(lux.Dense(3, 2), lux.Dense(2, 3), lux.Scale(3))[1:], array(2, 2)),
    Layer(
        "Parallel", lambda: lux.Parallel(lux.Dense(3, 2), b=lux.Dense(1, 2), combine=jnp.multiply), (array(3), array(1))
    ),
    Layer("Parallel on one input", lambda: lux.Parallel(lux.Dense(3, 2), jnp.tanh), array(2, 3)),
    Layer("Branch", lambda: lux.Branch(lux.Dense(3, 2), named=jnp.sin), array(2, 3)),
    Layer("PairwiseFusion", lambda: lux.PairwiseFusion(lux.Dense(3, 2), jnp.tanh), (array(3), array(2), array(2) + 1)),
    Layer(
        "PairwiseFusion of one input",
        lambda: lux.PairwiseFusion(lux.Dense(3, 3), jnp.tanh, combine=jnp.multiply),
        array(2, 3),
    ),
    Layer("SkipConnection", lambda: lux.SkipConnection(lux.Dense(3, 3, jnp.tanh)), array(2, 3)),
    Layer("SkipConnection that multiplies", lambda: lux.SkipConnection(jnp.sin, jnp.multiply), array(2, 3)),
    Layer("Repeated", lambda: lux.Repeated(lux.Dense(3, 3, jnp.tanh), 4), array(2, 3)),
    Layer("Repeated, tied", lambda: lux.Repeated(lux.Dense(3, 3, jnp.tanh), 4, tied=True), array(2, 3)),
    Layer("Repeated with injection", lambda: lux.Repeated(cell(), 2, injection=True), array(2, 3)),
    Layer(
        "Repeated, tied, with injection",
        lambda: lux.Repeated(cell(), 3, tied=True, injection=True),
        array(3),
        slow=True,
    ),
    Layer("Scan", lambda: lux.Scan(CustomLayer(3)), array(2, 4, 3), names={"CustomLayer": CustomLayer}),
    Layer("Scan along the first axis", lambda: lux.Scan(lux.Dense(3, 2), axis=0), array(4, 3)),
    Layer("ReverseSequence", lux.ReverseSequence, array(2, 4, 3)),
    Layer(
        "ReverseSequence with a mask",
        lambda: lux.Chain(lux.ReverseSequence(axis=-1), first),
        (array(2, 4), jnp.array([[True, True, False, False], [True, True, True, True]])),
        names={"first": first},
    ),
    Layer("Reshape", lambda: lux.Reshape((3, -1), axes=2), array(2, 2, 6)),
    Layer("Flatten", lambda: lux.Flatten(2), array(2, 2, 3)),
    Layer("SelectDim", lambda: lux.SelectDim(-2, -1), array(2, 4, 3)),
    Layer(
        "AlternatePrecision",
        lambda: lux.AlternatePrecision(lux.Dense(3, 2, jnp.tanh), jnp.float64),
        array(2, 3),
    ),
    Layer("Frozen", lambda: lux.Frozen(lux.Dense(3, 2, jnp.tanh)), array(2, 3)),
    Layer(
        "ParameterDict",
        lambda: lux.ParameterDict(
            a=lux.positive(0.5), b=lux.bounded([0.1, 0.4], 0.0, 1.0), c=lux.fixed(2.0), d=lux.real(0.0)
        ),
        None,
        mapped=False,
    ),
]
