"""Custom layers out of a function: what is declared, how state is threaded, what goes wrong; and layers that keep their state."""

import gc
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Counted, bits, message_of, refused, setup
from members import array

import sciml_lux as lux
from sciml_lux import LayerError, ParameterError

pytestmark = pytest.mark.usefixtures("unchecked")


class Noise(lux.AbstractLayer):
    """Adds noise while training, and counts its calls."""

    def initial_states(self, key):
        return {"key": key, "calls": jnp.zeros((), jnp.int32), "training": lux.Training()}

    def __call__(self, x, ps, st):
        if not st.training:
            return x, st
        now, later = jax.random.split(st.key)
        new = {"key": later, "calls": st.calls + 1, "training": st.training}
        return x + jax.random.normal(now, x.shape, x.dtype), new


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


# Within the function


def run(function, **declarations):
    layer = lux.compact(**declarations)(function)
    return layer(array(3), *setup(layer))


def test_names_that_were_not_declared_are_shown_with_the_nearest():
    with pytest.raises(AttributeError, match="no declaration 'encodr'; nearest: encoder") as caught:
        run(lambda self, x: self.encodr(x), encoder=lux.Dense(3, 3))
    assert "in layer (the top)" in message_of(caught.value)


def test_only_state_is_set_and_it_keeps_its_kind():
    def sets(name, value):
        def function(self, x):
            setattr(self, name, value)
            return x

        return function

    declared = {"w": lux.real(1.0), "n": lux.state(lux.init.zeros(), (), int), "t": lux.Training(), "d": lux.NoOp()}
    assert run(sets("n", 5), **declared)[1].n == 5
    for name, value in (("w", 2.0), ("t", lux.Training(False)), ("d", lux.NoOp()), ("new", 1)):
        refused(lambda n=name, v=value: run(sets(n, v), **declared), LayerError, f"cannot set self.{name}", "lux.state")
    for value in (jnp.zeros(2, int), jnp.zeros(()), "5"):
        with pytest.raises((LayerError, TypeError)) as caught:
            run(sets("n", value), **declared)
        assert "n" in message_of(caught.value)


def test_a_result_with_a_state_in_it_is_refused():
    def function(self, x):
        return self.d.layer(x, self.d.ps, self.d.st)

    refused(lambda: run(function, d=lux.Dense(3, 3)), LayerError, "return the result alone")


def test_errors_in_sub_layers_have_the_path():
    layer = lux.Chain(first=lux.compact(d=lux.Chain(lux.Dense(4, 4)))(lambda self, x: self.d(x)))
    refused(lambda: layer(array(3), *setup(layer)), lux.ShapeError, "in layer first.d.layer_0: Dense(4, 4)")


TRANSFORMATIONS = {
    "scan": lambda f, x: jax.lax.scan(lambda c, x: (c, f(x)), 0.0, x)[1],
    "vmap": lambda f, x: jax.vmap(f)(x),
    "jit": lambda f, x: jax.jit(f)(x),
    "grad": lambda f, x: jax.grad(lambda x: jnp.sum(f(x)))(x),
    "checkpoint": lambda f, x: jax.checkpoint(f)(x),
    "cond": lambda f, x: jax.lax.cond(jnp.sum(x) > 0, f, lambda x: x, x),
    "while_loop": lambda f, x: jax.lax.while_loop(lambda c: jnp.sum(c) < 0, f, x),
}


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_state_that_would_be_lost_in_a_transformation_is_refused(name, compiled):
    layer = lux.compact(noise=Noise(), dense=lux.Dense(3, 3))(
        lambda self, x: TRANSFORMATIONS[name](lambda x: self.noise(self.dense(x)), x)
    )
    ps, st = setup(layer)
    called = jax.jit(layer) if compiled else layer
    with jax.checking_leaks():
        refused(lambda: called(array(2, 3), ps, st), LayerError, "self.noise", "lux.Scan", "thread the state by hand")
        # In test mode the state stays what it is, so that there is nothing to lose.
        y, after = called(array(2, 3), ps, lux.test_mode(st))
    assert y.shape == (2, 3)
    assert jax.tree.structure(after) == jax.tree.structure(lux.test_mode(st))
    gc.collect()


def test_own_state_cannot_be_set_in_a_transformation_either():
    def function(self, x):
        def step(carry, x):
            self.n = self.n + 1
            return carry, x

        return jax.lax.scan(step, 0.0, x)[1]

    refused(lambda: run(function, n=lux.state(lux.init.zeros())), LayerError, "self.n", "would be lost")


def test_state_threaded_by_hand_through_a_loop():
    @lux.compact(noise=Noise())
    def layer(self, x):
        def step(st, x):
            y, st = self.noise.layer(x, self.noise.ps, st)
            return st, y

        self.noise.st, ys = jax.lax.scan(step, self.noise.st, x)
        return ys

    _, st = layer(array(4, 3), *setup(layer))
    assert st.noise.calls == 4

    def wrong(self, x):
        self.noise.st = self.noise.st.calls
        return x

    refused(lambda: run(wrong, noise=Noise()), LayerError, "sets self.noise to", "keeps its kind")


# A layer that keeps its parameters and state


def test_a_stateful_layer_is_called_on_the_input_alone():
    layer = lux.Chain(lux.Dense(3, 3), Noise())
    ps, st = setup(layer)
    model = lux.StatefulLayer(layer, ps, st)
    y, after = layer(array(3), ps, st)
    np.testing.assert_array_equal(model(array(3)), y)
    assert bits(model.st) == bits(after)
    assert not np.any(model(array(3)) == y)
    model.st = lux.test_mode(model.st)
    model.ps = model.ps.replace(jnp.zeros_like(ps.vector))
    np.testing.assert_array_equal(model(array(3)), np.zeros(3))
    assert model.layer is layer
    assert repr(model) == f"StatefulLayer of {layer!r}"


def test_a_stateful_layer_leaks_nothing_out_of_a_transformation():
    ps, st = setup(Noise())
    model = lux.StatefulLayer(Noise(), ps, st)
    for name, transform in TRANSFORMATIONS.items():
        if name not in ("grad", "vmap"):  # which leave alone what does not depend on their input
            refused(lambda transform=transform: transform(model, array(3)), LayerError, "made outside", "model.layer")
            assert bits(model.st) == bits(st)
    refused(lambda: jax.jit(jax.vmap(model))(array(3)), LayerError, "made outside")
    model.st = lux.test_mode(st)
    np.testing.assert_array_equal(jax.jit(model)(array(3)), array(3))

    @jax.jit
    def inside(x, ps, st):
        model = lux.StatefulLayer(Noise(), ps, st)
        return model(model(x)), model.st

    assert inside(array(3), ps, st)[1].calls == 2


def test_a_stateful_layer_checks_what_it_is_given():
    ps, st = setup(lux.Dense(2, 2))
    refused(lambda: lux.StatefulLayer(jnp.tanh, ps, st), LayerError, "WrappedFunction")
    refused(lambda: lux.StatefulLayer(lux.Dense(2, 2), ps.vector, st), LayerError, "FlatParams")
    refused(lambda: lux.StatefulLayer(lux.Dense(2, 2), ps, ps), LayerError, "state is a State")
