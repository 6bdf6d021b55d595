"""`batching="each"`: every sample is solved as if it were alone, at its own times, whatever its neighbours or its padding hold."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError

pytestmark = pytest.mark.usefixtures("unchecked")


class Square(lux.AbstractLayer):
    """`rate y^2`, or `rate y^2 + u` with an input: `y(t) = y0 / (1 - rate t y0)`."""

    def initial_parameters(self, key):
        return {"rate": 0.5}

    def __call__(self, x, ps, st):
        y, *u = x if isinstance(x, tuple) else (x,)
        assert y.shape == (2,)  # one sample, without a batch axis
        return ps.rate * y**2 + sum(u), st


TIGHT = {"t1": 1.5, "rtol": 1e-8, "atol": 1e-8}
EACH = lux.NeuralODE(Square(), batching="each", **TIGHT)
ALONE = lux.NeuralODE(Square(), **TIGHT)
PS, ST = setup(EACH)
ALONE_ST = setup(ALONE)[1]
STARTS = jnp.asarray([[1.0, 0.2], [-3.0, 0.5], [0.1, 0.0]])  # of different difficulty
TS = np.array([[0.5, 1.0, 1.5], [0.1, 0.7, np.nan], [0.75, np.inf, -1e30]])
LENGTHS = np.array([3, 2, 1])


def exact(start, t):
    return start / (1.0 - 0.5 * t * start)


def close(got, expected, rtol=1e-12):
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


def test_each_is_the_solve_of_each_alone_and_takes_its_own_steps():
    solution, st = EACH.solve(STARTS, PS, ST, ts=[0.5, 1.5])
    compiled, _ = jax.jit(lambda y0: EACH.solve(y0, PS, ST, ts=[0.5, 1.5]))(STARTS)
    alone = jax.jit(lambda y0: ALONE.solve(y0, PS, ALONE_ST, ts=[0.5, 1.5])[0])
    looped = [alone(start) for start in STARTS]
    for got in (solution, compiled):
        close((got.ts, got.ys), (jnp.stack([s.ts for s in looped]), jnp.stack([s.ys for s in looped])))
        np.testing.assert_array_equal(got.stats["num_steps"], [s.stats["num_steps"] for s in looped])
        np.testing.assert_array_equal(got.stats["t_reached"], [1.5] * 3)
    assert len(set(solution.stats["num_steps"].tolist())) == 3
    assert st.solution.num_steps == max(solution.stats["num_steps"])
    assert st.solution.num_failed == 0
    assert np.all(solution.result == diffrax.RESULTS.successful)
    jointly, _ = ALONE.solve(STARTS[:, None, :].reshape(3, 2)[0], PS, ALONE_ST)
    close(EACH(STARTS, PS, ST)[0][0], jointly.ys[-1])


def test_the_gradient_is_the_sum_of_those_of_each_alone():
    weights = jnp.asarray([1.0, -2.0, 3.0])

    def together(ps, starts):
        return jnp.sum(weights[:, None] * EACH(starts, ps, ST)[0])

    def alone(ps, start):
        return jnp.sum(ALONE(start, ps, ALONE_ST)[0])

    in_ps, in_starts = jax.jit(jax.grad(together, argnums=(0, 1)))(PS, STARTS)
    gradient = jax.jit(jax.grad(alone, argnums=(0, 1)))
    rows = [gradient(PS, start) for start in STARTS]
    close(in_ps.vector, sum(w * row[0].vector for w, row in zip(weights, rows, strict=True)), rtol=1e-10)
    close(in_starts, jnp.stack([w * row[1] for w, row in zip(weights, rows, strict=True)]), rtol=1e-10)


@pytest.mark.parametrize(
    ("adjoint", "throw"),
    [("auto", True), ("auto", False), (diffrax.RecursiveCheckpointAdjoint(), True)],
    ids=["recorded", "failures left out", "checkpoints"],
)
def test_the_gradient_of_a_function_that_is_compiled_is_the_same(adjoint, throw):
    node = lux.NeuralODE(Square(), batching="each", adjoint=adjoint, throw=throw)

    def loss(vector):
        return jnp.sum(node(STARTS, PS.replace(vector), ST)[0])

    found, expected = jax.grad(jax.jit(loss))(PS.vector), jax.jit(jax.grad(loss))(PS.vector)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_state_of_a_sample_may_be_any_tree():
    class Rotation(lux.AbstractLayer):
        def __call__(self, y, ps, st):
            assert (y["sine"].shape, y["cosine"].shape) == ((), (1,))
            return {"sine": y["cosine"][0], "cosine": -y["sine"][None]}, st

    node = lux.NeuralODE(Rotation(), batching="each", **TIGHT)
    ps, st = setup(node)
    y1, _ = node({"sine": jnp.zeros(2), "cosine": jnp.ones((2, 1))}, ps, st)
    close(y1, {"sine": np.sin([1.5, 1.5]), "cosine": np.cos([[1.5], [1.5]])}, rtol=1e-7)


# Times of their own


@pytest.mark.parametrize("known", [True, False], ids=["known", "traced"])
def test_a_ragged_batch_ends_where_each_sample_does_and_repeats_that_value(known):
    def solve(ts, lengths):
        return EACH.solve(STARTS, PS, ST, ts=ts, lengths=lengths)[0]

    solution = solve(TS, LENGTHS) if known else jax.jit(solve)(TS, LENGTHS)
    filled = np.array([[0.5, 1.0, 1.5], [0.1, 0.7, 0.7], [0.75, 0.75, 0.75]])
    np.testing.assert_array_equal(solution.ts, filled)
    np.testing.assert_array_equal(solution.stats["t_reached"], [1.5, 0.7, 0.75])
    np.testing.assert_allclose(solution.ys, exact(np.asarray(STARTS)[:, None, :], filled[:, :, None]), rtol=1e-6)


@pytest.mark.parametrize(
    "adjoint",
    ["auto", pytest.param(diffrax.RecursiveCheckpointAdjoint(), marks=pytest.mark.slow)],
    ids=["default", "checkpointed"],
)
def test_padding_has_no_gradient_and_spoils_none(adjoint):
    node = lux.NeuralODE(Square(), batching="each", adjoint=adjoint, **TIGHT)
    data = jnp.where(jnp.arange(3)[None] < LENGTHS[:, None], 1.0, jnp.nan)[..., None]
    mask = ~jnp.isnan(data)

    @jax.jit
    def gradients(starts, ts):
        def loss(ps, starts, ts):
            ys = node.solve(starts, ps, ST, ts=ts, lengths=LENGTHS)[0].ys
            # A mask after the difference: the gradient of what is masked is 0 times NaN.
            return jnp.sum(jnp.where(mask, (ys - data) ** 2, 0.0))

        return jax.grad(loss, argnums=(0, 1, 2))(PS, starts, ts)

    got = gradients(STARTS, jnp.asarray(TS))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(got))

    def each_alone(ps, starts, ts):
        total = 0.0
        for start, row, length in zip(starts, ts, LENGTHS, strict=True):
            ys = start[None] / (1.0 - ps["model.rate"] * row[:length, None] * start[None])
            total += jnp.sum((ys - 1.0) ** 2)
        return total

    expected = jax.grad(each_alone, argnums=(0, 1, 2))(PS, STARTS, jnp.asarray(TS))
    close(got[:2], expected[:2], rtol=1e-6)
    np.testing.assert_allclose(got[2], expected[2], rtol=1e-4, atol=1e-4)  # as accurate as the interpolation
    np.testing.assert_array_equal(np.asarray(got[2])[~mask[..., 0]], 0.0)


def test_what_the_padding_holds_changes_not_a_bit():
    solve = jax.jit(lambda ts: EACH.solve(STARTS, PS, ST, ts=ts, lengths=LENGTHS)[0].ys)
    assert bits(solve(TS)) == bits(solve(np.where(np.arange(3) < LENGTHS[:, None], TS, 0.33)))


def test_lengths_may_cut_times_that_are_shared():
    ys = EACH.solve(STARTS, PS, ST, ts=[0.5, 1.0, 1.5], lengths=[1, 2, 3])[0].ys
    times = np.array([[0.5, 0.5, 0.5], [0.5, 1.0, 1.0], [0.5, 1.0, 1.5]])
    np.testing.assert_allclose(ys, exact(np.asarray(STARTS)[:, None, :], times[..., None]), rtol=1e-6)


@pytest.mark.slow
def test_backwards_in_time_with_dense_output():
    back = lux.NeuralODE(Square(), batching="each", **{**TIGHT, "t0": 1.5, "t1": 0.0})
    ends = exact(np.asarray(STARTS), 1.5)
    ts = np.array([[1.5, 0.2], [0.7, np.nan], [1.0, 0.0]])
    ys = back.solve(ends, PS, ST, ts=ts, lengths=[2, 1, 2])[0].ys
    filled = np.array([[1.5, 0.2], [0.7, 0.7], [1.0, 0.0]])
    np.testing.assert_allclose(ys, exact(np.asarray(STARTS)[:, None, :], filled[..., None]), rtol=1e-6)
    solution, _ = back.solve(ends, PS, ST, saveat=diffrax.SaveAt(dense=True))
    np.testing.assert_allclose(solution.evaluate(0.3), exact(np.asarray(STARTS), 0.3), rtol=1e-5)


def test_dense_output_at_one_time_for_all_or_at_one_for_each():
    solution, _ = EACH.solve(STARTS, PS, ST, saveat=diffrax.SaveAt(t1=True, dense=True))
    np.testing.assert_allclose(solution.ys[:, 0], exact(np.asarray(STARTS), 1.5), rtol=1e-6)
    own = np.array([0.1, 0.9, 1.5])
    for t in (0.3, own):
        expected = exact(np.asarray(STARTS), np.broadcast_to(t, 3)[:, None])
        np.testing.assert_allclose(jax.jit(lambda s, t: s.evaluate(t))(solution, t), expected, rtol=1e-5)
        # Where the solve makes few steps, the derivative of the interpolation is its least accurate.
        np.testing.assert_allclose(solution.derivative(t), 0.5 * expected**2, rtol=1e-2, atol=1e-4)
    jointly, _ = lux.NeuralODE(Square(), **{**TIGHT, "t0": 1.5, "t1": 0.0}).solve(
        exact(np.asarray(STARTS[0]), 1.5), PS, ALONE_ST, saveat=diffrax.SaveAt(dense=True)
    )
    np.testing.assert_allclose(jointly.evaluate(0.3), exact(np.asarray(STARTS[0]), 0.3), rtol=1e-5)


def test_inputs_are_shared_unless_their_times_are_a_matrix():
    # dy/dt = u(t): the integral of a line from 0 to `slope`.
    node = lux.NeuralODE(lux.WrappedFunction(lambda x: x[1] + 0.0 * x[0]), batching="each", **{**TIGHT, "t1": 1.0})
    ps, st = setup(node)
    knots, slopes = jnp.asarray([0.0, 0.5, 1.0]), jnp.asarray([1.0, 2.0, 3.0])
    own = jax.vmap(diffrax.LinearInterpolation)(jnp.stack([knots] * 3), slopes[:, None] * knots[None])
    shared = diffrax.LinearInterpolation(knots, knots)  # as many knots as samples
    for inputs, expected in ((own, slopes / 2), (shared, [0.5] * 3), (lambda t: 2.0 * t, [1.0] * 3)):
        np.testing.assert_allclose(node(jnp.zeros(3), ps, st, inputs=inputs)[0], expected, rtol=1e-6)


def test_samples_may_start_at_their_own_times():
    starts = exact(np.asarray(STARTS), np.array([[0.1], [0.2], [0.3]]))
    ys = EACH.solve(starts, PS, ST, t0=jnp.asarray([0.1, 0.2, 0.3]))[0].ys
    np.testing.assert_allclose(ys[:, 0], exact(np.asarray(STARTS), 1.5), rtol=1e-6)


# The state of the model


class Noisy(lux.AbstractLayer):
    """`noise - y`, with noise from a key, the same for all of a solve; counts its calls and keeps a running mean of `y`."""

    def initial_states(self, key):
        return {"key": key, "calls": jnp.zeros((), jnp.int32), "mean": jnp.zeros(2)}

    def __call__(self, y, ps, st):
        now, later = jax.random.split(st.key)
        new = {"key": later, "calls": st.calls + 1, "mean": 0.5 * st.mean + 0.5 * y}
        return jax.random.normal(now) + st.mean - y, new


def test_a_sample_that_fails_does_not_count_in_what_the_model_keeps():
    node = lux.NeuralODE(Noisy(), t1=1.0, batching="each", throw=False)
    ps, st = setup(node)
    starts = np.array(STARTS)
    starts[1] = np.nan
    _, after = node(starts, ps, st)
    assert after.solution.num_failed == 1
    np.testing.assert_allclose(after.model.mean, 0.5 * np.nanmean(starts, axis=0), rtol=1e-12)


def test_the_model_is_held_during_a_solve_and_advanced_once_for_all_samples():
    node = lux.NeuralODE(Noisy(), batching="each", **TIGHT)
    ps, st = setup(node)
    call = jax.jit(node)
    mean = np.zeros(2)
    for number in range(2):
        now, later = jax.random.split(st.model.key)
        limit = np.asarray(jax.random.normal(now)) + mean
        y1, st = call(STARTS, ps, st)
        np.testing.assert_allclose(y1, limit + (np.asarray(STARTS) - limit) * np.exp(-1.5), rtol=1e-6)
        assert jnp.all(jax.random.key_data(st.model.key) == jax.random.key_data(later))
        assert st.model.calls == number + 1
        mean = 0.5 * mean + 0.5 * np.mean(np.asarray(STARTS), axis=0)
        np.testing.assert_allclose(st.model.mean, mean, rtol=1e-12)


# What cannot be


@pytest.mark.parametrize(
    ("y0", "arguments", "parts"),
    [
        (1.0, {}, ["y0 whose arrays share a leading axis", "y0[None]"]),
        ({"a": jnp.zeros(2), "b": jnp.zeros(3)}, {}, ["share a leading axis", "[(2,), (3,)]"]),
        (jnp.zeros((0, 2)), {}, ["no samples"]),
        (STARTS, {"ts": np.ones((2, 4))}, ["ts has 2 rows for 3 samples"]),
        (STARTS, {"ts": np.ones((1, 1, 1))}, ["or a matrix with a row for each sample, got shape (1, 1, 1)"]),
        (STARTS, {"lengths": [1, 1, 1]}, ["pass ts as well"]),
        (STARTS, {"ts": TS, "lengths": [1, 1]}, ["one whole number for each of 3 samples"]),
        (STARTS, {"ts": TS, "lengths": [1.0, 1.0, 1.0]}, ["one whole number for each", "float64[3]"]),
        (STARTS, {"ts": TS, "lengths": [1, 4, 1]}, ["from 1 to the 3 columns of ts, got 4 for sample 1"]),
        (STARTS, {"ts": TS, "lengths": [1, 0, 1]}, ["got 0 for sample 1", "leave out"]),
        (STARTS, {"ts": [[0.5, 1.0], [0.5, 0.1], [0.5, 1.0]]}, ["ts of sample 1 must be sorted", "0.5 before 0.1"]),
        (STARTS, {"ts": [[0.5, 1.0], [0.5, 0.9], [0.5, 1.9]]}, ["ts of sample 2 from 0.5 to 1.9 leave the span"]),
    ],
)
def test_batches_that_cannot_be_are_refused(y0, arguments, parts):
    refused(lambda: EACH.solve(y0, PS, ST, **arguments), ShapeError, "NeuralODE", *parts)


def test_settings_of_a_batch_that_cannot_be_are_refused():
    refused(lambda: lux.NeuralODE(Square(), batching="all"), LayerError, 'batching is "joint" or "each", got \'all\'')
    refused(lambda: ALONE.solve(STARTS[0], PS, ALONE_ST, ts=[1.0], lengths=[1]), LayerError, 'batching="each"')


def test_times_of_numpy_are_known_within_a_compiled_function():
    """Also where they are wider than what JAX computes with."""
    with jax.enable_x64(False):
        node = lux.NeuralODE(lux.WrappedFunction(lambda y: -y), t1=2.0, batching="each")
        ps, st = lux.setup(jax.random.key(0), node)
        given = {"ts": np.array([[0.5, 1.0], [1.0, 2.0]]), "lengths": np.array([1, 2]), "t0": np.array([0.0, 0.5])}
        ys = jax.jit(lambda y: node.solve(y, ps, st, **given)[0].ys)(jnp.ones((2, 1), jnp.float32))
        np.testing.assert_allclose(ys[..., 0], np.exp([[-0.5, -0.5], [-0.5, -1.5]]), rtol=1e-4)
