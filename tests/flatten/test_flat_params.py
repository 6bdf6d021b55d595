"""FlatParams: one leaf, one array, with names; the same numbers whatever transformation it goes through."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Counted, bits, random_bits

import sciml_lux as lux
from sciml_lux.flatten import flatten


def declared():
    """Every kind of entry: arrays, a scalar, an empty array, an empty subtree, constraints, a constant."""
    return {
        "encoder": {"weight": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "bias": jnp.zeros(3)},
        "nothing": {},
        "rate": lux.positive(0.5, unit="1/year"),
        "share": lux.bounded(np.array([0.2, 0.7]), 0.0, 1.0),
        "capacity": lux.fixed(2.0),
        "hole": jnp.zeros((0, 4)),
        "offset": 0.25,
    }


@pytest.fixture
def ps():
    return flatten(declared())


def score(params):
    """A scalar in which every parameter has its own share."""
    return (
        jnp.sum(jnp.sin(params["encoder.weight"]) * jnp.arange(6.0).reshape(2, 3))
        + jnp.sum(params["encoder.bias"] ** 2)
        + params["rate"] ** 2 * params["capacity"]
        + jnp.sum(params["share"] * jnp.array([1.0, 3.0]))
        + jnp.exp(params["offset"])
    )


def unit_vector(ps, path):
    entry = ps.layout[path]
    return np.arange(entry.offset, entry.offset + entry.size)


# A pytree of one leaf


def test_it_is_one_leaf_with_the_layout_as_structure(ps):
    leaves, structure = jax.tree.flatten(ps)
    assert len(leaves) == 1
    assert leaves[0] is ps.vector
    assert jax.tree.unflatten(structure, leaves).layout is ps.layout
    ((path, _),) = jax.tree_util.tree_leaves_with_path(ps)
    assert jax.tree_util.keystr(path) == ".vector"


def test_the_gradient_is_a_flat_params_of_the_same_layout(ps):
    gradient = jax.grad(score)(ps)
    assert isinstance(gradient, lux.FlatParams)
    assert gradient.layout is ps.layout
    assert gradient.vector.shape == ps.vector.shape


def test_the_gradient_through_the_vector_is_that_of_separate_arrays(ps):
    through_vector = jax.grad(score)(ps)
    separate = jax.grad(score)(ps.params)
    names = ["encoder.weight", "encoder.bias", "offset"]
    assert bits([through_vector[name] for name in names]) == bits([separate[name] for name in names])
    # Stored as its logarithm: d/du f(exp(u)) = f'(exp(u)) exp(u)
    rate = through_vector.vector[unit_vector(ps, "rate")]
    np.testing.assert_allclose(rate, [separate.rate * ps.rate], rtol=1e-14)
    share = through_vector.vector[unit_vector(ps, "share")]
    np.testing.assert_allclose(share, separate.share * ps.share * (1 - ps.share), rtol=1e-14)


def primitives(jaxpr) -> list[str]:
    found = []
    for equation in jaxpr.eqns:
        found.append(equation.primitive.name)
        for parameter in equation.params.values():
            if hasattr(parameter, "jaxpr"):
                found += primitives(parameter.jaxpr)
    return found


def test_the_gradient_of_an_unravel_is_one_concatenate_and_no_pad():
    ps = flatten({f"layer_{i}": {"weight": jnp.ones((3, 3)), "bias": jnp.ones(3)} for i in range(5)})

    def loss(vector):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(ps.layout.unravel(vector)))

    names = primitives(jax.make_jaxpr(jax.grad(loss))(ps.vector).jaxpr)
    assert names.count("split") == 2  # large segments apart, small ones in place
    assert names.count("concatenate") == 1
    assert not {"pad", "slice", "dynamic_slice", "scatter", "scatter-add", "gather"} & set(names)


# The same numbers under every transformation


def test_compiled_is_uncompiled(ps):
    np.testing.assert_allclose(jax.jit(score)(ps), score(ps), rtol=1e-14)


def test_mapped_is_looped(ps):
    vectors = ps.vector[None] + jnp.linspace(-0.5, 0.5, 4)[:, None]
    batch = ps.replace(vectors)
    mapped = jax.vmap(score)(batch)
    looped = [score(ps.replace(vector)) for vector in vectors]
    np.testing.assert_allclose(mapped, looped, rtol=1e-14)
    assert batch["encoder.weight"].shape == (4, 2, 3)
    np.testing.assert_array_equal(batch["capacity"], np.full(4, 2.0))


def test_mapping_twice_is_looping_twice(ps):
    vectors = ps.vector[None, None] + jnp.linspace(-0.5, 0.5, 6).reshape(2, 3, 1)
    mapped = jax.vmap(jax.vmap(score))(ps.replace(vectors))
    looped = [[score(ps.replace(vector)) for vector in row] for row in vectors]
    np.testing.assert_allclose(mapped, looped, rtol=1e-14)


def test_gradients_map_and_compile(ps):
    batch = ps.replace(jnp.stack([ps.vector, ps.vector + 0.1]))
    mapped = jax.jit(jax.vmap(jax.grad(score)))(batch)
    looped = jnp.stack([jax.grad(score)(ps.replace(vector)).vector for vector in batch.vector])
    np.testing.assert_allclose(mapped.vector, looped, rtol=1e-14)


def test_forward_mode_is_reverse_mode(ps):
    def of_vector(vector):
        return score(ps.replace(vector))

    np.testing.assert_allclose(jax.jacfwd(of_vector)(ps.vector), jax.jacrev(of_vector)(ps.vector), rtol=1e-13)


# Compilation


def test_equal_layouts_share_one_compilation():
    counted = Counted(score)
    compiled = jax.jit(counted)
    for shift in range(3):
        fresh = flatten(declared())
        compiled(fresh.replace(fresh.vector + shift))
    assert counted.traces == 1
    compiled(flatten({**declared(), "offset": lux.real(0.25, unit="m")}))
    assert counted.traces == 2


# Reading


def test_attributes_items_and_paths_read_the_same(ps):
    assert ps.encoder.weight is ps["encoder"]["weight"]
    assert ps.encoder.weight is ps["encoder.weight"]
    assert ps.params is ps.params
    assert list(ps) == ["encoder", "nothing", "rate", "share", "capacity", "hole", "offset"]
    assert len(ps) == 7
    assert "encoder.bias" in ps
    assert "encoder.bia" not in ps
    assert ps["hole"].shape == (0, 4)
    assert ps["nothing"] == lux.Params()


def test_constrained_values_read_back(ps):
    np.testing.assert_allclose(ps.rate, 0.5, rtol=1e-15)
    np.testing.assert_allclose(ps.share, [0.2, 0.7], rtol=1e-15)
    assert ps.capacity == 2.0
    assert ps.layout["rate"].unit == "1/year"
    assert ps.layout["capacity"].size == 0


# Changing


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("encoder.weight", np.full((2, 3), 7.0)),
        ("encoder", {"weight": np.full((2, 3), 7.0), "bias": np.ones(3)}),
        ("rate", 3.0),
        ("share", np.array([0.5, 0.25])),
        ("offset", -1.0),
        ("hole", np.zeros((0, 4))),
        ("nothing", {}),
    ],
)
def test_set_changes_what_is_named_and_no_other_bit(ps, path, value):
    start = random_bits(1, ps.vector.shape, np.float64).copy()
    start[::3] = -0.0  # which any arithmetic on the way would turn into 0
    before = ps.replace(start)
    after = before.set(path, value)
    touched = [entry for entry in ps.layout.entries if entry.path == path or entry.path.startswith(f"{path}.")]
    kept = np.ones(ps.layout.size, bool)
    for entry in touched:
        kept[entry.offset : entry.offset + entry.size] = False
    assert np.asarray(after.vector)[kept].tobytes() == np.asarray(before.vector)[kept].tobytes()
    jax.tree.map(
        lambda got, expected: np.testing.assert_allclose(got, expected, rtol=1e-15),
        after[path],
        lux.Params(value) if isinstance(value, dict) else value,
    )


def test_set_and_replace_leave_the_original_alone(ps):
    before = bits(ps)
    ps.set("rate", 2.0)
    ps.replace(ps.vector * 0)
    assert bits(ps) == before


def test_set_under_a_transformation(ps):
    def of_rate(rate):
        return score(ps.set("rate", rate))

    np.testing.assert_allclose(jax.jit(jax.grad(of_rate))(0.75), 2 * 0.75 * 2.0, rtol=1e-14)
    batch = jax.vmap(lambda rate: ps.set("rate", rate))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(batch.rate, [1.0, 2.0], rtol=1e-15)


def test_set_in_a_batch_of_vectors(ps):
    batch = ps.replace(jnp.stack([ps.vector] * 3)).set("share", np.full((3, 2), 0.5))
    np.testing.assert_allclose(batch.share, np.full((3, 2), 0.5), rtol=1e-15)
    with pytest.raises(lux.LuxError, match=r"share: got leading axes \(\), the vector has \(3,\)"):
        batch.set("share", np.full(2, 0.5))


@pytest.mark.parametrize("name", ["vector", "layout", "rate"])
def test_it_is_immutable(ps, name):
    with pytest.raises(AttributeError, match=r"ps\.set"):
        setattr(ps, name, 1.0)


# Copying and showing


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_copies_keep_every_bit(again, dtype):
    ps = flatten({"a": jnp.ones((2, 2), dtype), "b": lux.positive(3.0)}, dtype)
    ps = ps.replace(random_bits(0, ps.vector.shape, dtype))
    copied = again(ps)
    assert copied.layout is ps.layout
    assert bits(copied) == bits(ps)
    params = again(ps.params)
    assert type(params) is lux.Params
    assert bits(params) == bits(ps.params)


def test_the_table_shows_paths_shapes_values_and_units(ps):
    text = repr(ps)
    assert text.splitlines()[0] == "FlatParams: 13 numbers, float64"
    rows = {line.split()[0]: line for line in text.splitlines()[1:]}
    assert rows["rate"].endswith("0.5 1/year")
    assert "(2, 3)" in rows["encoder.weight"]
    assert "min -1, max 1" in rows["encoder.weight"]
    assert "(0, 4)" in rows["hole"]
    assert repr(ps.replace(jnp.stack([ps.vector] * 3))).splitlines()[0].endswith("batch (3,)")
    assert "and 20 more" in repr(flatten({f"p{i}": 1.0 for i in range(60)}))
    assert "Tracer" in jax.eval_shape(lambda flat: Shown(repr(flat)), ps).text


@jax.tree_util.register_static
class Shown:
    def __init__(self, text):
        self.text = text
