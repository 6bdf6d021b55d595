"""Recurrent layers beside PyTorch's figures: theorems about masks, directions, carries and derivatives; what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import directional_difference, refused, setup
from members import array
from members.recurrent import Leaky

import sciml_lux as lux

CELLS = {"rnn": lux.RNNCell, "lstm": lux.LSTMCell, "gru": lux.GRUCell}
every_cell = pytest.mark.parametrize("kind", CELLS)
LENGTHS = (4, 0, 2)
MASK = jnp.asarray(np.arange(4)[None, :] < np.array(LENGTHS)[:, None])


def made(kind, **options):
    cell = Leaky(3) if kind == "leaky" else CELLS[kind](3, 2, train_carry=True)
    layer = lux.Recurrence(cell, **options)
    ps, st = setup(layer)
    return layer, ps.replace(ps.vector + 0.3 * array(ps.layout.size)), lux.test_mode(st)


def stepped(layer, x, ps, st, mask=None):
    """The recurrence as a Python loop over one sequence."""
    carry, st, ys = layer.cell.initial_carry(ps.cell, x.shape[:-2], x.dtype), st.cell, []
    for t in range(x.shape[-2]):
        if mask is None or mask[t]:
            (y, carry), st = layer.cell((x[..., t, :], carry), ps.cell, st)
        else:
            y = jnp.zeros(x.shape[:-2] + y.shape[-1:])
        ys.append(y)
    return jnp.stack(ys, -2), carry


# Steps, carries, directions


@pytest.mark.parametrize("kind", [*CELLS, "leaky"])
def test_a_recurrence_is_a_loop(kind):
    layer, ps, st = made(kind)
    x = array(2, 1, 4, 3)
    expected, carry = stepped(layer, x, ps, st)
    (ys, last, after), _ = layer.run(x, ps, st)
    np.testing.assert_allclose(ys, expected, rtol=1e-12)
    np.testing.assert_allclose(last, expected[..., -1, :], rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after, carry)
    np.testing.assert_array_equal(layer(x, ps, st)[0], ys)


@pytest.mark.parametrize("kind", [*CELLS, "leaky"])
def test_two_halves_of_a_sequence_are_the_whole(kind):
    layer, ps, st = made(kind)
    x = array(2, 5, 3)
    (first, _, carry), st = layer.run(x[:, :2], ps, st)
    (second, last, _), st = layer.run(x[:, 2:], ps, st, carry=carry)
    (ys, expected, _), _ = layer.run(x, ps, made(kind)[2])
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), ys, rtol=1e-12)
    np.testing.assert_allclose(last, expected, rtol=1e-12)


@every_cell
def test_reverse_is_the_sequence_turned_round(kind):
    forward, ps, st = made(kind)
    backward = lux.Recurrence(forward.cell, reverse=True)
    x = array(2, 4, 3)
    (ys, last, carry), _ = forward.run(x[:, ::-1], ps, st)
    (turned, turned_last, turned_carry), _ = backward.run(x, ps, st)
    np.testing.assert_allclose(turned, ys[:, ::-1], rtol=1e-12)
    np.testing.assert_allclose(turned_last, last, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), turned_carry, carry)


@every_cell
@pytest.mark.parametrize("unroll", [2, 3, 9])
def test_unrolling_changes_nothing(kind, unroll):
    layer, ps, st = made(kind)
    other = lux.Recurrence(layer.cell, unroll=unroll)
    np.testing.assert_allclose(other(array(4, 3), ps, st)[0], layer(array(4, 3), ps, st)[0], rtol=1e-12)


def test_a_stateful_cell_is_a_recurrence_step_by_step():
    layer, ps, st = made("lstm")
    one = lux.StatefulRecurrentCell(layer.cell, batch_shape=(2,))
    state = setup(one)[1]
    x = array(2, 3, 3)
    expected, _ = layer(x, ps, st)
    for _ in range(2):
        for t in range(3):
            y, state = one(x[:, t], ps, state)
            np.testing.assert_allclose(y, expected[:, t], rtol=1e-12)
        state = lux.update_state(state, "started", jnp.array(False))


def test_the_carry_of_a_stateful_cell_keeps_its_dtype():
    one = lux.StatefulRecurrentCell(lux.GRUCell(3, 2))
    ps, st = setup(one, dtype=jnp.bfloat16)
    y, after = one(array(3).astype(jnp.bfloat16), ps, st)
    assert y.dtype == jnp.bfloat16
    assert after.carry["0"].dtype == st.carry["0"].dtype == jnp.float64


@every_cell
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bfloat16])
def test_inputs_of_another_dtype_are_promoted(kind, dtype):
    layer, ps, st = made(kind)
    x = (3 * array(2, 3, 3)).astype(dtype)
    expected = layer(x.astype(float), ps, st)[0]
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(layer(x, ps, st)[0], expected, rtol=1e-12)


# Masks


@pytest.mark.parametrize("kind", [*CELLS, "leaky"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_padded_sequence_is_the_short_one(kind, reverse):
    layer, ps, st = made(kind, reverse=reverse)
    x = array(3, 4, 3)
    (ys, last, carry), _ = layer.run(x, ps, st, MASK)
    for i, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(ys[i, length:], 0.0)
        if not length:
            np.testing.assert_array_equal(last[i], 0.0)
            continue
        (short, short_last, short_carry), _ = layer.run(x[i, :length], ps, st)
        np.testing.assert_allclose(ys[i, :length], short, rtol=1e-12)
        np.testing.assert_allclose(last[i], short_last, rtol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-12), carry, short_carry)  # noqa: B023


@every_cell
def test_holes_are_skipped(kind):
    layer, ps, st = made(kind)
    x, mask = array(5, 3), jnp.array([False, True, False, True, False])
    (ys, last, _), _ = layer.run(x, ps, st, mask)
    (short, short_last, _), _ = layer.run(x[mask], ps, st)
    np.testing.assert_allclose(ys[mask], short, rtol=1e-12)
    np.testing.assert_array_equal(ys[~mask], 0.0)
    np.testing.assert_allclose(last, short_last, rtol=1e-12)


@every_cell
def test_what_stands_in_the_padding_does_not_matter(kind):
    layer, ps, st = made(kind)

    def loss(ps, x):
        (ys, last, _), _ = layer.run(x, ps, st, MASK)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(last)

    x = array(3, 4, 3)
    garbage = jnp.where(MASK[..., None], x, 1e30)
    by_ps, by_x = jax.grad(loss, argnums=(0, 1))(ps, garbage)
    np.testing.assert_allclose(by_ps.vector, jax.grad(loss)(ps, x).vector, rtol=1e-12)
    np.testing.assert_array_equal(jnp.where(MASK[..., None], 0.0, by_x), 0.0)


def test_both_directions_are_two_recurrences():
    layer = lux.Bidirectional(lux.GRUCell(3, 2), lux.LSTMCell(3, 4), return_sequence=False)
    ps, st = setup(layer)
    x = array(3, 4, 3)
    one, other = lux.Recurrence(layer.forward), lux.Recurrence(layer.backward, reverse=True)
    (_, first, _), _ = one.run(x, {"cell": ps.forward}, {"cell": st.forward}, MASK)
    (_, second, _), _ = other.run(x, {"cell": ps.backward}, {"cell": st.backward}, MASK)
    np.testing.assert_allclose(layer((x, MASK), ps, st)[0], jnp.concatenate([first, second], -1), rtol=1e-12)


def test_both_directions_take_and_return_carries():
    layer = lux.Bidirectional(lux.GRUCell(3, 2), lux.LSTMCell(3, 4))
    ps, st = setup(layer)
    x, carry = array(2, 5, 3), (array(2, 2), (array(2, 4), jnp.cos(array(2, 4))))
    one, other = lux.Recurrence(layer.forward), lux.Recurrence(layer.backward, reverse=True)

    @jax.jit
    def program(ps):
        both, _ = layer.run(x, ps, st, carry=carry)
        half, _ = layer.run(x, ps, st, carry=(carry[0], None))
        first, _ = one.run(x, {"cell": ps.forward}, {"cell": st.forward}, None, carry[0])
        second, _ = other.run(x, {"cell": ps.backward}, {"cell": st.backward}, None, carry[1])
        return both, half[0], layer(x, ps, st)[0], first, second

    (ys, last, after), half, without, first, second = program(ps)
    expected = (*(jnp.concatenate(pair, -1) for pair in zip(first[:2], second[:2], strict=True)), (first[2], second[2]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), (ys, last, after), expected)
    np.testing.assert_allclose(half, jnp.concatenate([ys[..., :2], without[..., 2:]], -1), rtol=1e-12)
    refused(lambda: layer.run(x, ps, st, carry=carry[0]), lux.ShapeError, "pair", "(forward_carry, None)")


def test_a_gru_that_resets_before_the_product_is_that_of_the_paper():
    cell = lux.GRUCell(3, 2, reset_before=True)
    layer = lux.Recurrence(cell)
    ps, st = setup(layer)
    ps = ps.replace(ps.vector + 0.3 * array(ps.layout.size))
    x, h = np.asarray(array(4, 5, 3)), np.zeros((4, 2))
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    w, u, b, c = (np.asarray(ps.cell[name]) for name in ("weight_input", "weight_hidden", "bias_input", "bias_hidden"))
    ys = []
    for t in range(5):
        reset, update = np.split(sigmoid((x[:, t] @ w + b + h @ u + c)[:, :4]), 2, axis=1)
        new = np.tanh((x[:, t] @ w + b + c)[:, 4:] + (reset * h) @ u[:, 4:])
        h = (1 - update) * new + update * h
        ys.append(h)

    @jax.jit
    def program(x, ps, open_gate):
        both = [layer(x, open_gate, st)[0], lux.Recurrence(lux.GRUCell(3, 2))(x, open_gate, st)[0]]
        return layer.run(x, ps, st)[0], both

    # Where no reset acts, both are one function.
    open_gate = ps.set("cell.bias_input", ps.cell.bias_input.at[:2].set(100.0))
    (got, last, carry), (before, after) = program(x, ps, open_gate)
    np.testing.assert_allclose(before, after, rtol=1e-12)
    np.testing.assert_allclose(got, np.stack(ys, 1), rtol=1e-12)
    np.testing.assert_array_equal(last, carry)
    refused(lambda: lux.tools.from_torch({}, layer), lux.LayerError, "reset_before=False", "PyTorch")


def test_a_second_recurrence_takes_the_same_mask():
    first, second = lux.Recurrence(lux.GRUCell(3, 2)), lux.Recurrence(lux.GRUCell(2, 2))
    ps, st = setup(lux.Chain(first, second))
    x = array(3, 4, 3)
    y, _ = first((x, MASK), ps.layer_0, st.layer_0)
    y, _ = second((y, MASK), ps.layer_1, st.layer_1)
    short, _ = lux.Chain(first, second)(x[2, :2], ps, st)
    np.testing.assert_allclose(y[2, :2], short, rtol=1e-12)


# Derivatives: the loop has a rule of its own


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "gru")) for kind in CELLS])
@pytest.mark.parametrize("reverse", [pytest.param(False, marks=pytest.mark.slow), True])
def test_second_derivatives_are_differences_of_the_first(kind, reverse):
    layer, ps, st = made(kind, reverse=reverse)
    x, mask = array(2, 3, 3), jnp.asarray([[True, True, True], [True, False, True]])
    direction = jnp.cos(jnp.arange(ps.vector.size, dtype=float))

    def loss(vector):
        return jnp.sum(jnp.sin(layer((x, mask), ps.replace(vector), st)[0]))

    def slope(vector):
        return jax.grad(loss)(vector) @ direction

    difference = directional_difference(slope, ps.vector, direction)
    forward_over_reverse = jax.jvp(slope, (ps.vector,), (direction,))[1]
    reverse_over_reverse = jax.grad(slope)(ps.vector) @ direction
    forward_over_forward = jax.jvp(
        lambda vector: jax.jvp(loss, (vector,), (direction,))[1], (ps.vector,), (direction,)
    )[1]
    np.testing.assert_allclose(forward_over_reverse, difference, rtol=1e-6)
    np.testing.assert_allclose(reverse_over_reverse, forward_over_reverse, rtol=1e-10)
    np.testing.assert_allclose(forward_over_forward, forward_over_reverse, rtol=1e-10)


@every_cell
def test_a_batch_is_its_samples(kind):
    # Many samples with few inputs have a loop of their own, which vmap hides.
    layer, ps, st = made(kind, reverse=True)
    x, mask = array(9, 4, 3), jnp.asarray(np.arange(4)[None, :] < (np.arange(9) % 5)[:, None])
    direction = jnp.cos(jnp.arange(ps.vector.size, dtype=float))

    def batch(vector, x):
        return layer((x, mask), ps.replace(vector), st)[0]

    def alone(vector, x):
        return jax.vmap(lambda x, mask: layer((x, mask), ps.replace(vector), st)[0])(x, mask)

    def derivatives(f):
        loss = lambda vector, x: jnp.sum(jnp.sin(f(vector, x)))  # noqa: E731
        forward = jax.jvp(f, (ps.vector, x), (direction, jnp.sin(x)))
        return forward, jax.grad(loss, argnums=(0, 1))(ps.vector, x)

    got, expected = (jax.tree.leaves(jax.jit(lambda f=f: (f(ps.vector, x), derivatives(f)))()) for f in (batch, alone))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


@every_cell
def test_gradients_go_through_the_first_and_the_last_carry(kind):
    layer, ps, st = made(kind)
    x = array(2, 3, 3)

    def by_scan(carry):
        return sum(jnp.sum(jnp.sin(part)) for part in jax.tree.leaves(layer.run(x, ps, st, carry=carry)[0][2]))

    def by_loop(carry):
        for t in range(3):
            (_, carry), _ = layer.cell((x[:, t], carry), ps.cell, st.cell)
        return sum(jnp.sum(jnp.sin(part)) for part in jax.tree.leaves(carry))

    carry = jax.tree.map(lambda part: 0.3 * array(*part.shape), layer.cell.initial_carry(ps.cell, (2,), x.dtype))
    for got, expected in zip(*(jax.tree.leaves(jax.grad(f)(carry)) for f in (by_scan, by_loop)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_gradients_are_mapped_over():
    layer, ps, st = made("lstm")
    xs = array(3, 4, 3)
    gradient = jax.grad(lambda ps, x: jnp.sum(jnp.sin(layer(x, ps, st)[0])))
    mapped = jax.vmap(gradient, in_axes=(None, 0))(ps, xs).vector
    np.testing.assert_allclose(mapped, jnp.stack([gradient(ps, x).vector for x in xs]), rtol=1e-10, atol=1e-13)


def test_huge_inputs_saturate():
    layer, ps, st = made("lstm")
    value, gradient = jax.value_and_grad(lambda ps: jnp.sum(layer(1e30 * array(4, 3), ps, st)[0]))(ps)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(gradient.vector))


def test_an_empty_batch_and_a_single_step():
    layer, ps, st = made("gru")
    assert layer(jnp.zeros((0, 4, 3)), ps, st)[0].shape == (0, 4, 2)
    assert layer(array(1, 3), ps, st)[0].shape == (1, 2)


def test_gates_start_one_by_one():
    # Each gate's hidden weight is orthogonal by itself, which the whole (2, 8) matrix could not be.
    ps, _ = setup(lux.LSTMCell(3, 2))
    for gate in jnp.split(ps.weight_hidden, 4, axis=-1):
        np.testing.assert_allclose(gate.T @ gate, jnp.eye(2), atol=1e-12)


# What is refused


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: lux.LSTMCell(0, 2), ("in_features", "1 or more")),
        (lambda: lux.GRUCell(2, 2.0), ("hidden_features", "2.0")),
        (lambda: lux.LSTMCell(2, 2, use_bias=1), ("use_bias", "True or False")),
        (lambda: lux.RNNCell(2, 2, activation="tanh"), ("activation", "'tanh'")),
        (lambda: lux.Recurrence(lux.Dense(2, 2)), ("Recurrence", "cell", "LSTMCell(4, 8)")),
        (lambda: lux.Recurrence(lux.GRUCell(2, 2), unroll=0), ("unroll", "1 or more")),
        (lambda: lux.Recurrence(lux.GRUCell(2, 2), reverse="yes"), ("reverse", "'yes'")),
        (lambda: lux.Bidirectional(lux.GRUCell(2, 2), jnp.tanh), ("Bidirectional", "backward")),
        (lambda: lux.StatefulRecurrentCell(lux.Dense(2, 2)), ("StatefulRecurrentCell", "cell")),
        (lambda: lux.StatefulRecurrentCell(lux.GRUCell(2, 2), 3), ("batch_shape", "tuple")),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_it_cannot_be_built(make, parts):
    refused(make, lux.LayerError, *parts)


@pytest.mark.parametrize(
    ("x", "parts"),
    [
        (jnp.zeros((2, 0, 3)), ("at least one step", "(2, 0, 3)")),
        (jnp.zeros(3), ("(..., time, features)",)),
        (jnp.zeros((2, 4, 5)), ("3 features", "(4, 2, 5)")),
        ((jnp.zeros((2, 4, 3)), jnp.ones((2, 3), bool)), ("(2, 4)", "(2, 3)")),
        ((jnp.zeros((2, 4, 3)), jnp.ones((2, 4))), ("boolean", "mask != 0")),
        ((jnp.zeros((2, 4, 3)),) * 3, ("(x, mask)",)),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_recurrence_refuses_what_does_not_fit(x, parts):
    model = lux.Chain(memory=lux.Recurrence(lux.LSTMCell(3, 2)))
    ps, st = setup(model)
    refused(lambda: model(x, ps, st), lux.ShapeError, *parts, "in layer memory")


@pytest.mark.usefixtures("unchecked")
def test_cells_refuse_carries_that_do_not_fit():
    cell = lux.LSTMCell(3, 2)
    ps, st = setup(cell)
    refused(lambda: cell((array(4, 3), array(4, 2)), ps, st), lux.ShapeError, "memory", "initial_carry")
    refused(lambda: cell((array(4, 3), (array(2), array(2))), ps, st), lux.ShapeError, "(4, 2)")
    one = lux.StatefulRecurrentCell(cell)
    refused(lambda: one(array(4, 3), *setup(one)), lux.ShapeError, "batch_shape=(4,)")


def test_a_cell_without_its_methods_says_which():
    class Unfinished(lux.AbstractRecurrentCell):
        pass

    layer = lux.Recurrence(Unfinished())
    refused(lambda: layer(array(4, 3), *setup(layer)), lux.LayerError, "initial_carry")
