"""Trees of arrays with a function as layers: values and gradients are the function's, names are those of the tree."""

import jax
import jax.numpy as jnp
import numpy as np
from foreign_layers import assert_works, loss, usual_promotion  # noqa: F401  a fixture for all tests here
from helpers import bits
from members import array

import sciml_lux as lux


def apply(tree, x, offset=0.0):
    y = x @ tree["layer_10"][0] + tree["layer_9"]["shift"]
    return tree["function"](y * tree["scale"])[..., tree["picked"]] + offset


def make_tree():
    return {
        "layer_10": (array(3, 2), np.arange(2.0)),
        "layer_9": {"shift": array(2)},
        "scale": 0.5,
        "picked": jnp.array([1, 0, 1]),
        "function": jnp.tanh,
        "odd name/1": array(1),
    }


def test_a_tree_of_dicts_lists_and_tuples():
    tree, x = make_tree(), array(4, 3)
    layer, ps, st = lux.tools.from_pytree(tree, apply)
    assert bits(layer(x, ps, st)[0]) == bits(apply(tree, x))
    assert bits(layer(x, ps, st, offset=1.0)[0]) == bits(apply(tree, x, 1.0))
    trained = {name: tree[name] for name in ("layer_10", "layer_9", "scale", "odd name/1")}
    trained["layer_10"] = (trained["layer_10"][0], jnp.asarray(trained["layer_10"][1]))
    gradient = jax.jit(jax.grad(lambda trained: loss(apply({**tree, **trained}, x))))(trained)
    expected = {
        "layer_10.0": gradient["layer_10"][0],
        "layer_10.1": gradient["layer_10"][1],
        "layer_9.shift": gradient["layer_9"]["shift"],
        "scale": gradient["scale"],
        "odd_name_1": gradient["odd name/1"],
    }
    assert_works(layer, ps, st, x, expected)
    assert list(ps) == ["layer_10", "layer_9", "scale", "odd_name_1"]
    assert bits(st) == bits({"picked": tree["picked"]})


def test_complex_leaves_are_parameters():
    layer, ps, st = lux.tools.from_pytree([array(2) + 1j * array(2)[::-1]], lambda tree, x: jnp.real(tree[0] * x))
    assert ps.vector.size == 4
    x = array(2) + 0j
    np.testing.assert_allclose(layer(x, ps, st)[0], jnp.real((array(2) + 1j * array(2)[::-1]) * x))


def test_a_bare_array_and_a_tree_of_numbers():
    layer, ps, st = lux.tools.from_pytree(array(2), lambda w, x: w * x)
    assert list(ps) == ["value"]
    assert bits(layer(array(2), ps, st)[0]) == bits(array(2) * array(2))
    _, ps, _ = lux.tools.from_pytree([1.0, 2.0], lambda tree, x: x)
    assert bits(ps.vector) == bits(jnp.array([1.0, 2.0]))


def test_the_same_array_twice_in_a_tree_is_two_parameters():
    zeros = jnp.zeros(2)
    _, ps, _ = lux.tools.from_pytree({"a": zeros, "b": zeros}, lambda tree, x: x)
    assert ps.vector.size == 4
