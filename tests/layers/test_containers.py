"""Containers of layers in a row and side by side, against what they say they compute."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import call, refused, setup
from members import array

import sciml_lux as lux
from sciml_lux.flatten import transplant

pytestmark = pytest.mark.usefixtures("unchecked")


class Counter(lux.AbstractLayer):
    """Adds what it has counted, and counts."""

    def initial_states(self, key):
        return {"count": jnp.zeros((), jnp.int32)}

    def __call__(self, x, ps, st):
        return x + st.count.astype(x.dtype), st.set("count", st.count + 1)


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
