"""Containers and layers of shapes, against what they say they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, refused, setup
from members import array
from members.custom import CustomLayer

import sciml_lux as lux
from sciml_lux.flatten import transplant

pytestmark = pytest.mark.usefixtures("unchecked")


class Counter(lux.AbstractLayer):
    """Adds what it has counted, and counts."""

    def initial_states(self, key):
        return {"count": jnp.zeros((), jnp.int32)}

    def __call__(self, x, ps, st):
        return x + st.count.astype(x.dtype), st.set("count", st.count + 1)


def call(layer, x, ps=None):
    start, st = setup(layer)
    return layer(x, start if ps is None else ps, st)[0]


# Layers by position, name, path and slice


@pytest.fixture
def chain():
    return lux.Chain(lux.Dense(2, 3, jnp.tanh), lux.Dense(3, 3), head=lux.Chain(lux.Dense(3, 2), Counter()))


def test_a_chain_is_a_sequence_of_its_layers(chain):
    assert len(chain) == 3
    assert list(chain) == [chain[0], chain[1], chain[2]] == list(chain.children().values())
    assert chain[-1] is chain["head"] is chain[2]
    assert chain["head.layer_0"] == lux.Dense(3, 2)
    assert lux.Dense(3, 3) in chain
    assert len(lux.Chain()) == 0
    assert not list(lux.Chain())


def test_any_container_has_its_layers_by_path():
    model = lux.SkipConnection(lux.Repeated(lux.Dense(3, 3), 2))
    assert model["layer.layer"] == lux.Dense(3, 3)
    refused(lambda: model["layer.layr"], lux.PathError, "no layer 'layer.layr'", "layer.layer")
    refused(lambda: model["layer.layer.weight"], lux.PathError, "no layer")
    with pytest.raises(TypeError, match="not iterable"):
        list(model)


def test_layers_that_are_not_there(chain):
    refused(lambda: chain[3], lux.PathError, "Chain has 3 layers, none at 3")
    refused(lambda: chain["heat"], lux.PathError, "no layer 'heat'", "head")


def test_parts_of_a_chain_keep_names_and_work_on_the_whole(chain):
    ps, st = setup(chain)
    x = array(4, 2)
    assert list(chain[1:].children()) == ["layer_1", "head"]
    features, after = chain[:2](x, ps, st)
    assert list(after) == list(st)
    y, after = chain[2:](features, ps, after)
    expected, expected_st = chain(x, ps, st)
    np.testing.assert_array_equal(y, expected)
    assert after["head.layer_1.count"] == expected_st["head.layer_1.count"] == 1
    assert eval(repr(chain[1:2]), vars(lux)) == chain[1:2]
    assert len(chain[5:]) == 0
    assert list(chain[::-1].children()) == ["head", "layer_1", "layer_0"]


def test_a_part_of_a_chain_has_a_vector_of_its_own_if_it_is_set_up(chain):
    ps, _ = setup(chain)
    own, own_st = setup(chain[1:2])
    own, report = transplant(ps, own)
    assert own.layout.size == 12
    assert not report.new
    np.testing.assert_array_equal(own["layer_1.weight"], ps["layer_1.weight"])
    assert call(chain[1:2], array(3), own).shape == (3,)
    assert len(own_st) == 1


def test_chains_are_spliced_by_iterating_or_by_name(chain):
    numbered = lux.Chain(*chain, lux.Scale(2))
    assert list(numbered.children()) == ["layer_0", "layer_1", "layer_2", "layer_3"]
    named = lux.Chain(**chain.children(), scale=lux.Scale(2))
    assert list(named.children()) == ["layer_0", "layer_1", "head", "scale"]
    assert named[:3] == chain


def test_a_part_of_a_chain_that_does_more_is_a_chain():
    class Residual(lux.Chain):
        def __call__(self, x, ps, st):
            y, st = super().__call__(x, ps, st)
            return x + y, st

    assert type(Residual(jnp.tanh, jnp.sin)[:1]) is lux.Chain
    assert type(Residual(jnp.tanh).with_children({"a": lux.NoOp()})) is Residual


# Layers side by side


def test_parallel_layers_have_each_their_own_input():
    layer = lux.Parallel(lambda x: x + 1, double=lambda x: 2 * x)
    assert call(layer, (1.0, 3.0)) == (2.0, 6.0)
    assert call(layer, [1.0, 3.0]) == (2.0, 6.0)
    assert call(layer, 5.0) == (6.0, 10.0)
    assert call(lux.Parallel(*layer, combine=lambda a, b: a - b), (1.0, 3.0)) == -4.0
    assert call(lux.Parallel(), ()) == ()
    refused(lambda: call(layer, (1.0,)), lux.ShapeError, "Parallel has 2 layers, got a tuple of 1", "Branch")


def test_branches_have_the_same_input():
    layer = lux.Branch(lambda x: x[0], b=lambda x: x[1])
    assert call(layer, (1.0, 3.0)) == (1.0, 3.0)
    assert list(layer[1:].children()) == ["b"]


def test_options_stay_with_a_part():
    layer = lux.Parallel(lux.Dense(2, 2), lux.Dense(2, 2), lux.Dense(2, 2), combine=jnp.maximum)
    assert layer[1:].combine is jnp.maximum
    assert layer[1:] != lux.Parallel(lux.Dense(2, 2), lux.Dense(2, 2), combine=jnp.maximum)  # other names


def test_pairwise_fusion_is_its_recurrence():
    a, b, c = 2.0, 3.0, 5.0
    layer = lux.PairwiseFusion(lambda x: 10 * x, lambda x: x + 1, combine=lambda x, y: x * y)
    assert call(layer, (a, b, c)) == c * (b * (10 * a) + 1)
    assert call(layer, a) == a * (a * (10 * a) + 1)
    refused(lambda: call(layer, (a, b)), lux.ShapeError, "takes 3 inputs, got 2")


def test_a_skip_connection_goes_around():
    np.testing.assert_array_equal(call(lux.SkipConnection(jnp.sin), array(3)), np.sin(array(3)) + array(3))
    assert call(lux.SkipConnection(lambda x: 10 * x, lambda y, x: y - x), 2.0) == 18.0


def test_side_by_side_the_state_of_each_goes_on():
    model = lux.Parallel(Counter(), lux.SkipConnection(lux.Branch(Counter()), lambda y, x: y[0]))
    ps, st = setup(model)
    for _ in range(2):
        _, st = model(jnp.zeros(()), ps, st)
    assert (st["layer_0.count"], st["layer_1.layer.layer_0.count"]) == (2, 2)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.Parallel(lux.Dense), ["Parallel: layer_0 is the class Dense"]),
        (lambda: lux.Branch(a=3), ["Branch: a is neither a layer nor a function"]),
        (lambda: lux.Parallel(lux.NoOp(), combine="add"), ["Parallel: combine is a function", "jnp.add"]),
        (lambda: lux.PairwiseFusion(lux.NoOp(), combine=None), ["PairwiseFusion: combine is a function"]),
        (lambda: lux.SkipConnection(lux.NoOp(), lux.NoOp()), ["SkipConnection: combine is a function"]),
        (lambda: lux.SkipConnection(3), ["SkipConnection: layer is neither"]),
        (lambda: lux.Repeated(jnp.tanh, 2), ["Repeated: layer is a layer"]),
        (lambda: lux.Repeated(lux.NoOp(), 0), ["number is a whole number, 1 or more, got 0"]),
        (lambda: lux.Repeated(lux.NoOp(), 2.0), ["number is a whole number"]),
        (lambda: lux.Repeated(lux.NoOp(), 2, tied=1), ["tied is True or False, got 1"]),
        (lambda: lux.Repeated(lux.NoOp(), 2, injection="yes"), ["injection is True or False"]),
        (lambda: lux.Scan(jnp.tanh), ["Scan: layer is a layer"]),
        (lambda: lux.Scan(lux.NoOp(), axis="time"), ["axis is a whole number, got 'time'"]),
        (lambda: lux.ReverseSequence(axis=1.0), ["axis is a whole number, got 1.0"]),
        (lambda: lux.Reshape(3), ["shape is a tuple of sizes"]),
        (lambda: lux.Reshape((-1, -1)), ["of which one may be -1"]),
        (lambda: lux.Reshape((2, -2)), ["shape is a tuple of sizes"]),
        (lambda: lux.Reshape((2, 2.0)), ["shape is a tuple of sizes"]),
        (lambda: lux.Reshape((2,), axes=0), ["axes is a whole number, 1 or more, got 0"]),
        (lambda: lux.Flatten(-1), ["axes is a whole number, 1 or more, got -1"]),
        (lambda: lux.SelectDim(0, "x"), ["index is a whole number"]),
        (lambda: lux.AlternatePrecision(jnp.tanh, jnp.float32), ["layer is a layer"]),
        (lambda: lux.AlternatePrecision(lux.NoOp(), jnp.int32), ["a floating one", "int32"]),
        (lambda: lux.AlternatePrecision(lux.NoOp(), "half precision"), ["one such as jnp.bfloat16"]),
    ],
)
def test_what_cannot_be_built_says_why(make, parts):
    refused(make, lux.LayerError, *parts)


# One layer many times


def unrolled(layer, number, x, ps, st, injection):
    z = x
    for _ in range(number):
        z, st = layer((z, x) if injection else z, ps, st)
    return z, st


class Cell(lux.AbstractLayer):
    """A layer with state on `(z, x)` or on `z` alone."""

    def initial_parameters(self, key):
        return {"rate": jax.random.uniform(key, (3,))}

    def initial_states(self, key):
        return {"calls": jnp.zeros((), jnp.int32), "key": key}

    def __call__(self, x, ps, st):
        z, x = x if isinstance(x, tuple) else (x, jnp.ones_like(x))
        now, later = jax.random.split(st.key)
        noise = jax.random.normal(now, z.shape, z.dtype)
        return jnp.tanh(jnp.broadcast_to(ps.rate, z.shape) * z + 0.1 * x + noise), {"calls": st.calls + 1, "key": later}


@pytest.mark.parametrize("injection", [False, True])
def test_tied_repetition_is_iteration_with_the_state_threaded(injection):
    layer = lux.Repeated(Cell(), 5, tied=True, injection=injection)
    ps, st = setup(layer)
    assert ps.layout.size == 3
    x = array(2, 3)
    y, after = layer(x, ps, st)
    expected, expected_st = unrolled(Cell(), 5, x, ps.params.layer, st.layer, injection)
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    assert after.layer.calls == 5
    assert after.layer.key == expected_st.key

    def loss(ps, run):
        return jnp.sum(run(ps) ** 2)

    got = jax.grad(loss)(ps, lambda ps: layer(x, ps, st)[0]).vector
    wanted = jax.grad(loss)(ps, lambda ps: unrolled(Cell(), 5, x, ps.params.layer, st.layer, injection)[0]).vector
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_untied_repetition_with_injection_is_a_loop_over_its_layers():
    layer = lux.Repeated(Cell(), 3, injection=True)
    ps, st = setup(layer)
    assert ps.layout.size == 9
    x = z = array(2, 3)
    for i in range(3):
        own, state = jax.tree.map(lambda leaf, i=i: leaf[i], (ps.params.layer, st.layer))
        z, _ = Cell()((z, x), own, state)
    y, after = layer(x, ps, st)
    np.testing.assert_allclose(y, z, rtol=1e-13)
    np.testing.assert_array_equal(after.layer.calls, [1, 1, 1])


def test_what_tied_repetition_compiles_to_does_not_grow_with_its_number():
    def operations(number):
        layer = lux.Repeated(lux.Dense(3, 3, jnp.tanh), number, tied=True)
        ps, st = setup(layer)
        program = jax.jit(jax.grad(lambda ps: jnp.sum(layer(jnp.ones(3), ps, st)[0]))).lower(ps).as_text()
        return program.count("stablehlo.")

    assert operations(3) == operations(60)


@pytest.mark.parametrize("tied", [False, True])
def test_what_is_repeated_keeps_shape_and_dtype(tied):
    layer = lux.Repeated(lux.Dense(3, 2), 2, tied=tied)
    refused(lambda: call(layer, jnp.ones(3)), lux.ShapeError, "must keep both", "(2,)", "(3,)")
    half = lux.Repeated(lux.WrappedFunction(lambda x: x.astype(jnp.float32)), 2, tied=tied)
    refused(lambda: call(half, jnp.ones(3)), lux.ShapeError, "must keep both", "float32", "float64")


# Along time


@pytest.mark.parametrize(("axis", "shape"), [(-2, (2, 4, 3)), (0, (4, 2, 3)), (1, (2, 4, 3)), (-2, (4, 3))])
def test_scan_is_a_loop_over_time_with_the_state_threaded(axis, shape):
    layer = lux.Scan(CustomLayer(3), axis=axis)
    ps, st = setup(layer)
    x = array(*shape)
    y, after = layer(x, ps, st)
    state, steps = st.layer, []
    for step in np.moveaxis(np.asarray(x), axis, 0):
        value, state = CustomLayer(3)(jnp.asarray(step), ps.layer, state)
        steps.append(value)
    np.testing.assert_allclose(y, np.stack(steps, axis), rtol=1e-13)
    assert after.layer.calls == 4
    assert after.layer.key == state.key


def test_scan_takes_trees_and_no_steps_at_all():
    layer = lux.Scan(lux.Parallel(lux.Dense(3, 2), lux.NoOp()))
    y, z = call(layer, (array(5, 3), array(5, 1)))
    assert y.shape == (5, 2)
    np.testing.assert_array_equal(z, array(5, 1))
    assert call(lux.Scan(lux.Dense(3, 2)), jnp.zeros((0, 3))).shape == (0, 2)
    refused(lambda: call(layer, (array(5, 3), array(4, 1))), lux.ShapeError, "lengths [4, 5]")
    refused(lambda: call(lux.Scan(lux.NoOp()), array(3)), lux.ShapeError, "axis -2", "(3,)")
    reduced = lux.Scan(lux.WrappedFunction(jnp.sum))
    refused(lambda: call(reduced, array(4, 3)), lux.ShapeError, "axis -2", "(4,)")


def test_a_sequence_is_reversed_before_its_padding():
    x, lengths = array(3, 4, 2), [4, 2, 0]
    np.testing.assert_array_equal(call(lux.ReverseSequence(), x), np.asarray(x)[:, ::-1])
    mask = jnp.arange(4)[None, :] < jnp.array(lengths)[:, None]
    y, same = call(lux.ReverseSequence(), (x, mask))
    assert same is mask
    for row, given, length in zip(np.asarray(y), np.asarray(x), lengths, strict=True):
        np.testing.assert_array_equal(row[:length], given[:length][::-1])
        np.testing.assert_array_equal(row[length:], given[length:])
    again, _ = call(lux.ReverseSequence(), (y, mask))
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize("mask", [jnp.ones((3, 3), bool), jnp.ones(4, bool), jnp.ones(()) > 0, jnp.ones((3, 4))])
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    refused(lambda: call(lux.ReverseSequence(), (array(3, 4, 2), mask)), lux.ShapeError, "mask", "ReverseSequence")


# Shapes


@pytest.mark.parametrize("leading", [(), (5,), (0,), (2, 5)])
def test_shapes_change_behind_the_batch(leading):
    x = array(*leading, 2, 6)
    numbers = np.asarray(x)
    np.testing.assert_array_equal(call(lux.Flatten(2), x), numbers.reshape(*leading, 12))
    np.testing.assert_array_equal(call(lux.Flatten(1), x), numbers)
    np.testing.assert_array_equal(call(lux.Reshape((3, 4), axes=2), x), numbers.reshape(*leading, 3, 4))
    np.testing.assert_array_equal(call(lux.Reshape((3, 2)), x), numbers.reshape(*leading, 2, 3, 2))
    np.testing.assert_array_equal(call(lux.Reshape((-1, 2, 3), axes=2), x), numbers.reshape(*leading, 2, 2, 3))
    np.testing.assert_array_equal(call(lux.SelectDim(-2, 1), x), numbers[..., 1, :])
    np.testing.assert_array_equal(call(lux.SelectDim(-1, -1), x), numbers[..., -1])


def test_shapes_of_nothing():
    assert call(lux.Flatten(2), jnp.zeros((4, 0, 3))).shape == (4, 0)
    assert call(lux.Reshape(()), jnp.zeros((4, 1))).shape == (4,)
    assert call(lux.Reshape((0, 7)), jnp.zeros((4, 0))).shape == (4, 0, 7)


@pytest.mark.parametrize(
    ("layer", "shape", "parts"),
    [
        (lux.Flatten(3), (2, 3), ["the last 3 axes", "(2, 3)"]),
        (lux.Reshape((2, 2)), (5, 6), ["6 elements", "(5, 6)"]),
        (lux.Reshape((-1, 4)), (6,), ["6 elements"]),
        (lux.Reshape((-1, 0)), (0,), ["0 elements"]),
        (lux.SelectDim(2, 0), (3, 3), ["axis 2", "(3, 3)"]),
        (lux.SelectDim(-1, 3), (2, 3), ["no index 3", "(2, 3)"]),
        (lux.SelectDim(0, -3), (2, 3), ["no index -3"]),
        (lux.ReverseSequence(), (3,), ["axis -2", "(3,)"]),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_the_path(layer, shape, parts):
    model = lux.Chain(shaped=layer)
    refused(lambda: call(model, jnp.zeros(shape)), lux.ShapeError, "in layer shaped", *parts)


# Precision


def test_another_precision_inside_and_the_old_one_outside():
    seen = []

    def look(x):
        seen.append(x.dtype)
        return x

    inner = lux.Chain(look, lux.Dense(3, 2, use_bias=False))
    layer = lux.AlternatePrecision(inner, jnp.float32)
    ps, st = setup(layer)
    x = array(4, 3)
    y, _ = layer(x, ps, st)
    assert seen[-1] == jnp.float32
    assert y.dtype == ps.vector.dtype == jnp.float64
    expected = np.asarray(x, np.float32) @ np.asarray(ps["layer.layer_1.weight"], np.float32)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert np.max(np.abs(y - x @ ps["layer.layer_1.weight"])) > 1e-10
    assert jax.grad(lambda ps: jnp.sum(layer(x, ps, st)[0]))(ps).vector.dtype == jnp.float64
    assert lux.AlternatePrecision(inner, "float32") == lux.AlternatePrecision(inner, np.float32) == layer


def test_precision_leaves_alone_what_is_no_floating_number():
    layer = lux.AlternatePrecision(lux.WrappedFunction(lambda x: (x["i"], x["x"].astype(float))), jnp.bfloat16)
    i, x = call(layer, {"i": jnp.arange(3), "x": jnp.ones(2)})
    assert (i.dtype, x.dtype) == (jnp.arange(3).dtype, jnp.float64)
    whole = lux.AlternatePrecision(lux.WrappedFunction(lambda i: i.astype(jnp.bfloat16)), jnp.bfloat16)
    assert call(whole, jnp.arange(3)).dtype == jnp.bfloat16


def test_a_precision_that_is_switched_off_is_refused():
    layer = lux.AlternatePrecision(lux.Dense(2, 2), jnp.float64)
    with jax.enable_x64(False):
        ps, st = setup(layer)
        refused(lambda: layer(jnp.ones(2), ps, st), lux.LayerError, "jax_enable_x64")


def test_frozen_parameters_compute_in_the_dtype_of_the_input():
    model = lux.Chain(lux.Frozen(lux.Dense(2, 3)), lux.Dense(3, 1))
    ps, st = lux.setup(jax.random.key(0), model, jnp.float32)
    y, after = model(jnp.ones(2, jnp.float32), ps, st)
    assert y.dtype == jnp.float32
    assert bits(after) == bits(st)


# Layers that nobody would train


def test_layers_in_a_tuple_are_refused():
    class Blocks(lux.AbstractContainer):
        blocks: tuple

    class Plain(lux.AbstractLayer):
        blocks: tuple

        def initial_parameters(self, key):
            return {}

    for kind in (Blocks, Plain):
        assert kind((1, ("a", None))).blocks
        for blocks in ((lux.NoOp(),), (1, ("a", lux.NoOp()))):
            refused(
                lambda kind=kind, blocks=blocks: kind(blocks),
                lux.LayerError,
                f"{kind.__name__}.blocks is a tuple with layers in it",
                "lux.Chain(*layers)",
                "children()",
            )


def test_layers_in_a_tuple_are_children_where_children_says_so():
    class Named(lux.AbstractContainer):
        blocks: tuple

        def children(self):
            return {f"block_{i}": block for i, block in enumerate(self.blocks)}

        def __call__(self, x, ps, st):
            return x, st

    assert lux.parameter_length(Named((lux.Dense(2, 2), lux.Scale(2)))) == 10


def test_a_container_is_rebuilt_with_other_layers():
    skip = lux.SkipConnection(lux.Dense(2, 2), jnp.multiply)
    assert skip.with_children({"layer": lux.NoOp()}) == lux.SkipConnection(lux.NoOp(), jnp.multiply)
    refused(lambda: skip.with_children({}), lux.LayerError, "made of ['layer']", "lux.Chain")
    refused(lambda: skip.with_children({"layer": 3}), lux.LayerError, "SkipConnection: layer is neither")

    class Made(lux.AbstractContainer):
        number: int

        def children(self):
            return {"inner": lux.Dense(self.number, self.number)}

    refused(lambda: Made(2).with_children({"inner": lux.NoOp()}), lux.LayerError, "makes its layers itself")
