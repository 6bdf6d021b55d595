"""Custom layers out of a function: what they are, and what is declared."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Counted, bits, refused, setup
from members import array
from noisy_layer import Noise

import sciml_lux as lux
from sciml_lux import LayerError, ParameterError

pytestmark = pytest.mark.usefixtures("unchecked")


@lux.compact(encoder=lux.Dense(4, 8, jnp.tanh), w=lux.parameter(lux.init.orthogonal(), (8, 8)))
def net(self, x):
    """The example of the docstring."""
    return self.encoder(x) @ self.w


@lux.compact(
    noise=Noise(),
    gain=lux.positive(0.5),
    shift=np.array([1.0, 2.0, 3.0]),
    calls=lux.state(lux.init.zeros(), (), int),
    key=lux.state(),
    training=lux.Training(),
    power=2,
    activation=jnp.tanh,
)
def everything(self, x):
    self.calls = self.calls + 1
    now, self.key = jax.random.split(self.key)
    x = x + jax.random.normal(now, x.shape) if self.training else x
    y = self.noise(self.noise(self.activation(x)))
    return self.gain * y**self.power + self.shift


NAMES = vars(lux) | {"jax": jax, "jnp": jnp, "net": net, "everything": everything, "Noise": Noise}


# What a compact layer is


def test_arrays_are_parameters_and_layers_are_sub_layers():
    ps, st = setup(net)
    assert [entry.path for entry in ps.layout.entries] == ["encoder.weight", "encoder.bias", "w"]
    np.testing.assert_allclose(ps.w @ ps.w.T, np.eye(8), atol=1e-12)
    x = array(5, 4)
    y, after = net(x, ps, st)
    expected = np.tanh(np.asarray(x) @ np.asarray(ps.encoder.weight) + np.asarray(ps.encoder.bias)) @ np.asarray(ps.w)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    assert bits(after) == bits(st)
    assert lux.layer_paths(net, lux.Dense) == ("encoder",)
    assert net["encoder"] == lux.Dense(4, 8, jnp.tanh)


def test_declarations_are_what_they_say():
    ps, st = setup(everything)
    assert [entry.path for entry in ps.layout.entries] == ["gain", "shift"]
    assert list(st) == ["noise", "calls", "key", "training"]
    assert (float(ps.gain), st.calls.dtype) == (pytest.approx(0.5), jnp.int64)
    np.testing.assert_array_equal(ps.shift, [1.0, 2.0, 3.0])
    test = lux.test_mode(st)
    y, after = everything(array(3), ps, test)
    np.testing.assert_allclose(y, 0.5 * np.tanh(array(3)) ** 2 + np.array([1.0, 2.0, 3.0]), rtol=1e-12)
    assert after.calls == 1
    assert after.key != test.key


def test_the_state_of_a_sub_layer_goes_from_one_call_into_the_next():
    ps, st = setup(everything)
    x = array(3)
    _, after = everything(x, ps, st)
    assert after.noise.calls == 2
    _, once = Noise()(x, ps.params.get("noise", lux.Params()), st.noise)
    _, twice = Noise()(x, lux.Params(), once)
    assert after.noise.key == twice.key
    _, third = everything(x, ps, after)
    assert (third.noise.calls, third.calls) == (4, 2)
    assert st.noise.calls == 0


def test_the_start_depends_on_key_and_path_alone(key):
    other = lux.compact(net, more=lux.parameter(lux.init.normal(), (3,)))
    assert bits(lux.setup(key, other)[0]["w"]) == bits(lux.setup(key, net)[0]["w"])
    inside, _ = lux.setup(key, lux.Chain(encoder=lux.Dense(4, 8, jnp.tanh)))
    assert bits(lux.setup(key, net)[0]["encoder"]) == bits(inside["encoder"])


def total(layer, ps, st, x):
    y, st = layer(x, ps, st)
    return jnp.sum(y), st


def test_it_goes_through_every_transformation():
    for layer, x in ((net, array(2, 4)), (everything, array(3))):
        ps, st = setup(layer)
        y, after = layer(x, ps, st)
        compiled, compiled_st = jax.jit(layer)(x, ps, st)
        np.testing.assert_allclose(compiled, y, rtol=1e-12)
        assert jax.tree.structure(compiled_st) == jax.tree.structure(after)
        mapped, states = jax.vmap(lambda x: layer(x, ps, st))(jnp.stack([x, 2 * x]))  # noqa: B023
        np.testing.assert_allclose(mapped[0], y, rtol=1e-12)
        assert jax.tree.structure(states) == jax.tree.structure(after)
        gradient, gradient_st = jax.grad(total, argnums=1, has_aux=True)(layer, ps, st, x)
        assert np.all(np.isfinite(gradient.vector))
        assert jax.tree.structure(gradient_st) == jax.tree.structure(after)
        checkpointed, _ = jax.checkpoint(layer)(x, ps, st)
        np.testing.assert_allclose(checkpointed, y, rtol=1e-12)


def test_compact_layers_are_values():
    def body(self, x):
        return x * self.a

    assert lux.compact(a=1.0)(body) == lux.compact(body, a=1.0) == lux.Compact(body, a=1.0)
    assert hash(lux.compact(a=1.0)(body)) == hash(lux.Compact(body, a=1.0))
    different = [lux.Compact(body, a=value) for value in (1.0, 1, lux.real(1.0), lux.positive(1.0), jnp.ones(1), "1")]
    assert len(set(different)) == len(different)
    assert lux.Compact(body, a=np.ones((2, 2))) == lux.Compact(body, a=jnp.ones((2, 2), jnp.float32))
    assert lux.Compact(body, a=np.ones((2, 2))) != lux.Compact(body, a=np.ones(4))
    assert lux.Compact(lambda self, x: x) != lux.Compact(lambda self, x: x)


def test_equal_ones_share_a_compilation(key):
    counted = Counted(lambda layer, x, ps, st: layer(x, ps, st))
    compiled = jax.jit(counted)
    for _ in range(2):
        layer = lux.compact(net, encoder=lux.Dense(4, 8, jnp.sin))
        compiled(layer, array(4), *lux.setup(key, layer))
    assert counted.traces == 1


def test_the_same_function_with_other_declarations():
    wide = lux.compact(net, encoder=lux.Dense(4, 16), w=lux.parameter(lux.init.orthogonal(), (16, 2)))
    assert wide(array(4), *setup(wide))[0].shape == (2,)
    assert wide.with_children({"encoder": lux.Dense(3, 16)})["encoder"] == lux.Dense(3, 16)
    refused(lambda: wide.with_children({"decoder": lux.NoOp()}), LayerError, "made of ['encoder']")


@pytest.mark.parametrize(
    "layer",
    [
        net,
        everything,
        lux.compact(net, encoder=lux.Dense(4, 8), extra="text", sizes=(1, 2)),
        lux.compact(net, w=jnp.array(2.5), b=np.zeros((2, 0)), c=np.array([[1.5, -2.0]])),
        lux.compact(net, w=lux.bounded([0.1, 0.2], 0.0, 1.0), b=lux.fixed([1.0, 2.0]), c=lux.real(1.0, unit="m")),
        lux.compact(net, w=lux.parameter(lux.init.ones(), (2,), lux.flatten.Positive(), unit="1/s")),
    ],
)
def test_the_repr_builds_an_equal_layer(layer):
    assert repr(layer).startswith("Compact(")
    assert eval(repr(layer), NAMES | {"Positive": lux.flatten.Positive}) == layer


def test_the_repr_of_a_large_array_and_of_a_local_function_says_what_they_are():
    def local(self, x):
        return x @ self.w

    text = repr(lux.Compact(local, w=np.ones((30, 40))))
    assert "<locals>.local" in text
    assert "<float[30, 40]>" in text
    assert "1,200 parameters" in text


def test_pickling_finds_the_function_behind_the_layer():
    assert pickle.loads(pickle.dumps(net_of_names)) == net_of_names
    assert pickle.loads(pickle.dumps(lux.Compact(plain, a=2.0))) == lux.Compact(plain, a=2.0)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(lux.Compact(lambda self, x: x))


@lux.compact(a=lux.real(1.0), inner=lux.Scale(3))
def net_of_names(self, x):
    return self.inner(x) * self.a


def plain(self, x):
    return x * self.a


# Values that are declared


def test_arrays_start_where_they_are_and_take_the_dtype_of_the_vector(key):
    layer = lux.compact(a=np.arange(6, dtype=np.float32).reshape(2, 3), b=jnp.array(1.5, jnp.bfloat16), c=np.array(1j))(
        plain
    )
    ps, _ = lux.setup(key, layer)
    assert ps.vector.dtype == jnp.float64
    np.testing.assert_array_equal(ps.a, np.arange(6.0).reshape(2, 3))
    assert (ps.b, ps.c) == (1.5, 1j)
    assert lux.setup(key, layer, jnp.float32)[0].vector.dtype == jnp.float32
    with jax.enable_x64(False):
        assert lux.setup(key, layer)[0].vector.dtype == jnp.float32
    big = np.random.default_rng(0).standard_normal((100, 100))
    np.testing.assert_array_equal(setup(lux.compact(a=big)(plain))[0].a, big)


def test_a_layer_keeps_no_view_of_the_array():
    array = np.ones(3)
    layer = lux.compact(a=array)(plain)
    array[:] = 7
    np.testing.assert_array_equal(setup(layer)[0].a, np.ones(3))


def test_a_parameter_that_is_drawn_may_be_constrained():
    layer = lux.compact(a=lux.parameter(lux.init.ones(), (2,), lux.flatten.Positive(), unit="1/s"))(plain)
    ps, _ = setup(layer)
    np.testing.assert_allclose(ps.vector, np.zeros(2))
    assert ps.layout["a"].unit == "1/s"
    invalid = lux.compact(a=lux.parameter(lux.init.zeros(), (), lux.flatten.Positive()))(plain)
    with pytest.raises(ValueError, match="above 0"):
        setup(invalid)


def test_own_weights_of_a_sub_layer_can_be_used_again():
    @lux.compact(encoder=lux.Dense(3, 2, use_bias=False))
    def autoencoder(self, x):
        return self.encoder(x) @ self.encoder.ps.weight.T

    ps, st = setup(autoencoder)
    weight = np.asarray(ps["encoder.weight"])
    np.testing.assert_allclose(autoencoder(array(3), ps, st)[0], np.asarray(array(3)) @ weight @ weight.T, rtol=1e-12)


def test_functions_are_options_and_layers_within_layers_work():
    @lux.compact(inner=net, act=lambda x: 2 * x)
    def outer(self, x):
        return self.act(self.inner(x))

    ps, st = setup(outer)
    np.testing.assert_allclose(outer(array(4), ps, st)[0], 2 * net(array(4), ps.params.inner, st.inner)[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("declarations", "parts"),
    [
        ({"a": lux.Dense}, ["a is the class Dense", "with its arguments"]),
        ({"a": (lux.NoOp(),)}, ["a is a tuple with layers or arrays", "lux.Branch"]),
        ({"a": {"b": np.ones(2)}}, ["a is a dict with layers or arrays"]),
        ({"a": [1, 2]}, ["a is a list, which cannot be hashed", "tuple"]),
        ({"a": {"b": 1}}, ["a is a dict, which cannot be hashed"]),
        ({"a": np.arange(3)}, ["array of int64", ".astype(float)", "tuple"]),
        ({"a": jnp.ones(3, bool)}, ["array of bool"]),
        ({"a": jax.random.key(0)}, ["random key", "lux.state()"]),
        ({"_a": 1}, ["begins with an underscore"]),
    ],
)
def test_what_cannot_be_declared_says_what_to_write(declarations, parts):
    refused(lambda: lux.compact(**declarations)(plain), LayerError, "plain", *parts)


def test_traced_arrays_cannot_be_declared():
    refused(
        lambda: jax.jit(lambda a: setup(lux.compact(a=a)(plain))[0])(jnp.ones(3)), LayerError, "a is a traced array"
    )


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (3, "got 3"),
        (lux.NoOp(), "got NoOp"),
        (dict, "got <class 'dict'>"),
        (lambda x: x, "called as <lambda>(self, x), got <lambda>(x)"),
        (lambda self, x, t: x, "missing a required argument: 't'"),
    ],
)
def test_what_is_no_function_of_self_and_x_is_refused(function, part):
    refused(lambda: lux.compact(a=1)(function), LayerError, part)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lux.parameter(jnp.ones(3)),
        lambda: lux.parameter(lux.init.zeros, (3,)),
        lambda: lux.parameter(lux.init.zeros(), 3),
        lambda: lux.parameter(lux.init.zeros(), (3.0,)),
        lambda: lux.parameter(lux.init.zeros(), (3,), "positive"),
        lambda: lux.state(0.0),
        lambda: lux.state(lux.init.zeros(), (-1,)),
    ],
)
def test_declarations_check_their_arguments(make):
    refused(make, ParameterError, "got")
