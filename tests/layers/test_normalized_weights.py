"""`WeightNorm` and `SpectralNorm`: what the wrapped layer gets to see, theorems on it, refusals. Figures of PyTorch: `torch_oracle/`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, PathError
from sciml_lux.flatten import leaf_paths


class Shown(lux.AbstractLayer):
    """A layer whose result is its weight, so that a wrapper's work is seen."""

    shape: tuple[int, ...]
    init_weight: object = lux.init.normal(std=1.0)

    def initial_parameters(self, key):
        return {"weight": self.init_weight(key, self.shape), "shift": lux.real(0.0)}

    def __call__(self, x, ps, st):
        return ps.weight, st


SHAPES = [(3, 5), (2, 2, 3, 4), (6, 1)]


def moved(ps):
    """Other parameters than the start."""
    return ps.replace(ps.vector + jnp.sin(jnp.arange(1.0, 1.0 + ps.layout.size)))


def columns(weight):
    return np.asarray(weight).reshape(-1, weight.shape[-1])


def largest(weight):
    """The largest singular value."""
    return np.linalg.svd(columns(weight), compute_uv=False)[0]


# WeightNorm


@pytest.mark.parametrize("shape", SHAPES)
def test_the_start_is_that_of_the_layer(shape):
    ps, st = setup(lux.WeightNorm(Shown(shape)))
    weight, _ = lux.WeightNorm(Shown(shape))(None, ps, st)
    np.testing.assert_allclose(weight, ps["layer.weight.direction"], rtol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_magnitude_is_the_norm_and_the_direction_the_rest(shape):
    layer = lux.WeightNorm(Shown(shape))
    ps, st = setup(layer)
    ps = moved(ps)
    weight, _ = layer(None, ps, st)
    direction, magnitude = columns(ps["layer.weight.direction"]), ps["layer.weight.magnitude"]
    assert magnitude.shape == (1,) * (len(shape) - 1) + shape[-1:]
    np.testing.assert_allclose(columns(weight), np.ravel(magnitude) * direction / np.linalg.norm(direction, axis=0))


def test_the_gradient_of_the_direction_is_perpendicular_to_it():
    layer = lux.WeightNorm(Shown((3, 5)))
    ps, st = setup(layer)
    gradient = jax.grad(lambda ps: jnp.sum(jnp.sin(layer(None, ps, st)[0])))(moved(ps))
    inner = jnp.sum(gradient["layer.weight.direction"] * moved(ps)["layer.weight.direction"], 0)
    np.testing.assert_allclose(inner, 0.0, atol=1e-14)


def test_one_wrapper_around_many_layers_is_one_around_each():
    inside = lux.Chain(lux.WeightNorm(lux.Dense(3, 4, jnp.tanh)), lux.Chain(lux.WeightNorm(lux.Dense(4, 2))))
    around = lux.WeightNorm(
        lux.Chain(lux.Dense(3, 4, jnp.tanh), lux.Chain(lux.Dense(4, 2))), ("layer_0.weight", "layer_1.layer_0.weight")
    )
    ps, st = setup(inside)
    others, other_state = setup(around)
    assert [path.replace("layer.", "") for path in leaf_paths(ps.params)] == [
        path.removeprefix("layer.").replace("layer.", "") for path in leaf_paths(others.params)
    ]
    x, others = jnp.ones((2, 3)), others.replace(moved(ps).vector)
    np.testing.assert_allclose(inside(x, moved(ps), st)[0], around(x, others, other_state)[0], rtol=1e-14)


# SpectralNorm


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_singular_value_becomes_one(shape):
    layer = lux.SpectralNorm(Shown(shape), iterations=10)
    ps, st = setup(layer)
    call = jax.jit(layer)
    for _ in range(50):
        weight, st = call(None, ps, st)
    np.testing.assert_allclose(largest(weight), 1.0, rtol=1e-10)
    np.testing.assert_allclose(columns(weight), columns(ps["layer.weight"]) / largest(ps["layer.weight"]), rtol=1e-9)


def test_the_vectors_are_singular_vectors_of_the_weight():
    layer = lux.SpectralNorm(Shown((3, 5)), iterations=500)
    ps, st = setup(layer)
    _, st = layer(None, ps, st)
    left, _, right = np.linalg.svd(np.asarray(ps["layer.weight"]).T)
    found = st["vectors.weight"]
    np.testing.assert_allclose(np.outer(found.left, found.right), np.outer(left[:, 0], right[0]), atol=1e-10)


def test_before_any_training_a_test_is_nearly_normalized_and_leaves_no_trace():
    layer = lux.SpectralNorm(Shown((3, 5)))
    ps, st = setup(layer)
    weight, after = layer(None, ps, lux.test_mode(st))
    np.testing.assert_allclose(largest(weight), 1.0, rtol=0.05)
    assert bits(after) == bits(st)


def test_in_test_mode_the_vectors_stay_and_the_weight_is_divided_by_what_they_say():
    layer = lux.SpectralNorm(Shown((3, 5)))
    ps, st = setup(layer)
    _, st = layer(None, ps, st)
    weight, after = layer(None, moved(ps), lux.test_mode(st))
    other, vectors = moved(ps)["layer.weight"], st["vectors.weight"]
    np.testing.assert_allclose(weight, other / (vectors.left @ other.T @ vectors.right), rtol=1e-12)
    assert bits(after) == bits(st)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_call_in_train_mode_takes_the_steps_asked_for(shape):
    layer = lux.SpectralNorm(Shown(shape), iterations=2)
    ps, st = setup(layer)
    _, st = layer(None, ps, st)
    ps = moved(ps)
    _, after = layer(None, ps, st)
    in_front = (-1, -2, *range(len(shape) - 2))  # PyTorch's order of the axes
    matrix = np.transpose(ps["layer.weight"], in_front).reshape(shape[-1], -1)
    right = np.asarray(st["vectors.weight.right"])
    for _ in range(2):
        left = matrix @ right / np.linalg.norm(matrix @ right)
        right = left @ matrix / np.linalg.norm(left @ matrix)
    np.testing.assert_allclose(after["vectors.weight.left"], left, rtol=1e-12)
    np.testing.assert_allclose(after["vectors.weight.right"], right, rtol=1e-12)


# Both


@pytest.mark.parametrize("wrapper", [lux.WeightNorm, lux.SpectralNorm])
def test_weights_of_zero_stay_zero_with_finite_gradients(wrapper):
    layer = wrapper(Shown((3, 2), lux.init.zeros()))
    ps, st = setup(layer)
    weight, _ = layer(None, ps, st)
    np.testing.assert_array_equal(weight, 0.0)
    gradient = jax.grad(lambda ps: jnp.sum(layer(None, ps, st)[0]))(ps)
    assert jnp.all(jnp.isfinite(gradient.vector))


def test_a_weight_that_was_zero_is_normalized_once_it_is_not():
    layer = lux.SpectralNorm(Shown((3, 2), lux.init.zeros()))
    ps, st = setup(layer)
    for _ in range(2):
        _, st = layer(None, ps, st)
    weight, _ = layer(None, moved(ps), st)
    np.testing.assert_allclose(largest(weight), 1.0, rtol=0.05)


@pytest.mark.parametrize("wrapper", [lux.WeightNorm, lux.SpectralNorm])
def test_halves_are_normalized_in_float32(wrapper):
    layer = wrapper(Shown((64, 8)))
    ps, st = setup(layer, dtype=jnp.bfloat16)
    weight, after = layer(None, ps, st)
    assert weight.dtype == jnp.bfloat16
    exact, _ = layer(None, jax.tree.map(lambda leaf: leaf.astype(float), ps.params), st)
    np.testing.assert_allclose(weight.astype(float), exact, rtol=2**-7)
    assert jax.tree.map(jnp.result_type, after) == jax.tree.map(jnp.result_type, st)


@pytest.mark.parametrize("wrapper", [lux.WeightNorm, lux.SpectralNorm])
@pytest.mark.parametrize(
    ("layer", "names", "kind", "parts"),
    [
        (lux.Dense(3, 2), ("weigth",), PathError, ["'weigth'", "nearest: weight"]),
        (lux.Chain(lux.Dense(3, 2)), ("layer_0",), PathError, ["'layer_0'"]),
        (lux.Dense(3, 2), "weight", LayerError, ["tuple of paths", "'weight'", '("weight",)']),
        (lux.Dense(3, 2), (), LayerError, ["tuple of paths"]),
        (lux.Dense(3, 2), ("weight", "weight"), LayerError, ["twice"]),
        (jnp.tanh, ("weight",), LayerError, ["layer is a layer", "WrappedFunction"]),
        (Shown((2, 2)), ("shift",), LayerError, ["shift", "axes"]),
        (lux.ParameterDict(k=lux.positive([1.0, 2.0])), ("k",), LayerError, ["k", "Positive"]),
    ],
)
def test_names_that_cannot_be_are_refused_at_once(wrapper, layer, names, kind, parts, unchecked):
    refused(lambda: wrapper(layer, names), kind, wrapper.__name__ if kind is PathError else "", *parts)


def test_a_vector_has_no_spectral_norm():
    refused(lambda: lux.SpectralNorm(lux.Scale(3)), LayerError, "(3,)", "2 or more axes")
    refused(lambda: lux.SpectralNorm(lux.Dense(3, 2), iterations=0), LayerError, "iterations", "got 0")


# From PyTorch


@pytest.mark.parametrize("wrapper", [lux.WeightNorm, lux.SpectralNorm])
def test_arrays_go_to_pytorch_and_back(wrapper):
    layer = lux.Chain(lux.BatchNorm(3), wrapper(lux.Dense(3, 2)))
    ps, st = setup(layer)
    _, st = layer(jnp.arange(12.0).reshape(4, 3), ps, st)
    weight = {
        lux.WeightNorm: {"original0": np.zeros((2, 1)), "original1": np.zeros((2, 3))},
        lux.SpectralNorm: {"original": np.zeros((2, 3)), "0._u": np.zeros(2), "0._v": np.zeros(3)},
    }[wrapper]
    names = {f"0.{name}": np.zeros(3) for name in ("weight", "bias", "running_mean", "running_var")}
    names |= {"0.num_batches_tracked": np.zeros(()), "1.bias": np.zeros(2)}
    names |= {f"1.parametrizations.weight.{name}": value for name, value in weight.items()}
    again, state = lux.tools.from_torch(lux.tools.to_torch(moved(ps), st, layer, names), layer)
    np.testing.assert_array_equal(again.vector, moved(ps).vector)
    jax.tree.map(np.testing.assert_array_equal, state, st)


@pytest.mark.parametrize("wrapper", [lux.WeightNorm, lux.SpectralNorm])
def test_only_single_layers_come_from_pytorch_normalized(wrapper):
    layer = wrapper(lux.Chain(lux.Dense(3, 2)), ("layer_0.weight",))
    refused(
        lambda: lux.tools.from_torch({"0.bias": np.zeros(2)}, layer),
        LayerError,
        "one layer at a time",
        wrapper.__name__,
    )
