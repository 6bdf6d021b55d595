"""Every layer that PyTorch has: outputs, gradients and running statistics in float64, to 1e-10. Cases in `torch_oracle/`."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_oracle import FAMILIES
from torch_oracle.case import cotangent
from torch_oracle.record import read, record

import sciml_lux as lux

# Cases whose neighbours, in one or three dimensions or with one option less, show as much.
REPEATED = re.compile(
    r"(Batch|Instance)Norm2d eps|, last|Upsample linear .* of 2|block, relu|both ways, padded|Conv(Transpose)? 2 without bias"
    r"|Conv 1 circular|of edges|Pad (zeros|reflect|edge)|PReLU of each"
)
EVERY = [
    pytest.param(family, case, id=f"{family}-{case.name}", marks=[pytest.mark.slow] * bool(REPEATED.search(case.name)))
    for family, cases in FAMILIES.items()
    for case in cases
]


def below(figures, prefix):
    """The figures whose names start with `prefix`, by the rest of the name."""
    return {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}


def same(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("family", "case"), EVERY)
def test_it_is_what_pytorch_computes(family, case):
    figures = below(read(family), f"{case.name}|")
    layer, inputs = case.layer(), tuple(jnp.asarray(x) for x in case.inputs)
    ps, st = lux.tools.from_torch(below(figures, "start|"), layer)

    def loss(ps, floats, st):
        filled = iter(floats)
        given = tuple(next(filled) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in inputs)
        y, st = layer(given if len(given) > 1 else given[0], ps, st)
        return jnp.sum(y * cotangent(y)), (y, st)

    for mode in case.modes:
        expected = below(figures, f"{mode}|")
        set_mode = lux.train_mode if mode == "train" else lux.test_mode
        floats = tuple(x for x in inputs if jnp.issubdtype(x.dtype, jnp.floating))
        gradients, (y, after) = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(ps, floats, set_mode(st))
        same(y, expected["y"])
        for got, (_, wanted) in zip(gradients[1], sorted(below(expected, "x_gradient|").items()), strict=True):
            same(got, wanted)
        parameter_gradient, state_after = lux.tools.from_torch(below(expected, "after|"), layer)
        same(gradients[0].vector, parameter_gradient.vector)
        jax.tree.map(same, *map(statistics, (after, state_after)))


def statistics(st):
    """The floating-point entries of a state."""
    return [leaf for leaf in jax.tree.leaves(st) if jnp.issubdtype(leaf.dtype, jnp.floating)]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_stored_figures_are_pytorchs(family):
    torch = pytest.importorskip("torch", reason="python -m pip install 'sciml-lux[oracle]'")
    stored, computed = read(family), record(family, torch)
    assert stored.keys() == computed.keys()
    for name, value in computed.items():
        np.testing.assert_allclose(value, stored[name], rtol=1e-12, atol=1e-12, err_msg=name)
