"""Custom layers out of a function: what is done within it, how state is threaded; and layers that keep their state."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, message_of, refused, setup
from members import array
from noisy_layer import Noise

import sciml_lux as lux
from sciml_lux import LayerError

pytestmark = pytest.mark.usefixtures("unchecked")


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
