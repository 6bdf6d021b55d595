"""Parameters and state in exported programs and in flax's state dictionaries: what comes back is what went in."""

import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, refused, setup

import sciml_lux as lux
from sciml_lux import LayoutError
from sciml_lux.flatten import flatten, tie

MODEL = lux.Chain(a=lux.Dense(2, 2), b=lux.BatchNorm(2), c=lux.Dropout(0.5), d=lux.NoOp())
TIED = tie(
    flatten(
        {
            "a": {"w": jnp.ones(2)},
            "b": {"w": jnp.ones(2)},
            "k": lux.positive(0.5, unit="1/year"),
            "c": lux.fixed(-0.0),
            "s": lux.flatten.symmetric(jnp.eye(2)),
        }
    ),
    ["a.w", "b.w"],
)


def test_a_program_takes_and_returns_parameters_and_state():
    pytest.importorskip("flatbuffers")
    ps, st = setup(MODEL)
    x = jnp.ones((4, 2))

    def program(x, ps, tied, st):
        y, st = MODEL(x, ps, st)
        return y, ps.replace(2 * ps.vector), tied.params, tied.replace(-tied.vector), st

    exported = jax.export.export(jax.jit(program))(x, ps, TIED, st)
    back = jax.export.deserialize(exported.serialize())
    assert (back.in_tree, back.out_tree) == (exported.in_tree, exported.out_tree)
    got, expected = back.call(x, ps, TIED, st), jax.jit(program)(x, ps, TIED, st)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    assert bits(got) == bits(expected)
    assert got[1].layout is ps.layout
    assert got[3].layout is TIED.layout
    assert got[4].b.training


def test_a_program_with_the_outcome_of_a_solve_in_its_state():
    pytest.importorskip("flatbuffers")
    node = lux.NeuralODE(lux.Dense(2, 2), t0=0.0, t1=1.0, throw=False)
    ps, st = setup(node)
    exported = jax.export.export(jax.jit(lambda ps, st: (ps, st)))(ps, st)
    back = jax.export.deserialize(exported.serialize())
    assert jax.tree.structure(back.call(ps, st)) == jax.tree.structure((ps, st))


@pytest.mark.parametrize("cls", [lux.FlatParams, lux.Params, lux.State, lux.Training])
def test_they_are_known_to_exports(cls):
    with pytest.raises(ValueError, match="serialization"):
        jax.export.register_pytree_node_serialization(
            cls, serialized_name="another", serialize_auxdata=bytes, deserialize_auxdata=bytes
        )


def test_a_layout_comes_back_from_its_bytes():
    module = lux.flatten.files._serialize
    for ps in (TIED, setup(MODEL)[0], lux.flatten.partition(TIED, "a")[0]):
        assert module._layout_from_bytes(bytearray(module._layout_to_bytes(ps.layout))) is ps.layout


@pytest.fixture
def serialization():
    return pytest.importorskip("flax.serialization")


@pytest.mark.parametrize("batched", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_flax_takes_them_apart_and_puts_them_together(serialization, batched):
    ps, st = setup(MODEL) if not batched else lux.setup_batch(jax.random.key(0), MODEL, 2)
    for tree in (ps, ps.params, st, TIED, {"ps": ps, "st": st}):
        back = serialization.from_bytes(tree, serialization.to_bytes(tree))
        assert jax.tree.structure(back) == jax.tree.structure(tree)
        assert bits(back) == bits(tree)
    named = serialization.to_state_dict(TIED)
    assert named["a"]["w"].shape == (2,)
    assert "c" not in named


def test_flax_refuses_those_of_another_model(serialization):
    ps, _ = setup(MODEL)
    for other in (lux.Dense(2, 3), lux.Chain(a=lux.Dense(2, 3), b=lux.BatchNorm(2), c=lux.NoOp(), d=lux.NoOp())):
        data = serialization.to_bytes(setup(other)[0])
        refused(lambda data=data: serialization.from_bytes(ps, data), LayoutError, "belong to another model")


def test_flax_is_told_when_it_is_there():
    assert "register_with_flax" in lux.flatten.__dict__
    if "flax.serialization" in sys.modules:
        flatten({"a": 1.0})
        assert not lux.flatten._flax.FOR_FLAX
    np.testing.assert_array_equal(flatten({"a": 1.0}).vector, [1.0])
