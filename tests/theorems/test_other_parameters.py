"""Parameters that a layer does not declare never run in it; whatever else shows what it declares does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from members import LAYERS

import sciml_lux as lux
from sciml_lux import LayoutError, PathError
from sciml_lux.flatten import combine, compute_dtype, flatten, partition, stack, tie, transplant

pytestmark = pytest.mark.usefixtures("unchecked")

OLD, NEW = lux.MLP(2, (8,), 3), lux.MLP(2, (8,), 5)
X = jnp.ones((4, 2))


def declared(layer):
    """The parameters of a layer as zeros, by the paths of the arrays."""
    layout = lux.layout_of(layer)
    return jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(layout.unravel, jax.ShapeDtypeStruct((layout.size,), layout.dtype)),
    )


def without(params, path):
    head, _, rest = path.partition(".")
    kept = {name: without(child, rest) if name == head and rest else child for name, child in params.items()}
    return lux.Params({name: child for name, child in kept.items() if rest or name != head})


@pytest.mark.parametrize("member", LAYERS, ids=lambda member: member.name)
def test_every_layer_refuses_another_shape_a_missing_name_and_one_too_many(member):
    layer = member.make()
    params = declared(layer)
    paths = list(lux.flatten.leaf_paths(params))
    refused(lambda: layer(None, lux.Params({**params, "other": 1.0}), lux.State()), LayoutError, "parameter other: got")
    for path in paths[-1:]:
        refused(lambda path=path: layer(None, without(params, path), lux.State()), PathError, "no path", path[0])
        for value, got in ((None, "None"), ([1.0], "a list"), ("text", "a str")):
            bad = params.set(path, value)
            refused(lambda bad=bad: layer(None, bad, lux.State()), LayoutError, f"parameter {path}: got", got)
        if len(paths) > 1:
            bad = params.set(path, np.zeros((*params[path].shape, 7)))
            refused(lambda bad=bad: layer(None, bad, lux.State()), LayoutError, "parameter ", "got an array of")


def test_the_parameters_of_another_model_flat_structured_or_plain():
    ps, st = flatten(declared(OLD)), lux.State()
    parts = [
        "parameter output.weight: got an array of shape (8, 3), expected an array of shape (8, 5)",
        "MLP(2, (8,), 5)",
    ]
    for other in (ps, ps.params, dict(ps.params.items())):
        refused(lambda other=other: NEW(X, other, st), LayoutError, *parts)
    refused(lambda: NEW(X, stack([ps, ps]), st), LayoutError, "got an array of shape (2, 8, 3)", "leading axes (2,)")
    refused(lambda: jax.jit(NEW)(X, ps, st), LayoutError, *parts)
    refused(lambda: jax.vmap(NEW, (0, None, None))(X, ps, st), LayoutError, *parts)
    refused(lambda: lux.NeuralODE(NEW, t0=0.0, t1=1.0)(X, {"model": ps.params}, st), LayoutError, "model.output")
    nested = lux.Chain(lux.NoOp(), inner=NEW)
    refused(lambda: nested(X, {"layer_0": {}, "inner": ps.params}, st), LayoutError, "inner.output.weight")


def test_the_advice_is_followed():
    old, (ps, st) = flatten(declared(OLD)), setup(NEW)
    moved, report = transplant(old, ps)
    assert jax.eval_shape(NEW, X, moved, st)[0].shape == (4, 5)
    assert report.reshaped == ("output.weight", "output.bias")


def test_a_layer_less_and_an_array_more_are_refused():
    long, short = lux.Chain(lux.Dense(2, 2), lux.Dense(2, 2)), lux.Chain(lux.Dense(2, 2))
    (ps, st), (fewer, _) = setup(long), setup(short)
    refused(lambda: long(X, fewer, st), PathError, "no path 'layer_1'")
    assert jax.eval_shape(long[:1], X, ps, st)[0].shape == X.shape  # a part of a chain runs on the whole
    refused(lambda: long(X, {**ps.params, "scale": 1.0}, st), LayoutError, "parameter scale: got", "none of that name")
    biased, plain = lux.Dense(2, 2), lux.Dense(2, 2, use_bias=False)
    refused(lambda: plain(X, setup(biased)[0], lux.State()), LayoutError, "parameter bias: got")


class LowRankUpdate(lux.Dense):
    """A dense layer whose weight is that of its base and a product of two vectors."""

    def initial_parameters(self, key):
        base = super().initial_parameters(key)
        return {**base, "left": jnp.ones((2, 1)), "right": jnp.ones((1, 2))}

    def __call__(self, x, ps, st):
        return super().__call__(x, lux.Params(weight=ps.weight + ps.left @ ps.right, bias=ps.bias), st)


class NeedsNumbers(lux.AbstractLayer):
    """Declares as many parameters as its key says, which nobody knows without computing it."""

    def initial_parameters(self, key):
        return {f"a_{i}": jnp.ones(()) for i in range(int(jax.random.randint(key, (), 1, 4)))}

    def __call__(self, x, ps, st):
        return x * ps.a_0, st


def test_whatever_shows_what_is_declared_runs():
    model = lux.Chain(a=lux.Dense(2, 2), b=lux.Dense(2, 2))
    ps, st = setup(model)
    batch = stack([ps, ps])
    for same in (
        combine(*partition(ps, "a")),
        tie(ps, ["a", "b"]),
        dict(ps.params.items()),
        {"b": ps["b"], "a": {"bias": ps["a.bias"], "weight": np.asarray(ps["a.weight"])}},
        flatten({"a": ps["a"], "b": {"weight": lux.Parameter(ps["b.weight"]), "bias": lux.fixed(ps["b.bias"])}}),
        jax.ShapeDtypeStruct(ps.vector.shape, ps.vector.dtype),
    ):
        same = jax.eval_shape(ps.replace, same) if isinstance(same, jax.ShapeDtypeStruct) else same
        assert jax.eval_shape(model, X, same, st)[0].shape == X.shape
    for same in (batch, batch.params):
        assert jax.eval_shape(jax.vmap(model, (None, 0, None)), X, same, st)[0].shape == (2, *X.shape)
    half = compute_dtype(ps, {"*": jnp.bfloat16})
    assert jax.eval_shape(model, X.astype(jnp.bfloat16), half, st)[0].dtype == jnp.bfloat16
    frozen, ps, st = lux.tools.freeze(model, ps, st, "a")
    assert jax.eval_shape(frozen, X, ps, st)[0].shape == X.shape


def test_a_subclass_gives_its_base_what_it_makes_of_its_own():
    layer = LowRankUpdate(2, 2)
    ps, st = setup(layer)
    expected = np.asarray(X) @ (np.asarray(ps["weight"]) + 1.0) + np.asarray(ps["bias"])
    np.testing.assert_allclose(layer(X, ps, st)[0], expected, rtol=1e-14)
    refused(lambda: layer(X, setup(lux.Dense(2, 2))[0], st), PathError, "no path 'left'")


def test_a_layer_that_is_known_by_its_key_alone_is_not_checked():
    layer = NeedsNumbers()
    ps, st = setup(layer)
    np.testing.assert_array_equal(layer(X, ps, st)[0], X)


def test_a_file_is_that_of_the_model(path):
    ps = setup(OLD)[0]
    lux.save(path, ps)
    for like in (OLD, ps, lux.layout_of(OLD)):
        np.testing.assert_array_equal(lux.load(path, like=like).vector, ps.vector)
    for like in (NEW, setup(NEW)[0], lux.layout_of(NEW)):
        refused(
            lambda like=like: lux.load(path, like=like),
            LayoutError,
            "parameter output.weight: got shape (8, 3), expected shape (8, 5)",
            "lux.flatten.transplant(lux.load(path), ps)",
        )
    refused(lambda: lux.load(path, like=lux.Dense(2, 8)), LayoutError, "parameter weight: got none")
    refused(lambda: lux.load(path, like=lux.Params()), LayoutError, "a layout, parameters (FlatParams) or a layer")
    tied = tie(flatten({"a": jnp.ones(2), "b": jnp.ones(2)}), ["a", "b"])
    lux.save(path, tied)
    assert lux.load(path, like=flatten({"a": jnp.ones(2), "b": jnp.ones(2)})).layout is tied.layout
    assert lux.load(path, like=tied.layout, dtype=jnp.float32).layout.dtype == jnp.float32
