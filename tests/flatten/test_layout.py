"""Layout: where each parameter lies in the vector, and the two maps between structure and vector."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, dtypes, fill, random_bits, shapes, trees_of
from hypothesis import given, settings
from hypothesis import strategies as st

import sciml_lux as lux
from sciml_lux.flatten import flatten, leaf_paths

seeds = st.integers(0, 2**31)


def ordered_leaves(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield from ordered_leaves(value)
        else:
            yield value


@settings(max_examples=40)
@given(trees_of(shapes), seeds, dtypes)
def test_the_view_of_a_flattened_tree_is_the_tree_bit_for_bit(shape_tree, seed, dtype):
    tree = fill(shape_tree, seed, dtype)
    flat = flatten(tree, dtype)
    view = flat.params
    assert list(leaf_paths(view)) == list(leaf_paths(lux.Params(tree)))
    assert bits(list(ordered_leaves(tree))) == bits(view)
    assert bits(flat.layout.ravel(view)) == bits(flat.vector)
    assert flat.vector.dtype == np.dtype(dtype)
    assert flat.vector.tobytes() == b"".join(leaf.tobytes() for leaf in ordered_leaves(tree))


@settings(max_examples=30)
@given(trees_of(shapes), st.lists(st.integers(0, 3), min_size=1, max_size=2).map(tuple), seeds, dtypes)
def test_leading_axes_are_a_batch_in_both_directions(shape_tree, batch, seed, dtype):
    layout = flatten(fill(shape_tree, seed, dtype), dtype).layout
    vectors = jnp.asarray(random_bits(seed, (*batch, layout.size), dtype))
    view = layout.unravel(vectors)
    for entry in layout.entries:
        segment = np.asarray(vectors)[..., entry.offset : entry.offset + entry.size]
        assert bits(view[entry.path]) == bits(segment.reshape(*batch, *entry.shape))
    if layout.entries:
        assert bits(layout.ravel(view)) == bits(vectors)


@settings(max_examples=30)
@given(trees_of(shapes))
def test_entries_lie_end_to_end_in_the_order_of_declaration(shape_tree):
    layout = lux.Layout.of(fill(shape_tree, 0, jnp.float64))
    assert [entry.path for entry in layout.entries] == list(leaf_paths(layout.tree))
    ends = np.cumsum([0, *(entry.size for entry in layout.entries)])
    assert [entry.offset for entry in layout.entries] == list(ends[:-1])
    assert layout.size == ends[-1]
    assert all(layout[entry.path] is entry for entry in layout.entries)
    assert len(layout) == len(layout.entries)


def test_layer_10_comes_after_layer_9():
    model = lux.Chain(*(lux.Scale(1, use_bias=False) for _ in range(12)))
    assert [entry.path for entry in lux.layout_of(model).entries] == [f"layer_{i}.weight" for i in range(12)]
    tree = {f"layer_{i}": jnp.float64(i) for i in range(12)}
    flat = flatten(tree)
    assert np.array_equal(flat.vector, np.arange(12.0))
    assert np.array_equal(jax.tree.leaves(flat.params), np.arange(12.0))
    assert np.array_equal(jax.tree.leaves(jax.tree.map(lambda leaf: leaf, flat.params)), np.arange(12.0))


def test_names_that_are_declared_in_another_order_make_another_layout():
    first = lux.Layout.of({"a": jnp.zeros(2), "b": jnp.zeros(2)})
    second = lux.Layout.of({"b": jnp.zeros(2), "a": jnp.zeros(2)})
    assert first != second
    np.testing.assert_array_equal(first.ravel({"b": jnp.ones(2), "a": jnp.zeros(2)}), [0, 0, 1, 1])


def test_equal_layouts_are_one_object():
    def make(dtype=jnp.float64, unit="1/s"):
        return lux.Layout.of({"a": lux.positive(1.0, unit=unit), "b": {"c": jnp.ones((2, 3))}}, dtype)

    assert make() is make()
    assert hash(make()) == hash(make())
    assert len({make(), make(jnp.float32), make(unit="1/year")}) == 3
    values_do_not_matter = lux.Layout.of({"a": jnp.ones(2)}), lux.Layout.of({"a": jnp.zeros(2)})
    assert values_do_not_matter[0] is values_do_not_matter[1]


def test_a_layout_is_made_of_shapes_alone():
    abstract = {"a": jax.ShapeDtypeStruct((10**6, 10**6), jnp.float32), "b": jax.ShapeDtypeStruct((), jnp.float32)}
    layout = lux.Layout.of(abstract)
    assert layout.size == 10**12 + 1
    assert layout["b"].offset == 10**12


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copied_or_pickled_layout_is_the_same_object(again):
    layout = flatten({"a": lux.bounded(0.5, 0.0, 1.0, unit="1"), "b": {"c": jnp.ones(3)}, "d": lux.fixed(2.0)}).layout
    assert again(layout) is layout


def test_a_layout_pickled_elsewhere_is_made_again():
    layout = lux.Layout.of({"only_here": jnp.ones((2, 5))})
    text, stored = str(layout), pickle.dumps(layout)
    del layout  # interned weakly: nothing holds it now
    assert str(pickle.loads(stored)) == text


def test_a_layout_is_immutable():
    layout = lux.Layout.of({"a": jnp.ones(3)})
    with pytest.raises(AttributeError, match="immutable"):
        layout.size = 4


def test_the_memory_map_shows_offsets_paths_shapes_maps_and_units():
    layout = flatten(
        {
            "rates": {"growth": lux.positive(0.5, unit="1/year"), "share": lux.bounded(0.1, 0.0, 1.0)},
            "weight": jnp.ones((2, 3)),
            "capacity": lux.fixed(2.0),
        }
    ).layout
    assert str(layout).splitlines() == [
        "Layout of 8 numbers, float64, 64 bytes, 4 entries",
        "offset  size  path          shape   map                            unit",
        "     0     1  rates.growth  ()      Positive()                     1/year",
        "     1     1  rates.share   ()      Bounded(lower=0.0, upper=1.0)",
        "     2     6  weight        (2, 3)",
        "     8     0  capacity      ()      Fixed",
    ]


def test_numbers_take_the_dtype_of_the_arrays_beside_them():
    flat = flatten({"a": 1.0, "b": jnp.ones(2, jnp.float32), "c": lux.positive(2.0)})
    assert flat.vector.dtype == jnp.float32
    assert flatten({"a": 1.0}).vector.dtype == jnp.float64
    assert flatten({"a": 1.0, "b": jnp.ones(2, jnp.float64)}, jnp.bfloat16).vector.dtype == jnp.bfloat16


def test_numpys_float64_is_what_jax_makes_of_it():
    with jax.enable_x64(False):
        assert flatten({"a": np.ones(2), "b": jnp.ones(2)}).vector.dtype == jnp.float32
