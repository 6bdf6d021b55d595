"""Modules of other libraries as layers: values and gradients are the original's, names are its own; trees are in test_foreign_trees.py."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from foreign_layers import assert_works, loss, usual_promotion  # noqa: F401  a fixture for all tests here
from helpers import Counted, bits, refused
from members import array

import sciml_lux as lux
from sciml_lux import LayerError, LayoutError

KEY = jax.random.key(3)


def by_path(tree) -> dict:
    """The arrays of a tree by their paths."""
    return {
        jax.tree_util.keystr(keys, simple=True, separator="."): leaf
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if eqx.is_inexact_array(leaf)
    }


# Equinox


class Convolutions(eqx.Module):
    blocks: list
    norm: eqx.nn.LayerNorm
    table: jax.Array
    name: str = eqx.field(static=True)

    def __init__(self, key):
        self.blocks = [eqx.nn.Conv2d(i, 2, 3, padding=1, key=jax.random.fold_in(key, i)) for i in (1, 2)]
        self.norm = eqx.nn.LayerNorm((2, 4, 4))
        self.table = jnp.array([1, 0])
        self.name = "convolutions"

    def __call__(self, x):
        for block in self.blocks:
            x = jax.nn.gelu(block(x))
        return self.norm(x)[self.table]


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (eqx.nn.MLP(3, 2, 5, 2, key=KEY), array(3)),
        (eqx.nn.MLP(3, 2, 5, 1, activation=jnp.tanh, use_bias=False, key=KEY), array(3)),
        (Convolutions(KEY), array(1, 4, 4)),
        (eqx.nn.GRUCell(3, 3, key=KEY), None),
        (eqx.nn.Sequential([eqx.nn.Linear(3, 2, key=KEY), eqx.nn.Lambda(jnp.sin)]), array(3)),
    ],
    ids=["MLP", "MLP without bias", "Conv and LayerNorm", "GRUCell", "Sequential"],
)
def test_an_equinox_module(module, x):
    if x is None:
        cell = module
        layer, ps, st = lux.tools.from_pytree(cell, lambda cell, x: cell(x, 0.1 * x))
        x, call = array(3), lambda cell, x: cell(x, 0.1 * x)
    else:
        layer, ps, st = lux.tools.from_equinox(module)
        call = lambda module, x: module(x)  # noqa: E731
    assert bits(layer(x, ps, st)[0]) == bits(call(module, x))
    gradient = eqx.filter_jit(eqx.filter_grad(lambda module: loss(call(module, x))))(module)
    assert_works(layer, ps, st, x, by_path(gradient))
    assert all(bits(ps[path]) == bits(leaf) for path, leaf in by_path(module).items())


def test_names_and_state_are_those_of_the_equinox_module():
    _, ps, st = lux.tools.from_equinox(Convolutions(KEY))
    assert [entry.path for entry in ps.layout.entries] == [
        "blocks.0.weight",
        "blocks.0.bias",
        "blocks.1.weight",
        "blocks.1.bias",
        "norm.weight",
        "norm.bias",
    ]
    assert bits(st) == bits({"table": jnp.array([1, 0])})


def test_equal_equinox_modules_are_one_layer():
    counted = Counted(lambda layer, x, ps, st: layer(x, ps, st))
    compiled = jax.jit(counted)
    for seed in range(2):
        compiled_with = lux.tools.from_equinox(eqx.nn.MLP(3, 2, 5, 1, key=jax.random.key(seed)))
        compiled(compiled_with[0], array(3), *compiled_with[1:])
    assert counted.traces == 1
    other, _, _ = lux.tools.from_equinox(eqx.nn.MLP(3, 2, 6, 1, key=KEY))
    assert other != compiled_with[0]


def test_an_array_that_an_equinox_module_has_twice_is_stored_once():
    class Tied(eqx.Module):
        encode: jax.Array
        decode: jax.Array

        def __call__(self, x):
            return self.decode.T @ jnp.tanh(self.encode @ x)

    weight = array(2, 3)
    layer, ps, st = lux.tools.from_equinox(Tied(weight, weight))
    assert ps.vector.size == 6
    assert bits(ps["decode"]) == bits(weight)
    assert bits(layer(array(3), ps, st)[0]) == bits(Tied(weight, weight)(array(3)))
    gradient = jax.grad(lambda ps: loss(layer(array(3), ps, st)[0]))(ps)
    parts = eqx.filter_grad(lambda module: loss(module(array(3))))(Tied(weight, weight))
    np.testing.assert_allclose(gradient["encode"], parts.encode + parts.decode, rtol=1e-12)
    inside = lux.Chain(first=layer)
    assert lux.parameter_length(inside) == 6


def test_dropout_of_an_equinox_module_draws_from_the_state():
    module = eqx.nn.Sequential([eqx.nn.Linear(3, 50, key=KEY), eqx.nn.Dropout(0.5)])
    layer, ps, st = lux.tools.from_equinox(module, key=KEY)
    x = array(3)
    y, later = layer(x, ps, st)
    assert bits(y) == bits(layer(x, ps, st)[0])
    assert bits(y) == bits(module(x, key=jax.random.split(KEY)[0]))
    assert bits(layer(x, ps, later)[0]) != bits(y)
    still, unchanged = layer(x, ps, lux.test_mode(st))
    assert bits(still) == bits(eqx.nn.inference_mode(module)(x))
    assert bits(unchanged.key) == bits(KEY)
    assert lux.state_length(layer) == 1


def test_an_equinox_module_with_state_goes_through_from_pytree(unchecked):
    module, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, axis_name="batch", mode="batch")
    refused(lambda: lux.tools.from_equinox(module), LayerError, "BatchNorm", "from_pytree((module, state)")
    module, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, axis_name="batch", mode="batch", inference=True)
    layer, ps, st = lux.tools.from_pytree((module, state), lambda tree, x: tree[0](x, tree[1])[0])
    expected = jax.vmap(lambda x: module(x, state)[0], axis_name="batch")(array(4, 3))
    assert bits(jax.vmap(lambda x: layer(x, ps, st)[0], axis_name="batch")(array(4, 3))) == bits(expected)


# Flax


class LinenMLP(linen.Module):
    features: tuple[int, ...]

    @linen.compact
    def __call__(self, x, train=False):
        for i, size in enumerate(self.features):
            x = linen.Dense(size, dtype=jnp.float64, param_dtype=jnp.float64)(x)
            if i == 0:
                x = linen.BatchNorm(use_running_average=not train, dtype=jnp.float64, param_dtype=jnp.float64)(x)
                x = linen.Dropout(0.5, deterministic=not train)(x)
                x = jnp.tanh(x)
        return x


@pytest.fixture(scope="module")
def linen_model():
    module = LinenMLP((4, 2))
    variables = module.init(jax.random.key(1), array(5, 3))
    return module, jax.tree.map(lambda leaf: leaf.astype(float), variables)


def test_a_linen_module(linen_model):
    module, variables = linen_model
    layer, ps, st = lux.tools.from_flax(module, variables)
    x = array(5, 3)
    assert bits(layer(x, ps, st)[0]) == bits(module.apply(variables, x))
    original = jax.jit(jax.grad(lambda params: loss(module.apply({**variables, "params": params}, x))))
    gradient = original(variables["params"])
    assert_works(layer, ps, st, x, by_path(gradient))
    assert "Dense_0.kernel" in ps
    assert list(st) == ["batch_stats"]
    assert bits(layer(x, ps, st)[1]) == bits(st)


def test_training_a_linen_module_updates_its_statistics_and_keys(linen_model):
    module, variables = linen_model
    layer, ps, st = lux.tools.from_flax(module, variables, rngs={"dropout": KEY})
    x = array(5, 3)
    y, new = layer(x, ps, st, train=True)
    now, later = jax.random.split(KEY)
    expected, updated = module.apply(variables, x, train=True, rngs={"dropout": now}, mutable=["batch_stats"])
    assert bits(y) == bits(expected)
    assert bits(new["batch_stats"]) == bits(updated["batch_stats"])
    assert bits(new.rngs.dropout) == bits(later)
    assert bits(layer(x, ps, new, train=True)[0]) != bits(y)
    assert lux.state_length(layer) == 4 + 4 + 1


def test_layers_of_a_linen_module_keep_their_order():
    module = linen.Sequential([linen.Dense(2) for _ in range(11)])
    variables = module.init(KEY, jnp.ones((1, 2), jnp.float32))
    _, ps, _ = lux.tools.from_flax(module, variables)
    assert list(ps) == [f"layers_{i}" for i in range(11)]


class NnxMLP(nnx.Module):
    def __init__(self, rngs):
        double = {"dtype": jnp.float64, "param_dtype": jnp.float64, "rngs": rngs}
        self.layers = nnx.List([nnx.Linear(3, 4, **double), nnx.Linear(4, 2, **double)])
        self.norm = nnx.BatchNorm(4, **double)
        self.norm.mean, self.norm.var = nnx.BatchStat(jnp.zeros(4)), nnx.BatchStat(jnp.ones(4))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.dropout(jnp.tanh(self.norm(self.layers[0](x)))))


def test_an_nnx_module():
    layer, ps, st = lux.tools.from_flax(NnxMLP(nnx.Rngs(0)))
    x = array(5, 3)
    y, new = layer(x, ps, st)
    module = NnxMLP(nnx.Rngs(0))
    assert bits(y) == bits(module(x))
    assert bits(new) == bits(layer(x, ps, st)[1])
    np.testing.assert_array_equal(new.norm.mean, module.norm.mean[...])
    assert bits(layer(x, ps, new)[0]) == bits(module(x))  # the second of two calls in a row
    module = NnxMLP(nnx.Rngs(0))
    gradient = nnx.grad(lambda module: loss(module(x)))(module)
    expected = {path.removesuffix(".value"): leaf for path, leaf in by_path(gradient).items()}
    assert_works(layer, ps, st, x, expected)
    assert set(ps) == {"layers", "norm"}
    module = NnxMLP(nnx.Rngs(0))
    module.eval()
    assert bits(layer(x, ps, lux.test_mode(st))[0]) == bits(module(x))


def test_equal_flax_modules_are_one_layer(linen_model):
    module, variables = linen_model
    assert lux.tools.from_flax(module, variables)[0] == lux.tools.from_flax(LinenMLP((4, 2)), variables)[0]
    assert lux.tools.from_flax(NnxMLP(nnx.Rngs(0)))[0] == lux.tools.from_flax(NnxMLP(nnx.Rngs(1)))[0]


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "flax", None)
    with pytest.raises(ImportError, match=r"sciml-lux\[flax\]"):
        lux.tools.from_flax(None)


# In a model of this package


def test_a_foreign_layer_inside_another_starts_as_nan_until_it_is_given():
    module = eqx.nn.MLP(3, 2, 5, 1, key=KEY)
    encoder, encoder_ps, encoder_st = lux.tools.from_equinox(module)
    model = lux.Chain(encoder=encoder, head=lux.Dense(2, 1))
    ps, st = lux.setup(KEY, model)
    assert bool(jnp.all(jnp.isnan(model(array(3), ps, st)[0])))
    assert bool(jnp.all(jnp.isfinite(ps["head.weight"])))
    ps = ps.set("encoder", encoder_ps.params)
    expected, _ = model.children()["head"](module(array(3)), ps.params.head, st["head"])
    assert bits(model(array(3), ps, st)[0]) == bits(expected)
    assert bits(st["encoder"]) == bits(encoder_st)


def test_setup_makes_state_of_the_right_kind(linen_model):
    layer, _, st = lux.tools.from_flax(*linen_model, rngs={"dropout": KEY})
    _, made = lux.setup(KEY, layer)
    assert jax.tree.structure(made) == jax.tree.structure(st)
    assert all(a.dtype == b.dtype for a, b in zip(jax.tree.leaves(made), jax.tree.leaves(st), strict=True))
    nnx_layer, _, st = lux.tools.from_flax(NnxMLP(nnx.Rngs(0)))
    assert jax.tree.structure(lux.setup(KEY, nnx_layer)[1]) == jax.tree.structure(st)


def test_parameters_of_a_foreign_layer_are_saved_and_loaded(tmp_path):
    weight = array(2, 2)
    layer, ps, st = lux.tools.from_equinox(eqx.nn.MLP(2, 2, 4, 1, key=KEY))
    lux.save(tmp_path / "file", ps)
    assert lux.load(tmp_path / "file").layout is ps.layout
    assert bits(layer(weight[0], lux.load(tmp_path / "file"), st)) == bits(layer(weight[0], ps, st))


# Bad input


class Without(eqx.Module):
    size: int


class Growing(linen.Module):
    @linen.compact
    def __call__(self, x):
        count = self.variable("cache", "a" if self.has_variable("cache", "b") else "b", lambda: x)
        return linen.Dense(2, param_dtype=jnp.float64)(x) + count.value


def test_bad_input(unchecked, linen_model):
    module, variables = linen_model
    cases = [
        (lambda: lux.tools.from_pytree({"a": array(2)}, None), LayerError, ["apply_fn", "None"]),
        (lambda: lux.tools.from_pytree({}, jnp.sum), LayerError, ["nothing to train"]),
        (lambda: lux.tools.from_pytree({"a": 1, "f": jnp.sin}, jnp.sum), LayerError, ["nothing to train", "int"]),
        (lambda: lux.tools.from_pytree({"a": jnp.arange(3)}, jnp.sum), LayerError, ["nothing to train"]),
        (lambda: lux.tools.from_pytree({"a b": array(2), "a_b": array(2)}, jnp.sum), LayerError, ["a_b", "two leaves"]),
        (lambda: lux.tools.from_pytree([array(2), {1, 2}], jnp.sum), LayerError, ["hash"]),
        (lambda: lux.tools.from_pytree([array(2), array(2).astype("float32")], jnp.sum), LayoutError, ["float32"]),
        (lambda: lux.tools.from_equinox(jnp.sin), LayerError, ["equinox module", "from_pytree"]),
        (lambda: lux.tools.from_equinox(Without(3)), LayerError, ["__call__", "from_pytree"]),
        (lambda: lux.tools.from_equinox(eqx.nn.Identity()), LayerError, ["nothing to train"]),
        (lambda: lux.tools.from_flax(jnp.sin), LayerError, ["linen or nnx"]),
        (lambda: lux.tools.from_flax(module), LayerError, ["module.init"]),
        (lambda: lux.tools.from_flax(module, {"batch_stats": {}}), LayerError, ["module.init"]),
        (lambda: lux.tools.from_flax(module, {**variables, "rngs": {}}), LayerError, ["rngs"]),
        (lambda: lux.tools.from_flax(NnxMLP(nnx.Rngs(0)), variables), LayerError, ["from_flax(module)"]),
    ]
    for make, kind, parts in cases:
        refused(make, kind, *parts)


def test_a_call_that_adds_variables_is_refused():
    module = Growing()
    variables = module.init(KEY, array(2))
    layer, ps, st = lux.tools.from_flax(module, variables)
    refused(lambda: layer(array(2), ps, st), LayerError, "added or removed")
