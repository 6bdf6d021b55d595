"""Convolutions: theorems, bad input, and both ways of computing them. PyTorch's figures: `torch_oracle/convolution.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from members import array

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError
from sciml_lux.kernels.convolution import _correlate

KINDS = {
    "plain": lux.Conv(2, 3, (3, 2), padding=1),
    "strides": lux.Conv(2, 3, (2, 3), stride=(3, 2), dilation=2, padding=2),
    "one channel": lux.Conv(1, 3, (2, 2), padding="SAME"),
    "groups": lux.Conv(4, 6, (2, 2), groups=2, stride=2),
    "each channel": lux.Conv(3, 6, (3, 2), groups=3, stride=2, padding=1),
    "long": lux.Conv(3, 3, (7, 5), groups=3, stride=2, padding=3),
    "transposed": lux.ConvTranspose(2, 3, (3, 2), padding=1),
    "transposed strides": lux.ConvTranspose(2, 3, (2, 3), stride=(3, 2), output_padding=1),
    "transposed groups": lux.ConvTranspose(4, 6, (2, 2), groups=2, stride=2),
    "transposed channels": lux.ConvTranspose(3, 6, (3, 2), groups=3, stride=2, padding=1),
    "transposed, long": lux.ConvTranspose(3, 3, (7, 5), groups=3, stride=2),
}
every_kind = pytest.mark.parametrize("layer", KINDS.values(), ids=KINDS)
some_kinds = pytest.mark.parametrize(
    "layer",
    [pytest.param(layer, marks=[pytest.mark.slow] * (i % 3 > 0)) for i, layer in enumerate(KINDS.values())],
    ids=KINDS,
)


def made(layer):
    ps, st = setup(layer)
    return ps.replace(ps.vector + 0.1 * array(ps.layout.size)), st


def of_input(layer):
    return array(2, 6, 5, layer.in_channels)


def everything(layer, ps, st, x):
    """Output, gradients, a tangent, and second derivatives in a direction, forward over reverse and reverse over reverse."""
    loss = lambda ps, x: jnp.sum(jnp.sin(layer(x, ps, st)[0]))  # noqa: E731
    gradient = jax.grad(loss, argnums=(0, 1))
    direction = (ps, jnp.cos(x))
    inner = lambda ps, x: sum(  # noqa: E731
        jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient(ps, x)), jax.tree.leaves(direction), strict=True)
    )
    hessian = jax.jvp(gradient, (ps, x), direction)[1], jax.grad(inner, argnums=(0, 1))(ps, x)
    return layer(x, ps, st)[0], gradient(ps, x), jax.jvp(loss, (ps, x), direction)[1], hessian


@every_kind
def test_the_products_written_for_the_cpu_are_those_of_xla(layer, monkeypatch):
    ps, st = made(layer)
    ours = jax.jit(lambda ps, x: everything(layer, ps, st, x))(ps, of_input(layer))
    monkeypatch.setattr(_correlate, "may_specialize", lambda *arrays: False)
    theirs = jax.jit(lambda ps, x: everything(layer, ps, st, x))(ps, of_input(layer))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), ours, theirs)
    forward, reverse = ours[3]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), forward, reverse)


@every_kind
def test_gradients_for_each_sample_are_the_gradients_of_each_sample(layer):
    ps, st = made(layer)
    x = of_input(layer)
    gradient = jax.grad(lambda ps, x: jnp.sum(jnp.sin(layer(x, ps, st)[0])))
    each, of_one = jax.jit(jax.vmap(gradient, in_axes=(None, 0)))(ps, x).vector, jax.jit(gradient)
    np.testing.assert_allclose(each, jnp.stack([of_one(ps, one).vector for one in x]), rtol=1e-12, atol=1e-12)


@some_kinds
def test_several_weights_at_once_are_each_alone(layer):
    ps, st = made(layer)
    vectors, x = jnp.stack([ps.vector, jnp.cos(ps.vector), 2 * ps.vector]), of_input(layer)
    gradient = lambda vector, x: jax.grad(lambda x: jnp.sum(jnp.sin(layer(x, ps.replace(vector), st)[0])))(x)  # noqa: E731
    together = jax.jit(jax.vmap(gradient, in_axes=(0, None), out_axes=1))(vectors, x)
    np.testing.assert_allclose(
        together, jnp.stack([gradient(vector, x) for vector in vectors], axis=1), rtol=1e-12, atol=1e-12
    )
    xs = jnp.stack([x, jnp.sin(x), x**2], axis=-1)
    pairs = jax.jit(jax.vmap(gradient, in_axes=(0, -1)))(vectors, xs)
    np.testing.assert_allclose(
        pairs, jnp.stack([gradient(vectors[i], xs[..., i]) for i in range(3)]), rtol=1e-12, atol=1e-12
    )


@some_kinds
def test_gradients_in_bfloat16_are_those_in_float64_rounded(layer):
    ps, st = made(layer)
    x = of_input(layer)
    short = jnp.bfloat16
    gradient = jax.jit(jax.grad(lambda ps, x: jnp.sum(layer(x, ps, st)[0] ** 2), argnums=(0, 1)))
    exact = gradient(ps, x)
    low, _ = setup(layer, dtype=short)
    rounded = gradient(low.replace(ps.vector.astype(short)), x.astype(short))
    for a, b in zip(jax.tree.leaves(rounded), jax.tree.leaves(exact), strict=True):
        assert a.dtype == short
        np.testing.assert_allclose(a.astype(float), b, rtol=0.05, atol=0.05 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("kernel", [(3,), (4,), (5,)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_transposed_convolution_is_the_transpose_of_the_convolution(kernel, stride):
    conv = lux.Conv(2, 3, kernel, stride=stride, padding="SAME", use_bias=False)
    transpose = lux.ConvTranspose(3, 2, kernel, stride=stride, padding="SAME", use_bias=False)
    ps, st = made(conv)
    x, z = array(4 * stride, 2), array(4, 3)
    swapped = lux.Params(weight=jnp.swapaxes(ps["weight"], -1, -2))
    y, back = conv(x, ps, st)[0], transpose(z, swapped, st)[0]
    assert y.shape == z.shape
    assert back.shape == x.shape
    np.testing.assert_allclose(jnp.vdot(y, z), jnp.vdot(x, back), rtol=1e-12)


def test_same_padding_puts_the_odd_element_behind():
    layer = lux.Conv(1, 1, (4,), padding="SAME", use_bias=False)
    y, _ = layer(
        jnp.array([[1.0], [2.0], [3.0]]), lux.Params(weight=jnp.array([1.0, 10.0, 100.0, 1000.0])[:, None, None]), {}
    )
    np.testing.assert_array_equal(y[:, 0], [3210.0, 321.0, 32.0])  # of 0 1 2 3 0 0


@pytest.mark.parametrize("size", [1, 4, 5, 6])
def test_same_padding_gives_the_size_over_the_stride_rounded_up(size):
    for stride in (1, 2, 3):
        assert lux.output_shape(lux.Conv(1, 1, (3,), stride=stride, padding="SAME"), (size, 1)) == (
            -(-size // stride),
            1,
        )
        for kernel in (1, 2, 5):
            layer = lux.ConvTranspose(1, 1, (kernel,), stride=stride, padding="SAME")
            assert lux.output_shape(layer, (size, 1)) == (size * stride, 1)


def test_padding_in_pairs_is_zeros_around():
    layer = lux.Conv(2, 3, (2, 3), padding=((1, 0), (0, 2)))
    ps, st = made(layer)
    x = array(3, 4, 2)
    plain = lux.Conv(2, 3, (2, 3))
    expected, _ = plain(jnp.pad(x, ((1, 0), (0, 2), (0, 0))), ps, st)
    np.testing.assert_allclose(layer(x, ps, st)[0], expected, rtol=1e-12)


@some_kinds
def test_leading_axes_are_a_batch(layer):
    ps, st = made(layer)
    x = array(2, 3, 6, 5, layer.in_channels)
    y, _ = layer(x, ps, st)
    expected = jnp.stack([jnp.stack([layer(x[i, j], ps, st)[0] for j in range(3)]) for i in range(2)])
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@every_kind
def test_an_empty_batch_gives_none(layer):
    ps, st = made(layer)
    x = jnp.zeros((0, 6, 5, layer.in_channels))
    y, _ = layer(x, ps, st)
    assert y.shape == (0, *lux.output_shape(layer, x.shape[1:]))
    gradient = jax.grad(lambda ps: jnp.sum(layer(x, ps, st)[0]))(ps)
    np.testing.assert_array_equal(gradient.vector, 0.0)


@pytest.mark.parametrize("kind", ["plain", "transposed groups"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_images_of_another_dtype_are_promoted(kind, dtype):
    layer = KINDS[kind]
    ps, st = made(layer)
    x = of_input(layer).astype(dtype)
    expected = layer(x.astype(float), ps, st)[0]
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(layer(x, ps, st)[0], expected, rtol=1e-12)


def test_a_loop_computes_the_gradients_that_one_step_computes():
    # XLA lays out convolutions in loops differently.
    layer = lux.Conv(2, 2, (3, 3), jnp.tanh, padding=1)
    ps, st = made(layer)
    x = array(2, 4, 4, 2)

    def deep(ps):
        return jnp.sum(jax.lax.scan(lambda x, _: (layer(x, ps, st)[0], None), x, None, length=3)[0])

    def unrolled(ps):
        y = x
        for _ in range(3):
            y, _ = layer(y, ps, st)
        return jnp.sum(y)

    np.testing.assert_allclose(jax.grad(deep)(ps).vector, jax.grad(unrolled)(ps).vector, rtol=1e-11, atol=1e-12)


def test_bad_arguments_are_refused_at_construction(unchecked):
    for cls in (lux.Conv, lux.ConvTranspose):
        refused(lambda: cls(3, 4, 3), LayerError, "kernel_size=(3,) for series, kernel_size=(3, 3) for images")  # noqa: B023
    for kernel in ((), (0, 3), (3, 3, 3, 3), (2.5,), [3, 3], "33", (True,)):
        refused(lambda: lux.Conv(3, 4, kernel), LayerError, "kernel_size is a tuple of one to three", repr(kernel))  # noqa: B023
    refused(lambda: lux.Conv(0, 4, (3,)), LayerError, "in_channels")
    refused(lambda: lux.Conv(3, "4", (3,)), LayerError, "out_channels", "'4'")
    refused(lambda: lux.Conv(3, 4, (3, 3), "relu"), LayerError, "activation")
    for stride in (0, -1, 1.5, (1,), (1, 2, 3), "2"):
        refused(lambda: lux.Conv(3, 4, (3, 3), stride=stride), LayerError, "stride", "a tuple of 2", repr(stride))  # noqa: B023
    refused(lambda: lux.Conv(3, 4, (3, 3), dilation=0), LayerError, "dilation")
    for padding in ("same", -1, (1, 1, 1), ((1, 2, 3), 0), ((1, -1), 0), None, 1.0):
        refused(lambda: lux.Conv(3, 4, (3, 3), padding=padding), LayerError, "padding", '"SAME"', repr(padding))  # noqa: B023
    refused(lambda: lux.Conv(3, 4, (3,), groups=2), LayerError, "groups must divide", "groups=2", "3 and 4")
    refused(lambda: lux.Conv(3, 4, (3,), groups=0), LayerError, "groups")
    refused(lambda: lux.Conv(3, 4, (3,), use_bias="no"), LayerError, "use_bias")
    refused(lambda: lux.ConvTranspose(3, 4, (3,), output_padding=1), LayerError, "output_padding is less than")
    refused(
        lambda: lux.ConvTranspose(3, 4, (3,), stride=2, output_padding=2), LayerError, "output_padding is less than"
    )
    refused(lambda: lux.ConvTranspose(3, 4, (3,), stride=2, output_padding=-1), LayerError, "output_padding")
    refused(
        lambda: lux.ConvTranspose(3, 4, (3,), stride=2, output_padding=1, padding="SAME"),
        LayerError,
        "fixes the output size",
    )


def test_bad_inputs_are_refused_with_the_path():
    model = lux.Chain(lux.Conv(3, 4, (3, 3)), lux.ConvTranspose(4, 2, (2, 2), padding=3))
    ps, st = setup(model)
    refused(
        lambda: model(jnp.zeros((2, 3, 8, 8)), ps, st),
        ShapeError,
        "3 channels), with the channels last",
        "(2, 3, 8, 8)",
        "layer_0",
    )
    refused(lambda: model(jnp.zeros((8, 3)), ps, st), ShapeError, "2 spatial axes", "layer_0")
    refused(
        lambda: model(jnp.zeros((1, 2, 8, 3)), ps, st),
        ShapeError,
        "does not fit into spatial axes of (2, 8)",
        "layer_0",
    )
    refused(lambda: model(jnp.zeros((1, 4, 4, 3)), ps, st), ShapeError, "an output of (-3, -3)", "layer_1")
