"""Mistakes, each with the error that it gets: what, where, got, expected, and what to write instead."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, LayoutError, ParameterError, PathError
from sciml_lux.flatten import flatten

# The package's own errors are what users see; the type checker of these tests would come first.
pytestmark = pytest.mark.usefixtures("unchecked")


class Holder(lux.AbstractLayer):
    field: object


class Declares(lux.AbstractLayer):
    """Declares what a function returns."""

    make: object

    def initial_parameters(self, key):
        return self.make()


# Fields


@pytest.mark.parametrize("make", [lambda: jnp.ones(2), lambda: np.ones(2), lambda: (1, {"a": (np.ones(2),)})])
def test_an_array_in_a_field(make):
    refused(lambda: Holder(make()), LayerError, "Holder.field holds an array", "initial_parameters", "initial_states")


def test_an_array_in_a_field_under_jit():
    refused(lambda: jax.jit(lambda x: setup(Holder(x))[0])(1.0), LayerError, "Holder.field holds an array")


@pytest.mark.parametrize(("value", "kind"), [([1, 2], "list"), ({"a": 1}, "dict"), ({1}, "set")])
def test_a_field_that_cannot_be_hashed(value, kind):
    refused(lambda: Holder(value), LayerError, f"Holder.field holds a {kind}", "cannot be hashed", "write a tuple")


def test_a_layer_in_a_field_of_a_plain_layer():
    refused(
        lambda: Holder(lux.Dense(1, 1)), LayerError, "Holder.field is a layer", "class Holder(lux.AbstractContainer)"
    )


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.Dense(2.5, 3), ["Dense: in_features", "got 2.5"]),
        (lambda: lux.Dense(2, -1), ["Dense: out_features", "0 or more", "got -1"]),
        (lambda: lux.Dense(2, True), ["Dense: out_features", "got True"]),
        (lambda: lux.Dense(2, 3, "tanh"), ["Dense: activation is a function such as jnp.tanh", "got 'tanh'"]),
        (lambda: lux.Scale(2, "tanh"), ["Scale: activation is a function such as jnp.tanh", "got 'tanh'"]),
        (lambda: lux.Scale(-2), ["Scale: features", "got -2"]),
        (lambda: lux.WrappedFunction(3), ["WrappedFunction wraps a function", "got 3"]),
        (lambda: lux.Chain(lux.NoOp(), 3), ["Chain: layer_1 is neither a layer nor a function", "got 3"]),
        (lambda: lux.Chain(out=lux.Dense), ["Chain: out is the class Dense", "write Dense(...)"]),
        (lambda: lux.Chain(lux.NoOp(), layer_0=lux.NoOp()), ["Chain got two layers called layer_0", "rename one"]),
    ],
)
def test_arguments_of_layers(make, parts):
    refused(make, LayerError, *parts)


@pytest.mark.parametrize("name", ["a.b", "a b", ""])
def test_names_that_are_no_step_of_a_path(name):
    for make in (
        lambda: lux.Chain(**{name: lux.NoOp()}),
        lambda: lux.ParameterDict(**{name: 1.0}),
        lambda: flatten({name: 1.0}),
        lambda: lux.Params({name: 1.0}),
    ):
        refused(make, PathError, f"got the name {name!r}", "letters, digits and underscores")


# Setup


def test_an_old_style_key():
    refused(
        lambda: lux.setup(jax.random.PRNGKey(0), lux.NoOp()),
        LayerError,
        "uint32",
        "write jax.random.wrap_key_data(key)",
    )
    refused(lambda: lux.setup(0, lux.NoOp()), LayerError, "got 0", "write jax.random.key(0)")
    refused(lambda: lux.setup(jax.random.split(jax.random.key(0)), lux.NoOp()), LayerError, "expected one typed")


def test_something_else_than_a_layer():
    refused(lambda: setup(lux.Dense), LayerError, "expected a layer", "Dense", "write Dense(...), with its arguments")
    refused(lambda: setup(jnp.tanh), LayerError, "expected a layer", "lux.WrappedFunction(f)")
    refused(lambda: lux.output_shape(jnp.tanh, (2,)), LayerError, "expected a layer", "lux.WrappedFunction(f)")


def test_what_is_declared_is_a_mapping():
    refused(lambda: setup(Declares(lambda: jnp.ones(2))), LayerError, "Declares.initial_parameters", "mapping of names")

    class States(lux.NoOp):
        def initial_states(self, key):
            return key

    refused(lambda: setup(States()), LayerError, "States.initial_states must return a mapping of names")


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: -3, ["got -3", "floating-point", "Write -3.0", "initial_states if it is a counter or a flag"]),
        (lambda: True, ["got True", "initial_states if it is a counter or a flag"]),
        (lambda: jnp.arange(3), ["got dtype int64", "value.astype(float)", "initial_states"]),
        (lambda: np.int32(3), ["got dtype int32", "value.astype(float)"]),
        (lambda: jnp.array([True]), ["got dtype bool", "initial_states"]),
        (lambda: jax.random.key(0), ["got a random key; keys are state", "Return it from initial_states"]),
        (lambda: None, ["got NoneType", "expected an array of floating-point numbers"]),
        (lambda: [1.0], ["got list", "expected an array", "register_ravel_map(list, ...)"]),
        (lambda: "x", ["got str", "expected an array"]),
    ],
)
def test_what_cannot_be_a_parameter(make, parts):
    model = lux.Chain(first=lux.NoOp(), inner=lux.Chain(Declares(lambda: {"nested": {"a": make()}})))
    refused(lambda: setup(model), ParameterError, "parameter inner.layer_0.nested.a:", *parts)


def test_mixed_dtypes_are_listed_with_their_fields():
    model = lux.Chain(
        lux.Dense(1, 1),
        Declares(lambda: {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(2, jnp.bfloat16), "c": jnp.ones(())}),
    )
    text = refused(lambda: setup(model), LayoutError, "several dtypes", "Pass dtype= to setup")
    assert "\n  bfloat16: layer_1.b\n  float32: layer_1.a\n" in text
    assert "\n  float64: layer_0.weight, layer_0.bias, layer_1.c\n" in text
    assert setup(model, dtype=jnp.float32)[0].vector.dtype == jnp.float32


def test_a_dtype_that_jax_does_not_use():
    with jax.enable_x64(False):
        refused(
            lambda: setup(lux.Dense(1, 1), dtype=jnp.float64),
            LayoutError,
            "got dtype=float64, which JAX has switched off",
            'jax.config.update("jax_enable_x64", True)',
        )
    refused(lambda: setup(lux.Dense(1, 1), dtype=int), LayoutError, "got dtype=int64", "such as jnp.float32")


# Declarations


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.real(math.nan), ["finite value", "got nan"]),
        (lambda: lux.positive(math.inf), ["finite value", "got inf"]),
        (lambda: lux.fixed(math.nan), ["finite value", "got nan"]),
        (lambda: lux.ParameterDict(a=np.array([1.0, math.nan])), ["finite value", "nan"]),
        (lambda: lux.real("x"), ["real number or an array", "got 'x'"]),
        (lambda: lux.real(True), ["real number or an array", "got True"]),
        (lambda: lux.fixed(None), ["real number or an array", "got None"]),
        (lambda: lux.fixed("2"), ["real number or an array", "got '2'"]),
        (lambda: lux.ParameterDict(a={"b": 1.0}), ["real number or an array", "{'b': 1.0}"]),
        (lambda: lux.ParameterDict(a=jax.random.key(0)), ["real number or an array", "key"]),
        (lambda: lux.positive(np.array([1j])), ["of this kind is real", "write lux.flatten.complex_value(...)"]),
        (lambda: lux.real(1.0, unit=3), ['unit is a text such as "1/year"', "got 3"]),
        (lambda: jax.jit(lambda x: lux.fixed(x).value)(1.0), ["fixed(...) takes a number", "not a traced one"]),
    ],
)
def test_declarations_of_what_is_no_number(make, parts):
    refused(make, ParameterError, *parts)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.positive(-1.0), ["above 0", "got -1.0"]),
        (lambda: lux.positive(0), ["above 0", "got 0.0"]),
        (lambda: lux.positive([1.0, -1.0]), ["above 0", "-1."]),
        (lambda: lux.bounded(2.0, 0.0, 1.0), ["bounded by 0.0 and 1.0", "strictly between", "got 2.0"]),
        (lambda: lux.bounded(0.0, 0.0, 1.0), ["strictly between", "got 0.0"]),
        (lambda: lux.bounded(-1.0, 0.0, math.inf), ["bounded by 0.0 and inf", "got -1.0"]),
        (lambda: lux.bounded(0.5, 1.0, 0.0), ["lower < upper", "lower=1.0, upper=0.0"]),
        (lambda: lux.bounded(0.5, math.nan, 1.0), ["lower < upper", "lower=nan"]),
    ],
)
def test_starts_outside_their_interval(make, parts):
    with pytest.raises(ValueError, match=r"|".join(map(re.escape, parts))) as caught:
        make()
    assert all(part in str(caught.value) for part in parts), str(caught.value)


# Vectors and paths


@pytest.fixture
def ps():
    return setup(
        lux.Chain(encoder=lux.Dense(2, 3), rates=lux.ParameterDict(growth=lux.positive(1.0), mass=lux.fixed(2.0)))
    )[0]


@pytest.mark.parametrize(
    ("vector", "parts"),
    [
        (np.ones(9), ["got a vector of shape (9,)", "has 10 numbers", "expected shape (..., 10)"]),
        (np.ones((10, 2)), ["shape (10, 2)", "expected shape (..., 10)"]),
        (np.ones(()), ["shape ()", "expected shape (..., 10)"]),
        (np.ones(10, np.float32), ["of float32", "is of float64", "vector.astype('float64')"]),
        (np.arange(10), ["of int64", "is of float64", "vector.astype('float64')"]),
        ([1.0] * 10, ["is an array, got list", "jnp.asarray(vector, 'float64')"]),
    ],
)
def test_vectors_that_do_not_fit(ps, vector, parts):
    refused(lambda: ps.replace(vector), LayoutError, *parts)


def test_a_layout_that_is_none(ps):
    refused(lambda: lux.FlatParams(ps.vector, "layout"), LayoutError, "takes a Layout, got str", "flatten(tree)")


@pytest.mark.parametrize(
    ("path", "nearest"),
    [("encoder.wieght", "encoder.weight"), ("rates.grwth", "rates.growth"), ("encodr", "encoder"), ("qqq", "10")],
)
def test_unknown_paths_show_the_nearest_names(ps, path, nearest):
    nearest = "encoder.weight, encoder.bias" if path == "qqq" else nearest
    for read in (
        lambda: ps[path],
        lambda: ps.params[path],
        lambda: ps.set(path, 1.0),
        lambda: ps.params.set(path, 1.0),
    ):
        refused(read, PathError, f"no path '{path}'", "nearest: ", nearest)
    assert path not in ps
    refused(lambda: ps.layout["encoder.wieght"], PathError, "no entry 'encoder.wieght'", "encoder.weight")
    with pytest.raises(AttributeError, match="no name 'weigth'; nearest: weight"):
        ps.encoder.weigth  # noqa: B018
    with pytest.raises(AttributeError, match="no name 'encodr'; nearest: encoder"):
        ps.encodr  # noqa: B018
    refused(lambda: ps[0], PathError, "a path is a string such as", "got 0")


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("encoder.weight", np.ones((3, 2)), ["encoder.weight: got shape (3, 2), expected (2, 3)"]),
        ("encoder.bias", 1.0, ["encoder.bias: got shape (), expected (3,)"]),
        (
            "encoder",
            {"weight": np.ones((2, 3))},
            ["encoder: got a mapping with ['weight'], expected ['weight', 'bias']"],
        ),
        ("encoder", 1.0, ["encoder: got float", "expected a mapping with ['weight', 'bias']"]),
        ("encoder.bias", {"a": 1.0}, ["encoder.bias: got a mapping with ['a'], expected an array"]),
        ("rates.growth", -1.0, ["rates.growth:", "above 0", "got -1.0"]),
        ("rates.mass", 3.0, ["rates.mass:", "fixed at 2.0", "got 3.0", "declare it with another"]),
    ],
)
def test_values_that_cannot_be_set(ps, path, value, parts):
    refused(lambda: ps.set(path, value), LayoutError, *parts)


@pytest.mark.parametrize(
    ("tree", "parts"),
    [
        ({"a": np.ones(2)}, ["missing ['b']", "unknown none"]),
        ({"a": np.ones(2), "b": 1.0, "c": 2.0}, ["missing none", "unknown ['c']"]),
        ({"a": np.ones(3), "b": 1.0}, ["a: got shape (3,), expected (2,)"]),
        ({"a": np.ones((4, 2)), "b": 1.0}, ["leading axes differ: (4,) for a, () for b"]),
    ],
)
def test_trees_that_do_not_fit_a_layout(tree, parts):
    layout = flatten({"a": np.zeros(2), "b": 0.0}).layout
    refused(lambda: layout.ravel(tree), LayoutError, *parts)


# Never in place


def test_params_and_state_are_immutable():
    ps, st = setup(lux.Chain(lux.Dense(1, 1)))
    for tree in (ps.params, st):
        with pytest.raises(AttributeError, match=r"immutable; write \w+.set\('layer_0', value\)"):
            tree.layer_0 = 1.0
        with pytest.raises(TypeError, match=r"immutable; write \w+.set\('layer_0', value\)"):
            tree["layer_0"] = 1.0
