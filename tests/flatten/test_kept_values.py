"""A value that cannot be kept is an error: over every map, every way into a vector, ties, dtypes, indices, and keys of caches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from hypothesis import given, settings
from hypothesis import strategies as st
from members import RAVEL_MAPS

import sciml_lux as lux
from sciml_lux import IndexRangeError, LayoutError, ParameterError, PathError
from sciml_lux.flatten import (
    AbstractRavelMap,
    Fixed,
    as_array,
    combine,
    compute_dtype,
    exact,
    flatten,
    leaf_paths,
    partition,
    pick,
    stack,
    tie,
    transplant,
)

# Every way from a value to parameters that hold it under "x".
WAYS_IN = {
    "set": lambda ps, value: ps.set("x", value),
    "ravel": lambda ps, value: ps.replace(ps.layout.ravel({"x": value})),
    "flatten": lambda ps, value: flatten({"x": lux.Parameter(value, ps.layout["x"].ravel_map)}),
}
MAPS = [member for member in RAVEL_MAPS if isinstance(member.spec, lux.flatten.ArraySpec) and member.spec.size]


def candidates(value):
    """Values of the same shape, most of which a constraint excludes."""
    value = np.asarray(value)
    noise = np.sin(np.arange(1.0, 1.0 + value.size)).reshape(value.shape)
    yield from (value, 2 * value, -value, value + 0.3 * noise, value + 1)


@pytest.mark.parametrize("way", ["set", *(pytest.param(way, marks=pytest.mark.slow) for way in ("ravel", "flatten"))])
@pytest.mark.parametrize("member", MAPS, ids=lambda member: member.name)
def test_every_map_keeps_a_value_or_refuses_it(member, way):
    ps = flatten({"x": lux.Parameter(member.value, member.ravel_map)})
    kept = 0
    for value in candidates(member.value):
        try:
            held = WAYS_IN[way](ps, value)["x"]
        except LayoutError:
            continue
        kept += 1
        np.testing.assert_allclose(held, value, rtol=1e-10, atol=1e-10)
    assert kept > 0


@pytest.mark.slow
@pytest.mark.parametrize("member", MAPS, ids=lambda member: member.name)
def test_every_map_keeps_a_traced_value_or_shows_nan(member):
    ps = flatten({"x": lux.Parameter(member.value, member.ravel_map), "y": 1.0})
    hold = jax.jit(lambda value: ps.replace(ps.layout.ravel({"x": value, "y": jnp.ones(())})).params)
    for value in candidates(member.value):
        held = hold(value)
        if np.all(np.isfinite(held["y"])) and np.all(np.isfinite(held["x"])):
            np.testing.assert_allclose(held["x"], value, rtol=1e-10, atol=1e-10)


def test_traced_values_that_would_be_lost_are_nan_where_they_would():
    ps = tie(
        flatten({"a": jnp.ones(2), "b": jnp.ones(2), "s": lux.flatten.symmetric(jnp.eye(2)), "c": lux.fixed(2.0)}),
        ["a", "b"],
    )

    @jax.jit
    @jax.vmap
    def hold(b, s, c):
        return ps.layout.ravel({"a": jnp.ones(2), "b": b, "s": s, "c": c})

    ones, eye = jnp.ones((5, 2)), jnp.broadcast_to(jnp.eye(2), (5, 2, 2))
    b, s, c = ones.at[1, 0].set(3.0), eye.at[2, 0, 1].set(1.0), jnp.full(5, 2.0).at[3].set(2.5)
    vectors = np.asarray(hold(b, s, c))
    np.testing.assert_array_equal(vectors[[0, 4]], np.tile(ps.vector, (2, 1)))
    assert np.isnan(vectors[[1, 3]]).all()
    np.testing.assert_array_equal(np.isnan(vectors[2]), [False, False, True, True, True])


# Ties and constants, at every path of random trees


LEAF = st.sampled_from(["free", "tied", "fixed"])
TREES = st.lists(st.lists(LEAF, min_size=1, max_size=3), min_size=1, max_size=3)


@pytest.mark.slow
@given(TREES, st.integers(0, 2**16))
@settings(max_examples=25)
def test_after_set_a_path_holds_what_was_set_or_it_was_refused(kinds, seed):
    random = np.random.default_rng(seed)
    tree = {
        f"part_{i}": {
            f"p_{j}": lux.fixed((1.0, 2.0)) if k == "fixed" else random.normal(size=2) for j, k in enumerate(ks)
        }
        for i, ks in enumerate(kinds)
    }
    ps = flatten({"source": random.normal(size=2), **tree})
    tied = [f"part_{i}.p_{j}" for i, ks in enumerate(kinds) for j, k in enumerate(ks) if k == "tied"]
    ps = tie(ps, ["source", *tied]) if tied else ps
    paths = list(leaf_paths(ps.params))
    for path in [*paths, *(f"part_{i}" for i in range(len(kinds)))]:
        held = ps[path]
        for change in (0.0, 1.0):
            value = jax.tree.map(lambda leaf, change=change: np.asarray(leaf) + change, held)
            try:
                new = ps.set(path, value)
            except LayoutError:
                continue
            jax.tree.map(np.testing.assert_array_equal, new[path], value)
    values = {path: np.asarray(ps[path]) + (path == paths[-1]) for path in paths}
    try:
        vector = ps.layout.ravel(_nested(values))
    except LayoutError:
        return
    for path, value in values.items():
        np.testing.assert_array_equal(ps.replace(vector)[path], value)


def _nested(values):
    tree = {}
    for path, value in values.items():
        *above, last = path.split(".")
        node = tree
        for name in above:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def test_a_conflict_says_what_is_tied_to_what():
    ps = tie(flatten({"a": {"w": jnp.ones(2)}, "b": {"w": jnp.zeros(2)}, "c": lux.fixed(0.0)}), ["a.w", "b.w"])
    refused(lambda: ps.set("b", {"w": jnp.full(2, 5.0)}), LayoutError, "b.w is tied to a.w", "set a.w alone")
    refused(
        lambda: ps.layout.ravel({**ps.params, "b": {"w": jnp.zeros(2)}}), LayoutError, "b.w is tied to a.w", "got Array"
    )
    refused(lambda: ps.layout.ravel({**ps.params, "c": jnp.ones(())}), LayoutError, "fixed at 0.0")
    refused(lambda: ps.set("c", -0.0), LayoutError, "c is stored as Fixed", "-0.0")
    refused(lambda: jax.jit(lambda c: ps.set("b.w", c))(jnp.ones(2)), LayoutError, "b.w is tied to a.w; set that")
    np.testing.assert_array_equal(ps.set("a.w", jnp.full(2, 5.0))["b.w"], [5.0, 5.0])
    np.testing.assert_array_equal(jax.jit(lambda ps: ps.layout.ravel(ps.params))(ps), ps.vector)


@dataclasses.dataclass(frozen=True)
class First(AbstractRavelMap):
    """A map that keeps one of two numbers, and does not say so."""

    def size(self, spec):
        return 1

    def ravel(self, value, spec):
        return value[:1]

    def unravel(self, segment, spec):
        return jnp.concatenate([segment, jnp.zeros(1, segment.dtype)])


def test_a_map_that_does_not_say_what_it_keeps_is_tried():
    ps = flatten({"x": lux.Parameter(jnp.asarray([1.0, 0.0]), First())})
    assert ps.set("x", jnp.asarray([2.0, 0.0])).vector == 2.0
    for way in ("set", "ravel"):
        refused(
            lambda way=way: WAYS_IN[way](ps, jnp.asarray([1.0, 3.0])), LayoutError, "x: got Array([1., 3.]", "First()"
        )


# Numbers beyond the range of a dtype


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1e300, jnp.float32),
        (np.asarray([1.0, -1e39]), jnp.float32),
        (np.float32(1e5), jnp.float16),
        (1e300 + 1j, jnp.complex64),
        (np.asarray([2**40]), jnp.int32),
        (np.uint64(2**63), jnp.int32),
        (np.asarray(-1), jnp.uint32),
        (np.asarray([1 + 1j]), jnp.float64),
    ],
)
def test_a_number_that_a_dtype_does_not_hold(value, dtype):
    refused(lambda: as_array(value, dtype, "x"), LayoutError, "x: got", np.dtype(dtype).name)


def test_without_x64_numpys_numbers_are_held_or_refused():
    with jax.enable_x64(False):
        for value in (np.asarray([2**40]), np.asarray([2**32]), np.asarray([1e300])):
            refused(lambda value=value: as_array(value, what="times"), LayoutError, "times: got", "jax_enable_x64")
        for value in (np.asarray([2**31 - 1, -(2**31)]), np.asarray([np.inf, np.nan, 0.1, 1e-300]), True, 3):
            np.testing.assert_array_equal(as_array(value), jnp.asarray(value))
        refused(lambda: flatten({"a": np.asarray(1e300)}), LayoutError, "a: got 1e+300 of float64")


def test_every_way_in_refuses_what_the_dtype_does_not_hold(path):
    ps = flatten({"a": jnp.ones(2), "b": 1.0}, jnp.float32)
    large = np.asarray([1.0, 1e300])
    refused(lambda: flatten({"a": large}, jnp.float32), LayoutError, "a: got 1e+300")
    refused(lambda: flatten({"a": lux.positive(1e-60)}, jnp.float32), LayoutError, "a: ")
    refused(lambda: setup(lux.ParameterDict(a=lux.real(1e300)), dtype=jnp.float32), LayoutError, "a: got 1e+300")
    refused(lambda: ps.set("a", large), LayoutError, "a: got 1e+300 of float64, which no float32 holds")
    refused(lambda: ps.layout.ravel({"a": large, "b": 1.0}), LayoutError, "a: got 1e+300")
    wide = flatten({"a": large, "b": 1.0})
    lux.save(path, wide)
    refused(lambda: lux.load(path, jnp.float32), LayoutError, "the vector: got 1e+300")
    refused(lambda: transplant(wide, ps), LayoutError, "a: got 1e+300")
    refused(lambda: compute_dtype(wide, {"a": jnp.float32}), LayoutError, "a: got 1e+300")
    for large in (lux.positive(1e300), lux.fixed(1e300)):
        wide, narrow = flatten({"a": large}), flatten({"a": lux.positive(1.0)}, jnp.float32)
        lux.save(path, wide)
        with np.errstate(over="ignore"):
            refused(lambda: lux.load(path, jnp.float32), LayoutError, "a has a value beyond the range of float32")
        if wide.layout.size:
            refused(
                lambda wide=wide, narrow=narrow: transplant(wide, narrow), LayoutError, "beyond the range of float32"
            )
    tensors = {"weight": np.asarray([[1e300]]), "bias": np.zeros(1)}
    refused(lambda: lux.tools.from_torch(tensors, lux.Dense(1, 1), jnp.float32), LayoutError, "from_torch: got 1e+300")
    refused(lambda: lux.flatten.per_group(ps, {"*": 1e300}), LayoutError, "*: got 1e+300")
    np.testing.assert_array_equal(ps.set("a", np.asarray([np.inf, 0.1]))["a"], np.asarray([np.inf, 0.1], np.float32))


@pytest.mark.parametrize("value", [None, [1.0, 2.0], (1.0, 2.0), "text", np.asarray([1j, 2.0]), {"b": jnp.ones(2)}])
def test_what_is_no_array_of_real_numbers_is_refused(value):
    ps = flatten({"a": jnp.ones(2)})
    refused(lambda: ps.set("a", value), LayoutError, "a: got")
    if isinstance(value, list):
        np.testing.assert_array_equal(ps.set("a", jnp.asarray(value))["a"], value)
    if not isinstance(value, dict):
        refused(lambda: ps.layout.ravel({"a": value}), LayoutError, "a: got")


def test_declarations_of_lists_and_of_nothing():
    for value, advice in (
        ([1, 2], "Write jnp.asarray(value, float)"),
        ((1.0,), "jnp.asarray"),
        (None, "Leave the name out"),
    ):
        refused(lambda value=value: flatten({"a": {"b": value}}), ParameterError, "parameter a.b: got", advice)
    np.testing.assert_array_equal(flatten({"a": jnp.asarray([1, 2], float)}).vector, [1.0, 2.0])


# Indices


def test_static_indices_are_those_of_numpy():
    batch = stack([flatten({"a": float(i)}) for i in range(3)])
    numbers = np.arange(3.0)
    for index in (
        0,
        -1,
        -3,
        [0, 2],
        np.asarray([2, -3]),
        jnp.asarray([1]),
        numbers > 0,
        slice(1, 9),
        (1,),
        ...,
        np.int8(2),
    ):
        np.testing.assert_array_equal(
            pick(batch, index)["a"], numbers[np.asarray(index) if hasattr(index, "dtype") else index]
        )
    for index in (3, 10, -4, [0, 3], np.asarray([-4]), jnp.asarray([[7]]), np.ones(4, bool), (0, 0), "a"):
        refused(lambda index=index: pick(batch, index), IndexRangeError, "pick", "(3,)")
    assert jax.jit(lambda i: pick(batch, i)["a"])(2) == 2.0


def test_only_equal_batches_stack():
    ps = flatten({"a": 1.0})
    refused(lambda: stack([ps, stack([ps, ps])]), LayoutError, "the same leading axes, got [(), (2,)]")
    with pytest.raises(LayoutError, match=r"write stack\(\[ps_1, ps_2\]\)"):
        stack.__wrapped__(ps) if hasattr(stack, "__wrapped__") else stack(ps)


# Keys compare bits


LOOK_ALIKES = [
    (0.0, -0.0),
    (1, 1.0),
    (1, True),
    (0.0, False),
    ((0.0, 1.0), (-0.0, 1.0)),
    (np.float32(0), np.float32(-0.0)),
]


class Divides(lux.AbstractLayer):
    """Divides by what it was built with."""

    by: object

    def __call__(self, x, ps, st):
        return jax.tree.map(lambda by: x / by, self.by), st


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("one", "other"), LOOK_ALIKES)
@pytest.mark.parametrize("make", [Divides, Fixed, lambda value: Divides(Fixed(value)), lambda value: Divides((value,))])
def test_what_python_calls_equal_is_not_the_same(make, one, other):
    assert make(one) == make(one)
    assert hash(make(one)) == hash(make(one))
    assert make(one) != make(other)
    assert exact(make(one)) != exact(make(other))


def test_nothing_made_for_zero_is_used_for_minus_zero():
    plus, minus = flatten({"c": lux.fixed(0.0)}), flatten({"c": lux.fixed(-0.0)})
    assert plus.layout is not minus.layout
    assert plus.layout is flatten({"c": lux.fixed(0.0)}).layout
    assert (1 / plus["c"], 1 / minus["c"]) == (np.inf, -np.inf)
    divide = jax.jit(lambda layer: layer(jnp.ones(()), lux.Params(), lux.State())[0])
    assert (divide(Divides(0.0)), divide(Divides(-0.0))) == (np.inf, -np.inf)
    divide = jax.jit(lambda parameter: 1 / parameter.ravel_map.value + parameter.value if parameter else 0)
    structures = [jax.tree.structure(lux.fixed(value)) for value in (0.0, -0.0)]
    assert structures[0] != structures[1]
    models = [lux.ParameterDict(c=lux.fixed(value)) for value in (0.0, -0.0)]
    assert models[0] != models[1]
    assert lux.layout_of(models[0]) is not lux.layout_of(models[1])


def test_a_nan_is_equal_to_one_of_its_bits():
    nan, other = np.frombuffer(np.asarray([0x7FF8000000000000, 0x7FF8000000000001], np.uint64).tobytes())
    assert Divides(float("nan")) == Divides(float("nan"))
    assert exact(float(nan)) != exact(float(other))


# Parts keep their whole


def test_a_part_that_computes_in_another_dtype_is_still_a_part():
    ps = flatten({"a": {"w": jnp.ones(2), "v": jnp.ones(2)}, "b": jnp.zeros(3)}, jnp.float32)
    theta, frozen = partition(ps, "a")
    whole = combine(compute_dtype(theta, {"a.w": jnp.bfloat16}), frozen)
    assert whole["a.w"].dtype == jnp.bfloat16
    assert whole["a.v"].dtype == jnp.float32
    assert whole.layout is compute_dtype(ps, {"a.w": jnp.bfloat16}).layout
    tied = combine(tie(theta, ["a.w", "a.v"]), frozen)
    assert tied.layout is tie(ps, ["a.w", "a.v"]).layout
    np.testing.assert_array_equal(tied.vector, [1, 1, 0, 0, 0])
    assert combine(theta, frozen).layout is ps.layout


def test_functions_of_a_layout_say_what_they_take():
    with pytest.raises(PathError, match="no entry"):
        lux.flatten.select(flatten({"a": 1.0}), "b")
    with pytest.raises(ParameterError, match="which holds its arrays by name"):
        flatten({"a": flatten({"b": 1.0})})
    assert list(flatten({"a": flatten({"b": 1.0}).params})) == ["a"]
