"""Changing the layers of a model, and moving parameters between the vector and the state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from edited_model import edited_model, made_of
from helpers import bits, refused, setup
from members import array

import sciml_lux as lux
from sciml_lux import LayerError, LayoutError, PathError
from sciml_lux.flatten import Params, Transposed, tie

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def model():
    return edited_model()


@pytest.fixture
def made(model):
    return made_of(model)


# Changing layers


def test_replacing_a_layer_keeps_the_rest(model, made):
    ps, st = made
    new = lux.tools.replace_layer(model, "encoder.layer_2", lux.Chain(lux.Dense(3, 4), jnp.tanh, lux.Dense(4, 3)))
    assert [*new.children()] == [*model.children()]
    assert new["encoder.layer_2.layer_1"] == lux.WrappedFunction(jnp.tanh)
    assert lux.tools.replace_layer(new, "encoder.layer_2", model["encoder.layer_2"]) == model
    new_ps, new_st = lux.tools.carry_over(jax.random.key(7), new, ps, st)
    for path in ("encoder.layer_0", "encoder.layer_1", "mixed", "head"):
        assert bits(new_ps[path]) == bits(ps[path])
        assert bits(new_st[path]) == bits(st[path])
    fresh, _ = lux.setup(jax.random.key(7), new)
    assert bits(new_ps["encoder.layer_2"]) == bits(fresh["encoder.layer_2"])
    assert not new_st["encoder.layer_1.training"]
    assert new(array(3), new_ps, new_st)[0].shape == (1,)


def test_layers_come_and_go_and_names_stay(model, made):
    ps, st = made
    paths = {}
    for where in ({}, {"before": "layer_0"}, {"after": "layer_0"}, {"before": "layer_2"}, {"after": "layer_2"}):
        new = lux.tools.insert_layer(model, "encoder.extra", jnp.tanh, **where)
        paths[str(where)] = list(new["encoder"].children()).index("extra")
        new_ps, new_st = lux.tools.carry_over(jax.random.key(7), new, ps, st)
        assert bits(new_ps) == bits(ps)
        assert bits(new_st) == bits(st)
        assert lux.tools.remove_layer(new, "encoder.extra") == model
    assert list(paths.values()) == [3, 0, 1, 2, 3]
    shorter = lux.tools.remove_layer(model, "encoder.layer_1")
    assert list(shorter["encoder"].children()) == ["layer_0", "layer_2"]
    new_ps, new_st = lux.tools.carry_over(jax.random.key(7), shorter, ps, st)
    assert bits(new_ps["encoder.layer_2"]) == bits(ps["encoder.layer_2"])
    assert list(new_st.encoder) == ["layer_0", "layer_2"]


def test_editing_reaches_through_every_container():
    block = lux.Chain(lux.Dense(3, 3), lux.Dense(3, 3))
    model = lux.Chain(
        skip=lux.SkipConnection(block),
        repeated=lux.Repeated(block, 2),
        shared=lux.Share(block, "layer_0", "layer_1"),
        compact=lux.compact(block=block)(lambda self, x: self.block(x)),
        branch=lux.Chain(lux.Branch(block, block), lux.WrappedFunction(lambda pair: pair[0])),
    )
    ps, st = setup(model)
    for inner in ("skip.layer", "repeated.layer", "compact.block", "branch.layer_0.layer_1"):
        new = lux.tools.insert_layer(model, f"{inner}.more", lux.Scale(3), before="layer_1")
        new = lux.tools.replace_layer(new, f"{inner}.layer_0", lux.Dense(3, 3, jnp.tanh))
        assert new[f"{inner}.layer_0"].activation is jnp.tanh
        new_ps, new_st = lux.tools.carry_over(jax.random.key(1), new, ps, st)
        assert bits(new_ps[f"{inner}.layer_1"]) == bits(ps[f"{inner}.layer_1"])
        assert new(array(3), new_ps, new_st)[0].shape == (3,)
    new = lux.tools.replace_layer(model, "shared.layer_1", lux.Dense(3, 3, jnp.sin))
    assert lux.tools.carry_over(jax.random.key(1), new, ps, st)[0].layout["shared.layer_1.weight"].size == 0


def test_a_layer_is_wrapped_with_its_parameters_renamed(model, made):
    ps, st = made
    new = lux.tools.replace_layer(model, "encoder.layer_1", lux.SkipConnection(model["encoder.layer_1"]))
    rename = {"encoder.layer_1": "encoder.layer_1.layer"}
    new_ps, new_st = lux.tools.carry_over(jax.random.key(7), new, ps, st, rename)
    assert bits(new_ps) == bits(ps)
    assert new_st["encoder.layer_1.layer.calls"] == 1
    both = lux.Chain(a=model["encoder.layer_0"], b=model["encoder.layer_2"])
    swapped, _ = lux.tools.carry_over(jax.random.key(7), both, ps, st, {"encoder.layer_0": "b", "encoder.layer_2": "a"})
    assert bits(swapped["a"]) == bits(ps["encoder.layer_2"])
    assert bits(swapped["b"]) == bits(ps["encoder.layer_0"])


def test_a_renamed_path_is_not_carried_under_its_old_name():
    two = lux.Chain(lux.Dense(3, 3), lux.Dense(3, 3))
    ps, st = setup(two)
    moved, _ = lux.tools.carry_over(jax.random.key(7), two, ps, st, {"layer_0": "layer_1", "layer_1": "gone"})
    assert bits(moved["layer_1"]) == bits(ps["layer_0"])
    assert bits(moved["layer_0"]) == bits(lux.setup(jax.random.key(7), two)[0]["layer_0"])


def test_of_two_renamed_paths_the_longer_one_says_where_a_layer_comes_from():
    block = lux.Chain(a=lux.Dense(3, 3), b=lux.Dense(3, 3))
    ps, st = setup(lux.Chain(block=block, other=lux.Dense(3, 3)))
    rename = {"block": "whole", "other": "whole.a"}
    moved, _ = lux.tools.carry_over(jax.random.key(7), lux.Chain(whole=block), ps, st, rename)
    assert bits(moved["whole.a"]) == bits(ps["other"])
    assert bits(moved["whole.b"]) == bits(ps["block.b"])


def test_another_map_or_shape_starts_afresh():
    old = lux.Chain(rates=lux.ParameterDict(a=lux.positive(3.0), b=lux.real(1.0)), head=lux.Dense(2, 2))
    new = lux.Chain(rates=lux.ParameterDict(a=lux.bounded(0.5, 0.0, 1.0), b=lux.real(2.0)), head=lux.Dense(2, 3))
    ps, st = setup(old)
    carried, _ = lux.tools.carry_over(jax.random.key(7), new, ps, st)
    np.testing.assert_allclose([carried["rates.a"], carried["rates.b"]], [0.5, 1.0], rtol=1e-14)
    assert bits(carried["head"]) == bits(lux.setup(jax.random.key(7), new)[0]["head"])
    half, _ = lux.setup(jax.random.key(0), old, jnp.float32)
    assert lux.tools.carry_over(jax.random.key(7), new, half, st)[0].vector.dtype == jnp.float32


@pytest.mark.parametrize(
    ("edit", "kind", "parts"),
    [
        (
            lambda m: lux.tools.replace_layer(m, "encodr.layer_0", lux.NoOp()),
            PathError,
            ["'encodr.layer_0'", "encoder.layer_0"],
        ),
        (lambda m: lux.tools.replace_layer(m, "head.weight", lux.NoOp()), PathError, ["no layer 'head.weight'"]),
        (lambda m: lux.tools.replace_layer(m, "head", 3), LayerError, ["head is neither a layer nor a function"]),
        (lambda m: lux.tools.replace_layer(m, "head", lux.Dense), LayerError, ["head is the class Dense"]),
        (
            lambda m: lux.tools.replace_layer(lux.Dense(2, 2), "head", lux.NoOp()),
            LayerError,
            ["made of layers", "Dense"],
        ),
        (lambda m: lux.tools.replace_layer(jnp.tanh, "head", lux.NoOp()), LayerError, ["expected a layer"]),
        (lambda m: lux.tools.remove_layer(m, "encoder.layer_9"), PathError, ["no layer 'encoder.layer_9'"]),
        (lambda m: lux.tools.remove_layer(m, "mixed.left"), LayerError, ["CustomContainer is made of", "lux.NoOp()"]),
        (lambda m: lux.tools.insert_layer(m, "mixed.more", lux.NoOp()), LayerError, ["CustomContainer is made of"]),
        (
            lambda m: lux.tools.insert_layer(m, "encoder.layer_0", lux.NoOp()),
            LayerError,
            ["there is a layer encoder.layer_0"],
        ),
        (lambda m: lux.tools.insert_layer(m, "head.more", lux.NoOp()), LayerError, ["head is a Dense"]),
        (lambda m: lux.tools.insert_layer(m, "nothing.more", lux.NoOp()), PathError, ["no layer 'nothing'"]),
        (
            lambda m: lux.tools.insert_layer(m, "more", lux.NoOp(), before="layer_7"),
            PathError,
            ["no layer 'layer_7'", "head"],
        ),
        (
            lambda m: lux.tools.insert_layer(m, "more", lux.NoOp(), before="head", after="head"),
            LayerError,
            ["one of them"],
        ),
        (lambda m: lux.tools.insert_layer(m, "with space", lux.NoOp()), PathError, ["'with space'"]),
    ],
)
def test_edits_that_cannot_be_say_why(model, edit, kind, parts):
    refused(lambda: edit(model), kind, *parts)


def test_parameters_of_another_model_are_refused(model, made):
    ps, st = made
    key = jax.random.key(0)
    refused(
        lambda: lux.tools.carry_over(key, lux.Chain(other=lux.Dense(2, 2)), ps, st),
        LayoutError,
        "nothing to carry over",
        "rename=",
    )
    refused(lambda: lux.tools.carry_over(key, model, ps, st, {"encodr": "x"}), PathError, "no path 'encodr'")
    refused(lambda: lux.tools.carry_over(key, model, ps.params, st), LayoutError, "one vector", "got Params")
    refused(lambda: lux.tools.carry_over(key, model, ps.replace(ps.vector[None]), st), LayoutError, "jax.vmap")
    other, other_st = setup(lux.Chain(lux.Dense(2, 2)))
    with pytest.raises((LayerError, PathError)):
        lux.tools.freeze(model, other, other_st, "head")


# Frozen, thawed, shared


def test_freezing_moves_parameters_into_the_state_and_back(model, made):
    ps, st = made
    x = array(2, 3)
    expected = model(x, ps, st)[0]
    paths = ("encoder", "mixed.left")
    frozen, frozen_ps, frozen_st = lux.tools.freeze(model, ps, st, *paths)
    assert frozen_ps.layout is lux.layout_of(frozen)
    assert {entry.path for entry in frozen_ps.layout.entries} == {
        "mixed.right.weight",
        "mixed.right.bias",
        "mixed.share",
        "head.weight",
        "head.bias",
    }
    np.testing.assert_array_equal(frozen(x, frozen_ps, frozen_st)[0], expected)
    assert jax.tree.structure(frozen_st) == jax.tree.structure(lux.test_mode(setup(frozen)[1]))
    assert lux.layer_paths(frozen, lux.Frozen) == paths
    again, again_ps, again_st = lux.tools.unfreeze(frozen, frozen_ps, frozen_st, *paths)
    assert again == model
    assert again_ps.layout is ps.layout
    np.testing.assert_allclose(again_ps.vector, ps.vector, rtol=1e-14)
    assert bits(again_st) == bits(st)


def test_the_gradient_of_what_stays_is_as_before(model, made):
    ps, st = made
    frozen, frozen_ps, frozen_st = lux.tools.freeze(model, ps, st, "encoder")

    def gradient(model, ps, st):
        return jax.grad(lambda ps: jnp.sum(model(array(3), ps, st)[0] ** 2))(ps)

    whole, part = gradient(model, ps, st), gradient(frozen, frozen_ps, frozen_st)
    np.testing.assert_allclose(part["head.weight"], whole["head.weight"], rtol=1e-13)
    np.testing.assert_allclose(part["mixed.left.weight"], whole["mixed.left.weight"], rtol=1e-13)


def test_layers_below_others_can_be_frozen():
    model = lux.Chain(
        lux.Repeated(lux.Chain(lux.Dense(3, 3), lux.Dense(3, 3)), 2),
        lux.compact(d=lux.Dense(3, 3), w=lux.real(2.0))(lambda self, x: self.w * self.d(x)),
    )
    ps, st = setup(model)
    frozen, frozen_ps, frozen_st = lux.tools.freeze(model, ps, st, "layer_0.layer.layer_1", "layer_1.d")
    assert frozen_ps.layout.size == 2 * 12 + 1
    np.testing.assert_allclose(frozen(array(3), frozen_ps, frozen_st)[0], model(array(3), ps, st)[0], rtol=1e-13)
    again, again_ps, _ = lux.tools.unfreeze(frozen, frozen_ps, frozen_st, *lux.layer_paths(frozen, lux.Frozen))
    assert again == model
    np.testing.assert_array_equal(again_ps.vector, ps.vector)


def test_what_is_tied_by_hand_to_a_frozen_parameter_keeps_its_value():
    model = lux.Chain(lux.Dense(3, 2), lux.Dense(2, 3))
    ps, st = setup(model)
    ps = tie(ps, ["layer_0.weight", "layer_1.weight"], through=Transposed())
    for path, other in (("layer_0", "layer_1"), ("layer_1", "layer_0")):
        frozen, frozen_ps, frozen_st = lux.tools.freeze(model, ps, st, path)
        np.testing.assert_array_equal(frozen_st[f"{path}.parameters.weight"], ps[f"{path}.weight"])
        np.testing.assert_array_equal(frozen_ps[f"{other}.weight"], ps[f"{other}.weight"])
        np.testing.assert_array_equal(frozen(array(3), frozen_ps, frozen_st)[0], model(array(3), ps, st)[0])


def test_sharing_keeps_the_first(model, made):
    ps, st = made
    shared, shared_ps, shared_st = lux.tools.share_parameters(model, ps, st, "encoder.layer_0", "mixed.left")
    assert shared_ps.layout is lux.layout_of(shared)
    assert shared_ps.layout.size == ps.layout.size - 12
    assert bits(shared_ps["mixed.left"]) == bits(ps["encoder.layer_0"]) == bits(shared_ps["encoder.layer_0"])
    assert bits(shared_ps["mixed.right"]) == bits(ps["mixed.right"])
    assert bits(shared_st) == bits(st)
    twice, twice_ps, _ = lux.tools.share_parameters(shared, shared_ps, shared_st, "encoder.layer_2", "mixed.right")
    assert twice_ps.layout.size == ps.layout.size - 24
    assert bits(twice_ps["mixed.left"]) == bits(ps["encoder.layer_0"])
    assert twice(array(3), twice_ps, st)[0].shape == (1,)
    same = model(array(3), ps.set("mixed.left", ps.params["encoder.layer_0"]), st)[0]
    np.testing.assert_array_equal(shared(array(3), shared_ps, shared_st)[0], same)


@pytest.mark.parametrize(
    ("edit", "kind", "parts"),
    [
        (lambda m, ps, st: lux.tools.freeze(m, ps, st), LayerError, ["freeze takes the paths of layers", "at least one"]),
        (lambda m, ps, st: lux.tools.freeze(m, ps, st, ["head"]), LayerError, ["takes the paths of layers"]),
        (lambda m, ps, st: lux.tools.freeze(m, ps, st, "heat"), PathError, ["no layer 'heat'", "head"]),
        (lambda m, ps, st: lux.tools.freeze(m, ps, st, "head.weight"), PathError, ["no layer 'head.weight'"]),
        (lambda m, ps, st: lux.tools.freeze(m, ps, st, "head", "head"), LayerError, ["head is named twice"]),
        (lambda m, ps, st: lux.tools.freeze(m, ps, st, "encoder.layer_0", "encoder"), LayerError, ["encoder.layer_0 lies within encoder"]),
        (lambda m, ps, st: lux.tools.freeze(*lux.tools.freeze(m, ps, st, "head"), "head"), LayerError, ["head is frozen already"]),
        (lambda m, ps, st: lux.tools.freeze(lux.Dense(2, 2), ps, st, "head"), LayerError, ["made of layers"]),
        (lambda m, ps, st: lux.tools.freeze(m, ps.params, st, "head"), LayoutError, ["one vector"]),
        (lambda m, ps, st: lux.tools.unfreeze(m, ps, st, "head"), LayerError, ["head is a Dense, which is not frozen"]),
        (lambda m, ps, st: lux.tools.share_parameters(m, ps, st, "head"), LayerError, ["at least two paths"]),
        (lambda m, ps, st: lux.tools.share_parameters(m, ps, st, "head", "mixed.left"), LayerError, ["mixed.left differs from head"]),
        (lambda m, ps, st: lux.tools.share_parameters(m, ps, st, "head", "heat"), PathError, ["no layer 'heat'"]),
        (
            lambda m, ps, st: lux.tools.freeze(*lux.tools.share_parameters(m, ps, st, "encoder.layer_0", "mixed.left"), "mixed.left"),
            LayerError,
            ["mixed.left differs"],
        ),
    ],
)  # fmt: skip
def test_moves_that_cannot_be_say_why(model, made, edit, kind, parts):
    refused(lambda: edit(model, *made), kind, *parts)


def test_a_whole_model_of_constrained_parameters_is_frozen_bit_for_bit_in_the_rest():
    model = lux.Chain(rates=lux.ParameterDict(a=lux.positive(0.3), b=lux.bounded(0.2, 0.0, 1.0)), frozen=lux.Scale(2))
    ps, st = setup(model)
    ps = ps.replace(jnp.array([0.1, 0.7, 1.0, 2.0, 3.0, 4.0]))
    _, after, _ = lux.tools.freeze(model, ps, st, "frozen")
    assert bits(after.vector) == bits(ps.vector[:2])
    assert isinstance(after.params, Params)
