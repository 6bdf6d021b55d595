"""Parameters from PyTorch and back, whole models at once; each layer's numbers are compared in test_torch_oracle.py."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, refused, setup
from members import array

import sciml_lux as lux
from sciml_lux.tools import porting

LayerError, ShapeError = lux.LayerError, lux.ShapeError


@pytest.fixture
def ports():
    """Ports registered in the test are forgotten after it."""
    registry = porting._ports._PORTS
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


def tensors(*shapes, seed=0, dtype=np.float64):
    """Random tensors by name: `("0.weight", 4, 3)`."""
    generator = np.random.default_rng(seed)
    return {name: np.asarray(generator.standard_normal(shape), dtype) for name, *shape in shapes}


def linear(name, inputs, outputs, seed=0, dtype=np.float64):
    """What PyTorch's `Linear(inputs, outputs)` holds."""
    return tensors((f"{name}.weight", outputs, inputs), (f"{name}.bias", outputs), seed=seed, dtype=dtype)


def batch_norm(name, features):
    """What PyTorch's `BatchNorm1d(features)` holds."""
    names = [f"{name}.{tensor}" for tensor in ("weight", "bias", "running_mean", "running_var")]
    return tensors(*((each, features) for each in names)) | {f"{name}.num_batches_tracked": np.array(7)}


MODEL = lux.Chain(lux.Dense(3, 4), lux.BatchNorm(4, jnp.tanh), encoder=lux.Chain(lux.Dense(4, 5), lux.Dense(5, 2)))
TENSORS = linear("0", 3, 4) | batch_norm("1", 4) | linear("3.inner.0", 4, 5) | linear("3.inner.2", 5, 2)


def test_layers_are_taken_in_order_whatever_their_names():
    ps, st = lux.tools.from_torch(TENSORS, MODEL)
    np.testing.assert_array_equal(ps["layer_0.weight"], TENSORS["0.weight"].T)
    np.testing.assert_array_equal(ps["encoder.layer_1.weight"], TENSORS["3.inner.2.weight"].T)
    np.testing.assert_array_equal(ps["encoder.layer_1.bias"], TENSORS["3.inner.2.bias"])
    np.testing.assert_array_equal(st["layer_1.running_var"], TENSORS["1.running_var"])
    bare = {name.removeprefix("0."): value for name, value in TENSORS.items()}
    assert "weight" in bare
    for names in (bare, {f"module.{name}": value for name, value in TENSORS.items()}):
        assert bits(lux.tools.from_torch(names, MODEL)) == bits((ps, st))


def test_there_and_back_keeps_every_bit():
    odd = np.array([0.0, -0.0, np.inf, np.nan, 5e-324])
    given = TENSORS | {"3.inner.0.bias": odd}
    again = lux.tools.to_torch(*lux.tools.from_torch(given, MODEL), MODEL, given)
    assert list(again) == list(given)
    assert bits(list(again.values())) == bits(list(given.values()))
    ps, st = setup(MODEL)
    there = lux.tools.from_torch(lux.tools.to_torch(ps, st, MODEL, given), MODEL)
    assert bits(there) == bits((ps, st))
    assert bits(lux.tools.to_torch(ps.params, st, MODEL, given)) == bits(lux.tools.to_torch(ps, st, MODEL, given))


def test_what_is_given_is_not_written_into():
    before = bits(TENSORS)
    ps, st = lux.tools.from_torch(TENSORS, MODEL)
    kept = bits((ps, st))
    for tensor in lux.tools.to_torch(ps, st, MODEL, TENSORS).values():
        tensor[...] = 0
    assert bits((ps, st)) == kept
    assert bits(TENSORS) == before


@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.bfloat16])
def test_numbers_take_the_dtype_that_is_asked_for(dtype):
    single = linear("0", 3, 4, dtype=np.float32)
    ps, _ = lux.tools.from_torch(single, lux.Dense(3, 4), dtype)
    assert ps.vector.dtype == (dtype or jnp.float64)
    np.testing.assert_array_equal(ps.weight, single["0.weight"].T.astype(ps.vector.dtype))
    back = lux.tools.to_torch(ps, {}, lux.Dense(3, 4), single)
    assert {array.dtype for array in back.values()} == {np.dtype(np.float32)}


def test_a_layer_alone_has_no_prefix_and_a_model_without_arrays_no_tensors():
    given = tensors(("weight", 4, 3), ("bias", 4))
    ps, _ = lux.tools.from_torch(given, lux.Dense(3, 4))
    np.testing.assert_array_equal(ps.weight, given["weight"].T)
    nothing = lux.Chain(jnp.tanh, lux.Dropout(0.5), lux.BatchNorm(3, affine=False, track_running_stats=False))
    ps, _ = lux.tools.from_torch({}, nothing)
    assert ps.vector.size == 0


# Containers that store parameters elsewhere


def test_repeated_layers_are_taken_one_by_one():
    layers = [linear(str(2 * i), 3, 3, seed=i) for i in range(4)]
    given = {name: value for layer in layers for name, value in layer.items()}
    repeated = lux.Repeated(lux.Dense(3, 3, jnp.tanh), 4)
    chain = lux.Chain(*(lux.Dense(3, 3, jnp.tanh) for _ in range(4)))
    ps, st = lux.tools.from_torch(given, repeated)
    expected, _ = chain(array(2, 3), *lux.tools.from_torch(given, chain))
    np.testing.assert_allclose(repeated(array(2, 3), ps, st)[0], expected, rtol=1e-14)
    assert bits(lux.tools.to_torch(ps, st, repeated, given)) == bits(given)
    twice = lux.Repeated(lux.Repeated(lux.Dense(3, 3, jnp.tanh), 2), 2)
    ps, st = lux.tools.from_torch(given, twice)
    np.testing.assert_allclose(twice(array(2, 3), ps, st)[0], expected, rtol=1e-14)
    fewer = lux.Repeated(lux.Dense(3, 3), 3)
    refused(lambda: lux.tools.from_torch(given, fewer), LayerError, "6.weight, 6.bias left over")
    more = lux.Chain(blocks=lux.Repeated(lux.Dense(3, 3), 5))
    refused(lambda: lux.tools.from_torch(given, more), LayerError, "Dense at blocks.layer[4]", "no tensor", "left")


def test_a_layer_that_is_iterated_is_taken_once():
    given = linear("cell", 3, 3)
    ps, _ = lux.tools.from_torch(given, lux.Repeated(lux.Dense(3, 3), 4, tied=True))
    np.testing.assert_array_equal(ps["layer.weight"], given["cell.weight"].T)


def test_parameters_of_frozen_layers_go_into_the_state():
    frozen = lux.Chain(lux.Dense(3, 4), lux.Frozen(lux.Chain(lux.Dense(4, 4), lux.BatchNorm(4))), lux.Dense(4, 2))
    plain = lux.Chain(lux.Dense(3, 4), lux.Chain(lux.Dense(4, 4), lux.BatchNorm(4)), lux.Dense(4, 2))
    given = linear("0", 3, 4) | linear("1", 4, 4) | batch_norm("2", 4) | linear("3", 4, 2)
    given["2.running_var"] = given["2.running_var"] ** 2
    ps, st = lux.tools.from_torch(given, frozen)
    assert ps.layout.size == 3 * 4 + 4 + 4 * 2 + 2
    np.testing.assert_array_equal(st["layer_1.parameters.layer_0.weight"], given["1.weight"].T)
    expected, _ = plain(array(2, 3), *lux.tools.from_torch(given, plain))
    np.testing.assert_allclose(frozen(array(2, 3), ps, st)[0], expected, rtol=1e-14)
    assert bits(lux.tools.to_torch(ps, st, frozen, given)) == bits(given)


def test_frozen_layers_in_a_row():
    given = linear("0", 3, 3) | linear("1", 3, 3, seed=1)
    model = lux.Repeated(lux.Frozen(lux.Dense(3, 3)), 2)
    ps, st = lux.tools.from_torch(given, model)
    np.testing.assert_array_equal(st["layer.parameters.bias"], np.stack([given["0.bias"], given["1.bias"]]))
    assert bits(lux.tools.to_torch(ps, st, model, given)) == bits(given)


def test_shared_parameters_take_equal_tensors():
    model = lux.Share(lux.Chain(lux.Dense(3, 3, jnp.tanh), lux.Dense(3, 3), lux.Dense(3, 2)), "layer_0", "layer_1")
    shared = linear("0", 3, 3)
    twice = {name.replace("0.", "1."): value for name, value in shared.items()}
    given = shared | twice | linear("2", 3, 2)
    ps, st = lux.tools.from_torch(given, model)
    assert ps.layout.size == 3 * 3 + 3 + 3 * 2 + 2
    assert bits(lux.tools.to_torch(ps, st, model, given)) == bits(given)
    other = given | {"1.bias": given["1.bias"] + 1e-3}
    refused(lambda: lux.tools.from_torch(other, model), LayerError, "layer_1.bias", "layer_0.bias")


# Layers that a user writes


class Gain(lux.AbstractLayer):
    features: int

    def initial_parameters(self, key):
        return {"gain": lux.positive(jnp.ones(self.features)), "shift": {"offset": jnp.zeros(())}}

    def initial_states(self, key):
        return {"peak": jnp.zeros(self.features)}

    def __call__(self, x, ps, st):
        return ps.gain * x + ps.shift.offset, st


class LouderGain(Gain):
    pass


class GainWithMore(Gain):
    def initial_parameters(self, key):
        return {**super().initial_parameters(key), "more": jnp.zeros(2)}


def gain_ports(layer):
    return (
        porting.Port("norm.g", "gain", part=(1, 2)),
        porting.Port("offset", "shift.offset"),
        porting.Port("peak", "peak", state=True),
    )


GAIN = {"0.norm.g": np.array([9.0, 9.0, 0.5, 2.0]), "0.offset": np.array(3.0), "0.peak": np.array([5.0, 6.0])}


@pytest.mark.usefixtures("ports")
@pytest.mark.parametrize("kind", [Gain, LouderGain])
def test_a_layer_joins_by_its_ports(kind):
    porting.register_torch_ports(Gain, gain_ports)
    model = lux.Chain(kind(2), lux.Dense(2, 1))
    given = GAIN | linear("1", 2, 1)
    ps, st = lux.tools.from_torch(given, model)
    np.testing.assert_allclose(ps["layer_0.gain"], [0.5, 2.0], rtol=1e-15)  # stored as its logarithm
    assert ps["layer_0.shift.offset"] == 3
    np.testing.assert_array_equal(st["layer_0.peak"], [5, 6])
    back = lux.tools.to_torch(ps, st, model, {name: 0 * value for name, value in given.items()})
    np.testing.assert_allclose(back["0.norm.g"], [0, 0, 0.5, 2.0], rtol=1e-15)
    assert back["0.offset"] == 3


@pytest.mark.usefixtures("ports")
def test_numbers_that_a_constraint_cannot_hold_are_refused():
    porting.register_torch_ports(Gain, gain_ports)
    negative = GAIN | {"0.norm.g": np.array([1.0, 1.0, 0.5, -2.0])}
    refused(lambda: lux.tools.from_torch(negative, lux.Chain(gain=Gain(2))), LayerError, "gain.gain", "Positive")


@pytest.mark.usefixtures("ports")
def test_parameters_without_a_port_are_refused():
    message = "register_torch_ports"
    refused(lambda: lux.tools.from_torch(GAIN, lux.Chain(first=Gain(2))), LayerError, "Gain, at first", message, "gain")
    porting.register_torch_ports(Gain, gain_ports)
    refused(
        lambda: lux.tools.from_torch(GAIN, GainWithMore(2)), LayerError, "more of GainWithMore, at the top", message
    )
    porting.register_torch_ports(
        Gain, lambda layer: (porting.Port("g", "gain", axes=(1, 0)), porting.Port("o", "shift"))
    )
    refused(
        lambda: lux.tools.from_torch({"g": np.ones(2), "o": np.ones(2)}, Gain(2)), LayerError, "gain", "(1, 0)", "(2,)"
    )


class Blend(lux.AbstractContainer):
    left: lux.AbstractLayer
    right: lux.AbstractLayer

    def initial_parameters(self, key):
        return {**super().initial_parameters(key), "share": lux.bounded(0.3, 0.0, 1.0)}

    def __call__(self, x, ps, st):
        left, right = self.left(x, ps.left, st.left)[0], self.right(x, ps.right, st.right)[0]
        return ps.share * left + (1 - ps.share) * right, st


@pytest.mark.usefixtures("ports")
def test_a_containers_own_parameters_need_ports_of_their_own():
    model = lux.Chain(blend=Blend(lux.Dense(2, 2), lux.Dense(2, 2)))
    given = {"share": np.array(0.25)} | linear("left", 2, 2) | linear("right", 2, 2, seed=1)
    for convert in (lux.tools.from_torch, lambda names, model: lux.tools.to_torch(*setup(model), model, names)):
        refused(lambda: convert(given, model), LayerError, "share of Blend, at blend", "register_torch_ports")  # noqa: B023

    def blend_ports(layer):
        children = layer.children().items()
        inner = [port.below(name, name) for name, child in children for port in porting._ports.ports_of(child)]
        return (porting.Port("share", "share"), *inner)

    porting.register_torch_ports(Blend, blend_ports)
    ps, st = lux.tools.from_torch(given, model)
    np.testing.assert_allclose(ps["blend.share"], 0.25, rtol=1e-15)
    np.testing.assert_array_equal(ps["blend.right.weight"], given["right.weight"].T)
    np.testing.assert_allclose(lux.tools.to_torch(ps, st, model, given)["share"], 0.25, rtol=1e-15)


@pytest.mark.usefixtures("unchecked")
def test_only_layer_types_have_ports():
    refused(lambda: porting.register_torch_ports(lux.Dense(2, 2), gain_ports), LayerError, "layer type", "Dense(2, 2)")


# What does not fit


def without(names, *dropped):
    return {name: value for name, value in names.items() if name not in dropped}


BOTH = (
    ("from_torch", lux.tools.from_torch),
    ("to_torch", lambda names, layer: lux.tools.to_torch(*setup(layer), layer, names)),
)


@pytest.mark.usefixtures("ports")
@pytest.mark.parametrize(("verb", "convert"), BOTH)
def test_models_that_differ_are_refused(verb, convert):
    missing = without(TENSORS, "3.inner.2.bias")
    refused(
        lambda: convert(missing, MODEL), LayerError, verb, "encoder.layer_1", "3.inner.2.weight", "no 3.inner.2.bias"
    )
    none_left = without(TENSORS, "3.inner.2.weight", "3.inner.2.bias")
    refused(lambda: convert(none_left, MODEL), LayerError, verb, "encoder.layer_1", "weight, bias", "left")
    more = TENSORS | linear("4", 2, 2)
    refused(lambda: convert(more, MODEL), LayerError, verb, "4.weight, 4.bias left over", "Chain")
    swapped = batch_norm("1", 4) | without(TENSORS, *batch_norm("1", 4))
    refused(lambda: convert(swapped, MODEL), ShapeError, verb, "1.weight", "Dense at layer_0")
    equal = lux.Chain(lux.Scale(4), lux.Dense(4, 4))
    porting.register_torch_ports(lux.Scale, porting._ports.weight_and_bias)
    normed = batch_norm("0", 4) | linear("1", 4, 4)
    refused(lambda: convert(normed, equal), LayerError, verb, "Dense at layer_1", "0.running_mean", "order")
    no_bias = lux.Chain(lux.Dense(3, 4, use_bias=False), lux.Dense(4, 2))
    two = linear("0", 3, 4) | linear("1", 4, 2)
    refused(lambda: convert(two, no_bias), LayerError, verb, "Dense at layer_1", "0.bias", "no 0.weight", "options")


@pytest.mark.parametrize(("verb", "convert"), BOTH)
@pytest.mark.parametrize("shape", [(3, 4), (4,), (4, 3, 1), (), (4, 0)])
def test_tensors_of_another_shape_are_refused(verb, convert, shape):
    given = TENSORS | {"0.weight": np.zeros(shape)}
    text = refused(
        lambda: convert(given, MODEL), ShapeError, verb, "0.weight", f"{shape}", "(4, 3)", "Dense at layer_0"
    )
    assert "weight is (3, 4)" in text


def test_a_part_of_a_tensor_has_the_size_of_a_part(ports):
    porting.register_torch_ports(Gain, gain_ports)
    refused(
        lambda: lux.tools.from_torch(GAIN | {"0.norm.g": np.ones(3)}, Gain(2)),
        ShapeError,
        "0.norm.g",
        "(3,)",
        "(4,)",
        "gain",
    )


class Module:
    def state_dict(self):
        return {}


@pytest.mark.usefixtures("unchecked")
def test_other_arguments_are_refused():
    refused(lambda: lux.tools.from_torch(Module(), MODEL), LayerError, "from_torch", "Module", "model.state_dict()")
    refused(lambda: lux.tools.from_torch(MODEL, TENSORS), LayerError, "expected a layer")
    refused(lambda: lux.tools.from_torch(TENSORS, lux.Dense), LayerError, "expected a layer")
    refused(lambda: lux.tools.to_torch(*setup(MODEL), MODEL, None), LayerError, "to_torch", "NoneType")
