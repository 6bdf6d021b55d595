"""Parameters and state used as an array: refused with what to write, which works when it is written; names complete."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import message_of, setup

import sciml_lux as lux
from sciml_lux import LayoutError, ParameterError
from sciml_lux.flatten import flatten

pytestmark = pytest.mark.usefixtures("unchecked")

MODEL = lux.Chain(a=lux.Dense(2, 2), b=lux.BatchNorm(2))
PS, ST = setup(MODEL)
TREES = {"FlatParams": PS, "Params": PS.params, "State": ST}

OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "@": lambda a, b: a @ b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
}


def raised(function):
    with pytest.raises(ParameterError) as caught:
        function()
    return message_of(caught.value)


def written(message, **names):
    """What the first expression that a message says to write gives when it is run."""
    text = message.rpartition("write ")[2].replace('"path"', '"b.running_mean"')
    for end in (len(text), *(place.start() for place in re.finditer(r"[,;]", text))):
        try:
            code = compile(text[:end], "advice", "eval")
        except SyntaxError:
            continue
        return eval(code, {"jax": jax, "jnp": jnp, **names})
    raise AssertionError(f"nothing to run in {message!r}")


@pytest.mark.parametrize("symbol", OPERATIONS)
@pytest.mark.parametrize("kind", TREES)
def test_an_operation_says_what_to_write(kind, symbol):
    tree, operation = TREES[kind], OPERATIONS[symbol]
    other = jnp.ones(PS.layout.size if kind == "FlatParams" else 2) if symbol == "@" else 2.0
    names = {"ps": PS, "tree": PS.params, "st": ST, "other": other}
    message = raised(lambda: operation(tree, other))
    assert f"{kind} is no array, got {kind} {symbol}" in message
    result = written(message, **names)
    if kind == "FlatParams":
        expected = operation(PS.vector, other)
        np.testing.assert_array_equal(getattr(result, "vector", result), expected)
    if symbol not in ("<", ">=", "@"):
        message = raised(lambda: operation(other, tree))
        assert f"float {symbol} {kind}" in message
        written(message, **names)


@pytest.mark.parametrize("kind", TREES)
def test_what_takes_arrays_says_what_it_got(kind):
    tree = TREES[kind]
    for function in (jnp.mean, jnp.asarray, np.array, np.mean, np.exp, jnp.sin, abs, lambda tree: -tree):
        message = raised(lambda function=function: function(tree))
        assert kind in message
        assert "write" in message
    with pytest.raises(TypeError, match="unsupported operand"):
        tree * object()
    for array in (np.ones(2), jnp.ones(2)):
        assert kind in raised(lambda array=array: array * tree)
    with pytest.raises(AttributeError, match="is no array and has no 'shape'; write"):
        _ = tree.shape
    assert not hasattr(tree, "dtype")


def test_the_advice_for_two_trees():
    np.testing.assert_array_equal(written(raised(lambda: PS - PS), ps=PS, other=PS).vector, np.zeros(PS.layout.size))
    zeros = written(raised(lambda: PS.params - PS.params), tree=PS.params, other=PS.params)
    assert not any(leaf.any() for leaf in jax.tree.leaves(zeros))
    assert jnp.mean(PS.vector) == np.mean(np.asarray(PS.vector))


@pytest.mark.parametrize("kind", TREES)
def test_assignment_says_how_to_make_a_new_one(kind):
    tree = TREES[kind]
    path = "b.running_mean" if kind == "State" else "a.bias"

    def assign():
        tree[path] = 1.0

    before = np.array(tree[path])
    new = written(raised(assign), ps=tree, tree=tree, st=tree, value=jnp.ones(2))
    np.testing.assert_array_equal(new[path], [1.0, 1.0])
    np.testing.assert_array_equal(tree[path], before)

    def delete():
        del tree[path]

    assert "is immutable" in raised(delete)


@pytest.mark.parametrize("kind", TREES)
def test_arrays_by_name_are_not_compared_by_equality(kind):
    tree = TREES[kind]
    assert tree == tree
    assert tree != None  # noqa: E711
    assert tree != "ps"
    copy = jax.tree.map(lambda leaf: leaf + 0, tree)
    message = raised(lambda: tree == copy)
    assert written(message, ps=tree, tree=tree, other=copy)
    assert "are not compared by ==" in raised(lambda: tree != copy)
    assert lux.Params(a=1.0) == lux.Params(a=1.0)
    assert lux.Params(a=jnp.ones(2)) != lux.Params(b=jnp.ones(2))
    assert len({PS, PS}) == 1


@pytest.mark.parametrize("kind", TREES)
def test_names_complete(kind):
    tree = TREES[kind]
    assert {"a", "b", "set"} <= set(dir(tree))
    assert {"a", "b", "b.running_mean" if kind == "State" else "a.weight"} <= set(tree._ipython_key_completions_())
    assert all(hasattr(tree, name) for name in dir(tree) if not name.startswith("_"))


def test_what_is_saved_is_parameters_in_a_folder_that_there_is(tmp_path):
    path = tmp_path / "runs" / "one" / "model.safetensors"
    with pytest.raises(FileNotFoundError) as caught:
        lux.save(path, PS)
    message = str(caught.value)
    assert f"there is no folder {path.parent}" in message
    import os

    exec(message.rpartition("write ")[2].removesuffix(" first"), {"os": os})
    for thing, advice in (
        (PS.params, "lux.save(path, lux.flatten.flatten(params))"),
        (lux.Fitted.__new__(lux.Fitted), None),
        (ST, None),
        (jnp.ones(2), None),
    ):
        if isinstance(thing, lux.Fitted):
            object.__setattr__(thing, "ps", PS)
            advice = "lux.save(path, fitted.ps)"
        with pytest.raises(LayoutError, match="save takes a FlatParams, got") as caught:
            lux.save(path, thing)
        code = re.search(r"write (lux\.save\(.*?\))(?:,| with|$)", str(caught.value))[1]
        assert advice is None or code == advice
        exec(code, {"lux": lux, "path": path, "params": PS.params, "fitted": thing, "ps": PS})
        np.testing.assert_array_equal(lux.load(path).vector, PS.vector)


def test_an_argument_that_is_no_layout_is_named():
    with pytest.raises(LayoutError, match=re.escape("write lux.layout_of(layer), or ps.layout")):
        lux.FlatParams(PS.vector, MODEL)
    assert lux.FlatParams(PS.vector, lux.layout_of(MODEL)).layout is PS.layout
    with pytest.raises(LayoutError, match=re.escape("write lux.flatten.flatten(tree)")):
        lux.flatten.select({"a": 1.0}, "a")
    assert lux.flatten.select(flatten({"a": 1.0}), "a").size == 1
    assert lux.flatten.select(MODEL, "a").size == 6
