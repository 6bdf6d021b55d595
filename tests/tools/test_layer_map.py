"""Walking over a model, and changing every layer, its parameters and its state by a function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from edited_model import edited_model, made_of
from helpers import bits, refused, setup
from members import LAYERS, array

import sciml_lux as lux
from sciml_lux import LayerError, LayoutError
from sciml_lux.flatten import compute_dtype, tie

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def model():
    return edited_model()


@pytest.fixture
def made(model):
    return made_of(model)


def keep(layer, ps, st, path):
    return layer, ps, st


def test_every_layer_is_visited_with_its_path_parameters_and_state(model, made):
    ps, st = made
    seen = {}

    def note(layer, ps, st, path):
        seen[path] = (layer, ps, st)
        return layer, ps, st

    lux.tools.layer_map(note, model, ps, st)
    assert list(seen) == [
        "encoder.layer_0",
        "encoder.layer_1",
        "encoder.layer_2",
        "mixed.left",
        "mixed.right",
        "head",
    ]
    for path, (layer, params, state) in seen.items():
        assert layer is model[path]
        assert params is ps.params[path]
        assert state is st[path]


@pytest.mark.parametrize("member", LAYERS, ids=lambda member: member.name)
def test_changing_nothing_keeps_every_model_and_every_bit(member):
    layer = member.make()
    ps, st = setup(layer)
    same, same_ps, same_st = lux.tools.layer_map(keep, layer, ps, st)
    assert same == layer
    assert same_ps.layout is ps.layout
    assert bits((same_ps, same_st)) == bits((ps, st))


def test_parameters_state_and_layers_can_all_change(model, made):
    ps, st = made

    def change(layer, ps, st, path):
        if isinstance(layer, lux.Dense):
            wider = lux.Dense(layer.in_features, layer.out_features, jnp.cos, use_bias=False)
            return wider, {"weight": 2 * ps.weight}, st
        return layer, ps, st.set("calls", st.calls + 10)

    new, new_ps, new_st = lux.tools.layer_map(change, model, ps, st)
    assert new["mixed.left"] == lux.Dense(3, 3, jnp.cos, use_bias=False)
    assert new_ps.layout is lux.layout_of(new)
    assert new_ps.layout.size == ps.layout.size - (3 + 3 + 3 + 3 + 1)
    np.testing.assert_array_equal(new_ps["mixed.left.weight"], 2 * ps["mixed.left.weight"])
    assert bits(new_ps["mixed.share"]) == bits(ps["mixed.share"])
    assert bits(new_ps["encoder.layer_1"]) == bits(ps["encoder.layer_1"])
    assert new_st["encoder.layer_1.calls"] == 11
    assert new(array(3), new_ps, new_st)[0].shape == (1,)


def test_a_function_may_be_mapped_over_one_layer_and_under_jit(model, made):
    dense = lux.Dense(2, 2)
    ps, st = setup(dense)
    seen = []

    def double(layer, ps, st, path):
        seen.append(path)
        return layer, jax.tree.map(lambda leaf: 2 * leaf, ps), st

    _, doubled, _ = lux.tools.layer_map(double, dense, ps, st)
    assert seen == [""]
    np.testing.assert_array_equal(doubled.vector, 2 * ps.vector)
    eager = lux.tools.layer_map(double, model, *made)
    compiled = jax.jit(lambda ps, st: lux.tools.layer_map(double, model, ps, st)[1:])(*made)
    np.testing.assert_allclose(compiled[0].vector, eager[1].vector, rtol=1e-13)
    several = jax.vmap(lambda ps, st: lux.tools.layer_map(double, model, ps, st)[1])(
        *jax.tree.map(lambda a: a[None], made)
    )
    np.testing.assert_allclose(several.vector[0], eager[1].vector, rtol=1e-13)


def test_what_is_tied_follows_its_source():
    model = lux.Share(lux.Chain(lux.Dense(3, 3), lux.Dense(3, 3)), "layer_0", "layer_1")
    ps, st = setup(model)

    def double(layer, ps, st, path):
        return layer, ps.set("weight", 2 * ps.weight), st

    same, new, _ = lux.tools.layer_map(double, model, ps, st)
    assert same == model
    np.testing.assert_array_equal(new["layer_1.weight"], 2 * ps["layer_0.weight"])


def test_ties_and_dtypes_given_by_hand_stay(model, made):
    ps, st = made
    ps = compute_dtype(tie(ps, ["mixed.left", "mixed.right"]), {"head.weight": jnp.bfloat16})

    def cosine(layer, ps, st, path):
        return (lux.Dense(3, 3, jnp.cos), ps, st) if path == "mixed.left" else (layer, ps, st)

    for new, new_ps, _ in (
        lux.tools.layer_map(cosine, model, ps, st),
        lux.tools.freeze(model, ps, st, "encoder.layer_0"),
        (model, *lux.tools.carry_over(jax.random.key(1), model, ps, st)),
    ):
        assert new_ps["head.weight"].dtype == jnp.bfloat16
        assert new_ps.layout["mixed.right.weight"].size == 0
        np.testing.assert_array_equal(new_ps["mixed.right.weight"], ps["mixed.right.weight"])
        assert new.children()


@pytest.mark.parametrize(
    ("function", "kind", "part"),
    [
        (lambda layer, ps, st, path: layer, LayerError, "returns (layer, ps, st), got Dense at layer_0"),
        (lambda layer, ps, st, path: (ps, layer, st), LayerError, "expected a layer"),
        (lambda layer, ps, st, path: (layer, ps.weight, st), LayerError, "ps is a mapping"),
        (lambda layer, ps, st, path: (layer, ps, None), LayerError, "st is a mapping, got NoneType at layer_0"),
        (lambda layer, ps, st, path: (layer, {"weight": ps.weight}, st), LayoutError, "missing ['layer_0.bias']"),
        (lambda layer, ps, st, path: (layer, {**ps, "more": ps.bias}, st), LayoutError, "unknown ['layer_0.more']"),
        (
            lambda layer, ps, st, path: (layer, ps.set("bias", jnp.ones(7)), st),
            LayoutError,
            "layer_0.bias: got shape (7,)",
        ),
        (lambda layer, ps, st, path: (lux.Dense(2, 5), ps, st), LayoutError, "layer_0.weight: got shape (2, 2)"),
        (lambda layer, ps, st, path: (layer, jax.tree.map(lambda a: a[None], ps), st), LayoutError, "added 1 axes"),
    ],
)
def test_what_a_function_may_not_return(function, kind, part):
    model = lux.Chain(lux.Dense(2, 2))
    refused(lambda: lux.tools.layer_map(function, model, *setup(model)), kind, part)


def test_a_constraint_holds_for_what_comes_back():
    rates = lux.Chain(lux.ParameterDict(a=lux.positive(1.0)))
    ps, st = setup(rates)

    def negated(layer, ps, st, path):
        return layer, {"a": -ps.a}, st

    refused(lambda: lux.tools.layer_map(negated, rates, ps, st), LayoutError, "layer_0.a")
