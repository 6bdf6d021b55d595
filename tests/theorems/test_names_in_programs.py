"""What a layer computes bears its path in compiled programs, which are otherwise the same whatever the layers are called."""

import re

import jax
import jax.numpy as jnp
import pytest
from helpers import setup
from members import LAYERS, array

import sciml_lux as lux
from sciml_lux.core import children_of
from sciml_lux.layers import _columns


def lowered(layer, x):
    ps, st = setup(layer)
    if not all(jnp.size(leaf) for leaf in jax.tree.leaves(st)):
        _, st = layer(x, ps, st)
    return jax.jit(lambda ps, x: layer(x, ps, st)[0]).lower(ps, x)


@pytest.mark.parametrize("samples", [2, 256], ids=["in rows", "on columns"])
def test_paths_are_those_of_parameters(samples):
    inner = lux.Chain(lux.Dense(3, 4, jnp.tanh), lux.Dense(4, 4))
    text = lowered(lux.Chain(encoder=inner, skip=lux.SkipConnection(lux.Dense(4, 4))), array(samples, 3)).as_text(
        debug_info=True
    )
    for path in ("encoder", "encoder.layer_0", "encoder.layer_1", "skip", "skip.layer"):
        assert f"/{path}/" in text, path


def test_a_program_does_not_depend_on_names():
    """Or the compilation cache, which leaves the names out, would be asked for each name anew."""
    layers = lux.Dense(3, 4, jnp.tanh), lux.Dense(4, 4)
    one, other = (lowered(lux.Chain(**dict(zip(names, layers, strict=True))), array(2, 3)) for names in ("ab", "cd"))
    assert one.as_text() == other.as_text()


UNNAMED = {
    "Debug": "it names layers in its messages, and calls them by other ways",
    "Debug of a user's container, forward": "as above",
    "HamiltonianODE, separable": "two equal networks, of which the second is the first one's program",
    "MultipleShooting": "it asks the adapter for its solve, which is no call",
}
CONTAINERS = [member for member in LAYERS if children_of(member.make()) and member.name not in UNNAMED]


@pytest.mark.slow
@pytest.mark.parametrize("member", CONTAINERS, ids=lambda member: member.name)
def test_every_container_names_what_its_children_compute(member, monkeypatch):
    monkeypatch.setattr(_columns, "_FEWEST_SAMPLES", 1)
    layer = member.make()
    text = lowered(layer, member.x).as_text(debug_info=True)
    for name, child in children_of(layer).items():
        if lux.parameter_length(child) and not isinstance(child, lux.ParameterDict | lux.AbstractRecurrentCell):
            # A transformation writes its name around the path, transpose(jvp(layer)), and the body of a loop begins anew.
            assert re.search(rf'["/(]{name}[/:)]', text), name
