"""`jax.export` with a batch of unknown size: one program for all of them, which gives what the layer gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import setup
from jax import export
from members import LAYERS, Layer, array

import sciml_lux as lux
from sciml_lux.core import failure_mode

# A size that is not known is not an `int`, which is what the checker would say first.
pytestmark = pytest.mark.usefixtures("unchecked")

# Layers that choose how to compute by the number of samples.
CHOOSING = [
    Layer("Chain", lambda: lux.Chain(lux.Dense(3, 8, jnp.tanh), lux.Dense(8, 2)), array(3)),
    Layer("MLP, narrowing", lambda: lux.MLP(8, (16,), 2), array(8)),
    Layer("Recurrence", lambda: lux.Recurrence(lux.LSTMCell(3, 2)), array(4, 3)),
    Layer(
        "convolutions",
        lambda: lux.Chain(lux.Conv(2, 4, (3,), padding="SAME"), lux.ConvTranspose(4, 4, (3,), stride=2, groups=2)),
        array(5, 2),
    ),
]


def with_batch(leaf, size):
    return jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype)


def repeated(leaf, size):
    scale = jnp.linspace(0.5, 1.0, size).reshape(size, *(1,) * leaf.ndim)
    return scale * leaf[None] if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.repeat(leaf[None], size, axis=0)


def made(member):
    layer = member.make()
    ps, st = setup(layer)

    def call(vector, x):
        with failure_mode("nan"):  # errors at run time are callbacks into this process, which no export can hold
            return layer(x, ps.replace(vector), st)[0]

    return jax.jit(call), ps.vector


def takes_a_batch(member):
    """Whether each of its results has a leading axis that is that of its inputs."""
    call, vector = made(member)
    sizes = 2, 5
    shapes = lambda size: jax.tree.map(lambda leaf: with_batch(leaf, size), member.x)  # noqa: E731
    try:
        ys = [jax.eval_shape(call, vector, shapes(size)) for size in sizes]
    except Exception:
        return False
    return all(leaf.shape[:1] == (size,) for y, size in zip(ys, sizes, strict=True) for leaf in jax.tree.leaves(y))


def check(member):
    call, vector = made(member)
    [batch] = export.symbolic_shape("batch")
    exported = export.export(call)(vector, jax.tree.map(lambda leaf: with_batch(leaf, batch), member.x))
    for size in (2, 256):
        x = jax.tree.map(lambda leaf: repeated(leaf, size), member.x)  # noqa: B023
        got, expected = exported.call(vector, x), call(vector, x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), got, expected)


@pytest.mark.parametrize(
    "member",
    [pytest.param(member, marks=[pytest.mark.slow] * (i > 0)) for i, member in enumerate(CHOOSING)],
    ids=lambda member: member.name,
)
def test_a_layer_that_chooses_by_the_number_of_samples_is_exported_for_all(member):
    check(member)


# What cannot be exported, and says so: a callback into this process, or an array that peers make of a size that has to be a number.
REFUSED = {
    "Debug": "its checks are callbacks",
    "Debug of a user's container, forward": "its checks are callbacks",
    "SecondOrderODE in turn": "a check of diffrax's is a callback",
    "HamiltonianODE, separable": "a check of diffrax's is a callback",
    "JumpODE with a learned jump": "a check within the solve is a callback",
    "NeuralODE with a tolerance for each component": "the tolerances of all samples are one list",
    "SteadyStateODE": "the Jacobian is held as a band or in full by its size",
    "ContinuousDEQ": "the norm of diffrax's event takes a number",
}


def test_what_is_refused_is_a_member():
    assert REFUSED.keys() <= {member.name for member in LAYERS}


@pytest.mark.slow
@pytest.mark.parametrize("member", LAYERS, ids=lambda member: member.name)
def test_every_layer_that_takes_a_batch_is_exported_for_all_sizes(member):
    if not (jax.tree.leaves(member.x) and takes_a_batch(member)):
        return
    if member.name in REFUSED:
        with pytest.raises((NotImplementedError, TypeError, jax.errors.InconclusiveDimensionOperation)):
            check(member)
    else:
        check(member)
