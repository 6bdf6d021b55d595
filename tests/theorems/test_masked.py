"""Whatever stands in what is masked out leaves no trace: values and all gradients are the same bits for any filling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, setup
from members import array

import sciml_lux as lux
from sciml_lux import losses
from sciml_lux.layers import scaled_dot_product_attention

FILLINGS = [-0.7, 0.0, 1e30, np.inf, -np.inf, np.nan]
LENGTHS = np.array([4, 0, 2])
VALID = jnp.asarray(np.arange(4)[None, :] < LENGTHS[:, None])
HOLES = jnp.asarray(np.array([[0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]], bool))
KEYS = VALID[:, None, None, :]
BOTH = KEYS & VALID[:, None, :, None]


class Reciprocal(lux.AbstractRecurrentCell):
    """A cell that is not made for 0."""

    features: int

    def initial_parameters(self, key):
        return {"rate": jnp.ones(self.features)}

    def initial_carry(self, ps, batch_shape, dtype):
        return jnp.ones((*batch_shape, self.features), dtype)

    def __call__(self, x_and_carry, ps, st):
        x, carry = x_and_carry
        carry = carry + jnp.log(jnp.abs(x)) * jnp.broadcast_to(ps.rate, x.shape) / carry
        return (carry, carry), st


def of_layer(layer, mask, *, train=False):
    """A function of the vector and an input `(3, 4, 4)`, and the vector."""
    ps, st = setup(layer)
    st = lux.train_mode(st) if train else lux.test_mode(st)
    return lambda vector, x: layer((x, mask), ps.replace(vector), st)[0], ps.vector + 0.1 * array(ps.vector.size)


def tokens_that_count(function):
    """Its results at the tokens that are no padding: those of padding are results, too, if only the keys are masked."""
    call, vector = function
    return lambda vector, x: jnp.where(VALID[..., None], call(vector, x), 0.0), vector


def across(layer, mask):
    ps, st = setup(layer)
    query = array(3, 5, 4)
    return lambda vector, x: layer((query, x, x, mask), ps.replace(vector), st)[0], ps.vector


def attention(mask):
    def attend(shifts, x):
        parts = x, x[..., :2] + shifts[0], x[..., 2:] + shifts[1]
        query, key, value = (part.reshape(3, 4, -1, 2) for part in parts)
        return scaled_dot_product_attention(query, key, value, mask).reshape(3, 4, 4)

    return attend, jnp.ones(2)


def block(**options):
    return lux.TransformerEncoderBlock(4, 2, 8, **options)


MULTI = lux.MultiHeadAttention(4, 2, key_value_heads=1, dropout=0.5)
CASES = {
    "an LSTM": (lambda: of_layer(lux.Recurrence(lux.LSTMCell(4, 3, train_carry=True)), VALID), VALID),
    "an RNN of relu, holes": (
        lambda: of_layer(lux.Recurrence(lux.RNNCell(4, 3, activation=jax.nn.relu)), HOLES),
        HOLES,
    ),
    "two GRUs": (lambda: of_layer(lux.Bidirectional(lux.GRUCell(4, 3), return_sequence=False), VALID), VALID),
    "a user's cell": (lambda: of_layer(lux.Recurrence(Reciprocal(4), reverse=True), VALID), VALID),
    "attention to keys": (lambda: tokens_that_count(attention(KEYS)), VALID),
    "attention to keys from queries": (lambda: attention(BOTH), VALID),
    "several heads": (lambda: of_layer(MULTI, BOTH), VALID),
    "several heads, keys alone, dropping": (lambda: tokens_that_count(of_layer(MULTI, KEYS, train=True)), VALID),
    "several heads, causal": (lambda: of_layer(lux.MultiHeadAttention(4, 2, causal=True), BOTH), VALID),
    "several heads, across": (lambda: across(lux.MultiHeadAttention(4, 2), KEYS), VALID),
    "a block": (lambda: of_layer(block(), BOTH), VALID),
    "a block, keys alone": (lambda: tokens_that_count(of_layer(block(norm_first=False), KEYS)), VALID),
}
FAST = {"an LSTM", "several heads, keys alone, dropping"}


@pytest.mark.parametrize(
    ("make", "mask"),
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name not in FAST)) for name, case in CASES.items()],
)
def test_values_and_gradients_are_the_same_for_any_filling(make, mask):
    call, vector = make()

    @jax.jit
    def derived(vector, x):
        def loss(vector, x):
            y = call(vector, x)
            return jnp.sum(jnp.sin(y + 0.3)), y

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(vector, x)

    results = [derived(vector, jnp.where(mask[..., None], array(3, 4, 4), filling)) for filling in FILLINGS]
    for filling, result in zip(FILLINGS, results, strict=True):
        assert bits(result) == bits(results[0]), filling
    (_, y), (in_vector, in_x) = results[0]
    assert all(np.all(np.isfinite(part)) for part in (y, in_vector, in_x))
    assert np.any(in_vector)
    np.testing.assert_array_equal(jnp.where(mask[..., None], 0.0, in_x), 0.0)


@pytest.mark.parametrize(
    "layer",
    [
        None,
        pytest.param(lux.MultiHeadAttention(4, 2, causal=True), marks=pytest.mark.slow),
    ],
    ids=["the function", "several heads"],
)
def test_a_position_reaches_itself_and_later_ones_whatever_stands_there(layer):
    x = array(5, 4)
    if layer is None:
        call = lambda x: scaled_dot_product_attention(*[x.reshape(5, 2, 2)] * 3, causal=True).reshape(5, 4)  # noqa: E731
    else:
        ps, st = setup(layer)
        call = lambda x: layer(x, ps, st)[0]  # noqa: E731
    compiled = jax.jit(lambda x, dy: (call(x), jax.vjp(call, x)[1](dy)[0]))
    y, _ = compiled(x, jnp.ones((5, 4)))
    for i in range(5):
        spoilt, back = compiled(x.at[i].set(jnp.nan), jnp.ones((5, 4)).at[i:].set(0.0))
        np.testing.assert_array_equal(spoilt[:i], y[:i])
        assert np.all(np.isnan(spoilt[i:]))
        assert np.all(np.isfinite(back))


def test_a_query_that_is_not_finite_is_not_taken_for_one():
    """What is wrong stays visible where it is looked at."""
    x = array(2, 3, 1, 2)
    mask = jnp.ones((2, 1, 3, 3), bool)
    for spoilt in (0, 1, 2):
        given = [x, x, x]
        given[spoilt] = x.at[0, 1, 0, 0].set(jnp.nan)
        y = jax.jit(scaled_dot_product_attention)(*given, mask)
        assert np.isnan(y[0, 1]).all()
        assert np.isnan(y[0]).all() == (spoilt > 0)
        assert np.isfinite(y[1]).all()


LOSSES = {
    name: getattr(losses, name)
    for name in ("mse", "mae", "huber", "cross_entropy", "binary_cross_entropy", "poisson", "focal")
    if hasattr(losses, name)
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "mse")) for name in LOSSES])
def test_losses_leave_out_what_is_masked(name):
    mask = jnp.asarray([True, False, True])
    predictions, targets = 0.2 + 0.1 * jnp.abs(array(3, 2)), jnp.full((3, 2), 0.5)

    def loss(p, t):
        kept = mask if name in ("cross_entropy", "focal") else jnp.broadcast_to(mask[:, None], p.shape)
        return LOSSES[name](p, t, mask=kept)

    derived = jax.jit(jax.value_and_grad(loss))
    fill = lambda number: [jnp.where(mask[:, None], part, number) for part in (predictions, targets)]  # noqa: E731
    results = [bits(derived(*fill(number))) for number in FILLINGS]
    assert all(result == results[0] for result in results)
