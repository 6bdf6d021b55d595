"""Layers that are called wrongly or return the wrong thing: the error names the layer by its path."""

import jax
import jax.numpy as jnp
import pytest
from helpers import message_of, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, PathError, ShapeError

# The package's own errors are what users see; the type checker of these tests would come first.
pytestmark = pytest.mark.usefixtures("unchecked")


class Declares(lux.AbstractLayer):
    """Declares what a function returns."""

    make: object

    def initial_parameters(self, key):
        return self.make()


class Returns(lux.AbstractLayer):
    """Returns what a function makes of its input, parameters and state."""

    result: object

    def initial_states(self, key):
        return {"count": jnp.zeros(()), "other": jnp.zeros(())}

    def __call__(self, x, ps, st):
        return self.result(x, ps, st)


@pytest.mark.parametrize(
    ("result", "parts"),
    [
        (lambda x, ps, st: x, ["must return the result and the state", "Write `return y, st`"]),
        (lambda x, ps, st: (x, st, 1), ["must return the result and the state", "got tuple"]),
        (lambda x, ps, st: [x, st], ["must return the result and the state", "got list"]),
        (lambda x, ps, st: (x, x), ["with the state second", "Write `return y, st`"]),
        (lambda x, ps, st: (x, ps), ["with the state second", "got Params"]),
        (lambda x, ps, st: (x, {"count": st.count}), ["the keys ['count'], expected", "['count', 'other']"]),
        (lambda x, ps, st: (x, {**st, "new": x}), ["'new'", "new entries belong in initial_states"]),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_results_that_break_the_contract(result, parts, compiled):
    model = lux.Chain(lux.NoOp(), inner=lux.Chain(Returns(result)))
    ps, st = setup(model)
    call = jax.jit(model) if compiled else model
    refused(
        lambda: call(jnp.ones(2), ps, st), LayerError, "Returns.__call__", "in layer inner.layer_0: Returns(", *parts
    )


def test_arguments_that_are_no_parameters_and_no_state():
    model = lux.Chain(inner=lux.Dense(2, 2))
    ps, st = setup(model)
    hint = "write layer(x, ps, st) with ps, st = lux.setup(key, layer)"
    refused(lambda: model(jnp.ones(2), ps.vector, st), LayerError, "got an array of shape (6,)", hint)
    refused(lambda: model(jnp.ones(2), ps, None), LayerError, "state is a State, got None", hint)
    refused(lambda: model(jnp.ones(2), ps, ps), LayerError, "state is a State, got a FlatParams", hint)
    refused(
        lambda: model(jnp.ones(2), st, ps), LayerError, "parameters are a FlatParams or a Params, got a State", hint
    )
    refused(lambda: model(jnp.ones(2), {}, st), PathError, "no path 'inner'", "in layer (the top)")


def test_a_layer_without_a_call():
    ps, st = setup(Declares(lambda: {"a": 1.0}))
    refused(lambda: Declares(dict)(1.0, ps, st), LayerError, "Declares has no __call__", "returns (y, st)")


def deep_model():
    """Equal siblings, of which the second gets an input of the wrong size."""
    dense = lux.Dense(3, 3)
    decoder = lux.Chain(dense, dense, lambda x: x[..., :2], dense, dense)
    return lux.Chain(encoder=dense, decoder=decoder)


@pytest.mark.parametrize(
    "transform",
    [
        lambda model: model,
        jax.jit,
        lambda model: lambda x, ps, st: jax.grad(lambda ps: jnp.sum(model(x, ps, st)[0]))(ps),
        lambda model: lambda x, ps, st: jax.vmap(lambda x: model(x, ps, st))(x[None]),
        lambda model: lambda x, ps, st: model(x, ps.params, st),
        lambda model: lambda x, ps, st: lux.output_shape(model, x.shape),
    ],
    ids=["plain", "jit", "grad", "vmap", "structured", "output_shape"],
)
def test_a_shape_mismatch_names_the_layer_also_among_equal_ones(transform):
    model = deep_model()
    ps, st = setup(model)
    text = refused(
        lambda: transform(model)(jnp.ones(3), ps, st),
        ShapeError,
        "Dense expects 3 features on the last axis, got an input of shape (2,)",
        "in layer decoder.layer_3: Dense(3, 3)",
    )
    assert text.count("in layer") == 1


def test_errors_of_any_kind_name_the_layer():
    def broken(x):
        raise KeyError("whatever")

    model = lux.Chain(inner=lux.Chain(lux.NoOp(), broken))
    ps, st = setup(model)
    with pytest.raises(KeyError) as caught:
        model(1.0, ps, st)
    assert "in layer inner.layer_1: WrappedFunction(" in message_of(caught.value)


def test_an_input_without_axes():
    ps, st = setup(lux.Scale(3))
    refused(lambda: lux.Scale(3)(1.0, ps, st), ShapeError, "Scale expects 3 features", "shape ()", "in layer (the top)")
