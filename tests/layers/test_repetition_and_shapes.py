"""One layer many times and along time, layers of shapes, and other precisions, against what they say they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, call, refused, setup
from members import array
from members.custom import CustomLayer

import sciml_lux as lux

pytestmark = pytest.mark.usefixtures("unchecked")


# One layer many times


def unrolled(layer, number, x, ps, st, injection):
    z = x
    for _ in range(number):
        z, st = layer((z, x) if injection else z, ps, st)
    return z, st


class Cell(lux.AbstractLayer):
    """A layer with state on `(z, x)` or on `z` alone."""

    def initial_parameters(self, key):
        return {"rate": jax.random.uniform(key, (3,))}

    def initial_states(self, key):
        return {"calls": jnp.zeros((), jnp.int32), "key": key}

    def __call__(self, x, ps, st):
        z, x = x if isinstance(x, tuple) else (x, jnp.ones_like(x))
        now, later = jax.random.split(st.key)
        noise = jax.random.normal(now, z.shape, z.dtype)
        return jnp.tanh(jnp.broadcast_to(ps.rate, z.shape) * z + 0.1 * x + noise), {"calls": st.calls + 1, "key": later}


@pytest.mark.parametrize("injection", [False, True])
def test_tied_repetition_is_iteration_with_the_state_threaded(injection):
    layer = lux.Repeated(Cell(), 5, tied=True, injection=injection)
    ps, st = setup(layer)
    assert ps.layout.size == 3
    x = array(2, 3)
    y, after = layer(x, ps, st)
    expected, expected_st = unrolled(Cell(), 5, x, ps.params.layer, st.layer, injection)
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    assert after.layer.calls == 5
    assert after.layer.key == expected_st.key

    def loss(ps, run):
        return jnp.sum(run(ps) ** 2)

    got = jax.grad(loss)(ps, lambda ps: layer(x, ps, st)[0]).vector
    wanted = jax.grad(loss)(ps, lambda ps: unrolled(Cell(), 5, x, ps.params.layer, st.layer, injection)[0]).vector
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_untied_repetition_with_injection_is_a_loop_over_its_layers():
    layer = lux.Repeated(Cell(), 3, injection=True)
    ps, st = setup(layer)
    assert ps.layout.size == 9
    x = z = array(2, 3)
    for i in range(3):
        own, state = jax.tree.map(lambda leaf, i=i: leaf[i], (ps.params.layer, st.layer))
        z, _ = Cell()((z, x), own, state)
    y, after = layer(x, ps, st)
    np.testing.assert_allclose(y, z, rtol=1e-13)
    np.testing.assert_array_equal(after.layer.calls, [1, 1, 1])


def test_what_tied_repetition_compiles_to_does_not_grow_with_its_number():
    def operations(number):
        layer = lux.Repeated(lux.Dense(3, 3, jnp.tanh), number, tied=True)
        ps, st = setup(layer)
        program = jax.jit(jax.grad(lambda ps: jnp.sum(layer(jnp.ones(3), ps, st)[0]))).lower(ps).as_text()
        return program.count("stablehlo.")

    assert operations(3) == operations(60)


@pytest.mark.parametrize("tied", [False, True])
def test_what_is_repeated_keeps_shape_and_dtype(tied):
    layer = lux.Repeated(lux.Dense(3, 2), 2, tied=tied)
    refused(lambda: call(layer, jnp.ones(3)), lux.ShapeError, "must keep both", "(2,)", "(3,)")
    half = lux.Repeated(lux.WrappedFunction(lambda x: x.astype(jnp.float32)), 2, tied=tied)
    refused(lambda: call(half, jnp.ones(3)), lux.ShapeError, "must keep both", "float32", "float64")


# Along time


@pytest.mark.parametrize(("axis", "shape"), [(-2, (2, 4, 3)), (0, (4, 2, 3)), (1, (2, 4, 3)), (-2, (4, 3))])
def test_scan_is_a_loop_over_time_with_the_state_threaded(axis, shape):
    layer = lux.Scan(CustomLayer(3), axis=axis)
    ps, st = setup(layer)
    x = array(*shape)
    y, after = layer(x, ps, st)
    state, steps = st.layer, []
    for step in np.moveaxis(np.asarray(x), axis, 0):
        value, state = CustomLayer(3)(jnp.asarray(step), ps.layer, state)
        steps.append(value)
    np.testing.assert_allclose(y, np.stack(steps, axis), rtol=1e-13)
    assert after.layer.calls == 4
    assert after.layer.key == state.key


def test_scan_takes_trees_and_no_steps_at_all():
    layer = lux.Scan(lux.Parallel(lux.Dense(3, 2), lux.NoOp()))
    y, z = call(layer, (array(5, 3), array(5, 1)))
    assert y.shape == (5, 2)
    np.testing.assert_array_equal(z, array(5, 1))
    assert call(lux.Scan(lux.Dense(3, 2)), jnp.zeros((0, 3))).shape == (0, 2)
    refused(lambda: call(layer, (array(5, 3), array(4, 1))), lux.ShapeError, "lengths [4, 5]")
    refused(lambda: call(lux.Scan(lux.NoOp()), array(3)), lux.ShapeError, "axis -2", "(3,)")
    reduced = lux.Scan(lux.WrappedFunction(jnp.sum))
    refused(lambda: call(reduced, array(4, 3)), lux.ShapeError, "axis -2", "(4,)")


def test_a_sequence_is_reversed_before_its_padding():
    x, lengths = array(3, 4, 2), [4, 2, 0]
    np.testing.assert_array_equal(call(lux.ReverseSequence(), x), np.asarray(x)[:, ::-1])
    mask = jnp.arange(4)[None, :] < jnp.array(lengths)[:, None]
    y, same = call(lux.ReverseSequence(), (x, mask))
    assert same is mask
    for row, given, length in zip(np.asarray(y), np.asarray(x), lengths, strict=True):
        np.testing.assert_array_equal(row[:length], given[:length][::-1])
        np.testing.assert_array_equal(row[length:], given[length:])
    again, _ = call(lux.ReverseSequence(), (y, mask))
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize("mask", [jnp.ones((3, 3), bool), jnp.ones(4, bool), jnp.ones(()) > 0, jnp.ones((3, 4))])
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    refused(lambda: call(lux.ReverseSequence(), (array(3, 4, 2), mask)), lux.ShapeError, "mask", "ReverseSequence")


# Shapes


@pytest.mark.parametrize("leading", [(), (5,), (0,), (2, 5)])
def test_shapes_change_behind_the_batch(leading):
    x = array(*leading, 2, 6)
    numbers = np.asarray(x)
    np.testing.assert_array_equal(call(lux.Flatten(2), x), numbers.reshape(*leading, 12))
    np.testing.assert_array_equal(call(lux.Flatten(1), x), numbers)
    np.testing.assert_array_equal(call(lux.Reshape((3, 4), axes=2), x), numbers.reshape(*leading, 3, 4))
    np.testing.assert_array_equal(call(lux.Reshape((3, 2)), x), numbers.reshape(*leading, 2, 3, 2))
    np.testing.assert_array_equal(call(lux.Reshape((-1, 2, 3), axes=2), x), numbers.reshape(*leading, 2, 2, 3))
    np.testing.assert_array_equal(call(lux.SelectDim(-2, 1), x), numbers[..., 1, :])
    np.testing.assert_array_equal(call(lux.SelectDim(-1, -1), x), numbers[..., -1])


def test_shapes_of_nothing():
    assert call(lux.Flatten(2), jnp.zeros((4, 0, 3))).shape == (4, 0)
    assert call(lux.Reshape(()), jnp.zeros((4, 1))).shape == (4,)
    assert call(lux.Reshape((0, 7)), jnp.zeros((4, 0))).shape == (4, 0, 7)


@pytest.mark.parametrize(
    ("layer", "shape", "parts"),
    [
        (lux.Flatten(3), (2, 3), ["the last 3 axes", "(2, 3)"]),
        (lux.Reshape((2, 2)), (5, 6), ["6 elements", "(5, 6)"]),
        (lux.Reshape((-1, 4)), (6,), ["6 elements"]),
        (lux.Reshape((-1, 0)), (0,), ["0 elements"]),
        (lux.SelectDim(2, 0), (3, 3), ["axis 2", "(3, 3)"]),
        (lux.SelectDim(-1, 3), (2, 3), ["no index 3", "(2, 3)"]),
        (lux.SelectDim(0, -3), (2, 3), ["no index -3"]),
        (lux.ReverseSequence(), (3,), ["axis -2", "(3,)"]),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_the_path(layer, shape, parts):
    model = lux.Chain(shaped=layer)
    refused(lambda: call(model, jnp.zeros(shape)), lux.ShapeError, "in layer shaped", *parts)


# Precision


def test_another_precision_inside_and_the_old_one_outside():
    seen = []

    def look(x):
        seen.append(x.dtype)
        return x

    inner = lux.Chain(look, lux.Dense(3, 2, use_bias=False))
    layer = lux.AlternatePrecision(inner, jnp.float32)
    ps, st = setup(layer)
    x = array(4, 3)
    y, _ = layer(x, ps, st)
    assert seen[-1] == jnp.float32
    assert y.dtype == ps.vector.dtype == jnp.float64
    expected = np.asarray(x, np.float32) @ np.asarray(ps["layer.layer_1.weight"], np.float32)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert np.max(np.abs(y - x @ ps["layer.layer_1.weight"])) > 1e-10
    assert jax.grad(lambda ps: jnp.sum(layer(x, ps, st)[0]))(ps).vector.dtype == jnp.float64
    assert lux.AlternatePrecision(inner, "float32") == lux.AlternatePrecision(inner, np.float32) == layer


def test_precision_leaves_alone_what_is_no_floating_number():
    layer = lux.AlternatePrecision(lux.WrappedFunction(lambda x: (x["i"], x["x"].astype(float))), jnp.bfloat16)
    i, x = call(layer, {"i": jnp.arange(3), "x": jnp.ones(2)})
    assert (i.dtype, x.dtype) == (jnp.arange(3).dtype, jnp.float64)
    whole = lux.AlternatePrecision(lux.WrappedFunction(lambda i: i.astype(jnp.bfloat16)), jnp.bfloat16)
    assert call(whole, jnp.arange(3)).dtype == jnp.bfloat16


def test_a_precision_that_is_switched_off_is_refused():
    layer = lux.AlternatePrecision(lux.Dense(2, 2), jnp.float64)
    with jax.enable_x64(False):
        ps, st = setup(layer)
        refused(lambda: layer(jnp.ones(2), ps, st), lux.LayerError, "jax_enable_x64")


def test_frozen_parameters_compute_in_the_dtype_of_the_input():
    model = lux.Chain(lux.Frozen(lux.Dense(2, 3)), lux.Dense(3, 1))
    ps, st = lux.setup(jax.random.key(0), model, jnp.float32)
    y, after = model(jnp.ones(2, jnp.float32), ps, st)
    assert y.dtype == jnp.float32
    assert bits(after) == bits(st)
