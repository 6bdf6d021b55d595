"""Measured inputs: their values, solves through their kinks and jumps, derivatives with respect to the samples."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.interpolate
from helpers import bits, directional_difference, refused, setup

import sciml_lux as lux
from sciml_lux import ShapeError
from sciml_lux.solvers import cubic_input, hold_input, linear_input

TS = np.array([0.0, 0.5, 0.9, 1.3, 2.0, 2.6])
VALUES = np.array([1.0, -1.0, 2.0, 0.5, -3.0, 1.0])
TIGHT = {"rtol": 1e-8, "atol": 1e-8}


class Driven(lux.AbstractLayer):
    """`u - rate y`, plus `t` where it is given."""

    def initial_parameters(self, key):
        return {"rate": 0.9}

    def __call__(self, x, ps, st):
        *t, y, u = x
        return u + sum(t) - ps.rate * y, st


NODE = lux.NeuralODE(Driven(), t1=2.6, **TIGHT)
PS, ST = setup(NODE)


def held(rate, values, y=0.0):
    """The solution at the end under a held input, piece by piece."""
    for value, length in zip(values, np.diff(TS), strict=False):
        y = y * jnp.exp(-rate * length) + value / rate * (1.0 - jnp.exp(-rate * length))
    return y


# Values


def test_they_are_the_lines_the_spline_and_the_steps_through_the_samples():
    t = np.linspace(0.0, 2.6, 40)
    spline = scipy.interpolate.CubicSpline(TS, VALUES)
    for made, expected in (
        (linear_input, np.interp(t, TS, VALUES)),
        (cubic_input, spline(t)),
        (hold_input, VALUES[np.searchsorted(TS, t, side="right") - 1]),
    ):
        np.testing.assert_allclose(jax.vmap(made(TS, VALUES).evaluate)(jnp.asarray(t)), expected, atol=1e-12)
    np.testing.assert_array_equal(hold_input(TS, VALUES).evaluate(9.0), 1.0)
    for made in (linear_input, cubic_input):
        assert np.isnan(made(TS, VALUES).evaluate(2.7))


def test_missing_samples_are_passed_over():
    values = np.array([1.0, np.nan, 2.0, np.nan, np.nan, 1.0])
    known = ~np.isnan(values)
    for made in (linear_input, hold_input):
        t = jnp.linspace(0.0, 2.6, 40)
        found, expected = (jax.vmap(made(*pair).evaluate)(t) for pair in ((TS, values), (TS[known], values[known])))
        np.testing.assert_allclose(found, expected, atol=1e-14)


def test_values_may_be_any_tree():
    tree = {"a": VALUES, "b": np.stack([VALUES, -VALUES], axis=1)}
    for made in (linear_input, cubic_input, hold_input):
        value, one = made(TS, tree).evaluate(1.1), made(TS, VALUES).evaluate(1.1)
        np.testing.assert_allclose(value["a"], one)
        np.testing.assert_allclose(value["b"], [one, -one])


# Solves


def test_jumps_are_stepped_onto_so_that_few_steps_fail():
    inputs = hold_input(TS, VALUES)
    told, _ = NODE.solve(0.0, PS, ST, inputs=inputs)
    untold, _ = NODE.solve(0.0, PS, ST, inputs=lambda t: inputs.evaluate(t))
    np.testing.assert_allclose(told.ys[0], held(0.9, VALUES), atol=1e-8)
    assert told.stats["num_rejected_steps"] <= len(TS)
    assert untold.stats["num_rejected_steps"] > 10 * told.stats["num_rejected_steps"]
    assert untold.stats["num_steps"] > 5 * told.stats["num_steps"]


def test_the_solution_is_as_accurate_as_the_tolerance_through_a_square_wave():
    # Error proportional to the tolerance is what jumps that nobody knows of destroy.
    ts = jnp.arange(0.0, 8.0)
    wave = hold_input(ts, jnp.where(ts % 2 == 0, 1.0, -1.0))
    y = 0.0
    for value in wave.curve:
        y = y * np.exp(-0.9) + value / 0.9 * (1.0 - np.exp(-0.9))
    for tolerance in (1e-5, 1e-9):
        node = lux.NeuralODE(Driven(), t1=8.0, rtol=tolerance, atol=tolerance)
        solution, _ = node.solve(0.0, PS, ST, inputs=wave)
        assert abs(solution.ys[0] - y) < tolerance
        assert solution.stats["num_rejected_steps"] <= 12


@pytest.mark.parametrize("made", [linear_input, cubic_input])
def test_kinks_are_stepped_onto(made):
    solution, _ = NODE.solve(0.0, PS, ST, inputs=made(TS, VALUES), saveat=diffrax.SaveAt(steps=True))
    assert np.isin(TS[1:], solution.ts).all()


@pytest.mark.parametrize("made", [linear_input, pytest.param(cubic_input, marks=pytest.mark.slow), hold_input])
def test_derivatives_with_respect_to_samples_and_rate(made):
    def final(vector, values):
        return NODE(0.0, PS.replace(vector), ST, inputs=made(TS, values))[0]

    found = jax.jit(jax.grad(final, argnums=(0, 1)))(PS.vector, VALUES)
    plain = jax.jit(final)
    direction = np.cos(np.arange(6.0))
    expected = directional_difference(lambda values: plain(PS.vector, values), VALUES, direction, 1e-4)
    np.testing.assert_allclose(found[1] @ direction, expected, rtol=1e-6)
    expected = directional_difference(lambda vector: plain(vector, VALUES), PS.vector, np.ones(1), 1e-4)
    np.testing.assert_allclose(found[0], [expected], rtol=1e-6)
    if made is hold_input:
        np.testing.assert_allclose(found[1], jax.grad(held, argnums=1)(0.9, jnp.asarray(VALUES)), atol=1e-7)


def test_the_times_of_a_smooth_signal_can_be_differentiated_with_respect_to_and_those_of_kinks_and_jumps_not():
    final = lambda ts, made: NODE(0.0, PS, ST, inputs=made(ts, VALUES))[0]  # noqa: E731
    direction = np.array([0.0, 0.3, -0.2, 0.5, 0.1, 0.0])
    found = jax.grad(final)(jnp.asarray(TS), cubic_input) @ direction
    expected = directional_difference(lambda ts: final(ts, cubic_input), TS, direction, 1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for made in (hold_input, linear_input):
        with pytest.raises(RuntimeError, match="with respect to the ts of hold_input or linear_input"):
            jax.grad(final)(jnp.asarray(TS), made)


def test_beside_the_time_and_backwards():
    there = lux.NeuralODE(Driven(), t1=2.6, time=True, **TIGHT)
    back = lux.NeuralODE(Driven(), t0=2.6, t1=0.0, time=True, **TIGHT)
    inputs = hold_input(TS, VALUES)
    end, _ = there(0.3, PS, ST, inputs=inputs)
    solution, _ = back.solve(end, PS, ST, inputs=inputs)
    np.testing.assert_allclose(solution.ys, [0.3], atol=1e-6)
    assert solution.stats["num_rejected_steps"] <= 2 * len(TS)


def test_mapped_over_signals_is_looped():
    signals = jnp.stack([VALUES, 0.5 * VALUES, -(VALUES**2)])
    final = lambda values: NODE(0.0, PS, ST, inputs=hold_input(TS, values))[0]  # noqa: E731
    mapped = jax.jit(jax.vmap(jax.value_and_grad(final)))(signals)
    np.testing.assert_allclose(mapped[0], [held(0.9, values) for values in signals], atol=1e-7)
    looped = jnp.stack([jax.grad(held, argnums=1)(0.9, values) for values in signals])
    np.testing.assert_allclose(mapped[1], looped, atol=1e-7)


def test_float32_stays_float32_where_float64_is_the_default():
    ps, st = setup(NODE, dtype=jnp.float32)
    inputs = hold_input(TS, VALUES.astype(np.float32))
    y1, _ = NODE(np.float32(0.0), ps, st, inputs=inputs)
    assert y1.dtype == jnp.float32
    np.testing.assert_allclose(y1, held(0.9, VALUES), rtol=1e-4)


# Padding

PADDED_TS, PADDED = np.append(TS, [0.0, 0.0]), np.append(VALUES, [0.0, 0.0])
PADDINGS = (0.0, np.nan, np.inf, -np.inf, 1e30)
EVERY = [
    linear_input,
    pytest.param(cubic_input, marks=pytest.mark.slow),
    pytest.param(hold_input, marks=pytest.mark.slow),
]


def read(made, ts, values, length=None):
    return jax.vmap(made(ts, values, length=length).evaluate)(jnp.linspace(0.0, 2.6, 14))


def differentiated(function):
    return jax.jit(
        lambda ts, values, length: jax.value_and_grad(lambda v: jnp.sum(function(ts, v, length) ** 2))(values)
    )


def assert_padding_does_not_matter(function):
    """Bit by bit, and as without padding up to rounding."""
    both = differentiated(function)
    plain = differentiated(lambda ts, values, _: function(ts, values, None))(TS, VALUES, 0)
    expected = bits(both(PADDED_TS, PADDED, 6))
    for of_times in PADDINGS:
        for of_values in PADDINGS:
            ts, values = np.append(TS, [of_times] * 2), np.append(VALUES, [of_values] * 2)
            found = both(ts, values, 6)
            assert bits(found) == expected, (of_times, of_values)
            np.testing.assert_allclose(found[0], plain[0], rtol=1e-12)
            np.testing.assert_allclose(found[1][:6], plain[1], rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(found[1][6:], 0.0)


@pytest.mark.parametrize("made", EVERY)
def test_what_stands_in_the_padding_does_not_matter(made):
    assert_padding_does_not_matter(lambda ts, values, length: read(made, ts, values, length))


@pytest.mark.slow
@pytest.mark.parametrize("made", [linear_input, cubic_input, hold_input])
def test_what_stands_in_the_padding_does_not_matter_to_a_solve(made):
    def final(ts, values, length):
        return NODE(jnp.zeros(()), PS, ST, inputs=made(ts, values, length=length))[0]

    assert_padding_does_not_matter(final)


@pytest.mark.slow
@pytest.mark.parametrize("made", [linear_input, cubic_input, hold_input])
def test_samples_of_several_lengths_are_mapped_over_with_nan_behind_the_last(made):
    # Without lengths: times, values, or both are NaN there.
    t = jnp.linspace(0.0, 2.0, 9)
    alone = jax.vmap(made(TS[:5], VALUES[:5]).evaluate)(t)
    for ts, values in ((np.nan, np.nan), (TS[5], np.nan), (np.nan, VALUES[5])):
        rows = np.stack([TS, np.append(TS[:5], ts)]), np.stack([VALUES, np.append(VALUES[:5], values)])
        inputs = jax.vmap(made)(*rows)
        both = jax.vmap(lambda one: jax.vmap(one.evaluate)(t))(inputs)
        np.testing.assert_allclose(both[1], alone, atol=1e-12)
        np.testing.assert_allclose(both[0], jax.vmap(made(TS, VALUES).evaluate)(t), atol=1e-12)


def test_the_adjoint_of_a_batch_with_the_inputs_of_each_sample_can_be_asked_for():
    rows = np.stack([TS, TS]), np.stack([VALUES, VALUES])
    node = lux.JumpODE(Driven(), batching="each")
    ps, st = setup(node)
    for inputs, name in (
        (jax.vmap(linear_input)(*rows), "recorded"),
        (hold_input(TS, VALUES), "RecursiveCheckpointAdjoint()"),
    ):
        assert str(node.choose_adjoint(np.zeros(2), ps, st, inputs=inputs)).startswith(name)


# What cannot be


@pytest.mark.usefixtures("unchecked")
def test_samples_that_cannot_be_are_refused():
    for make, part in (
        (lambda: linear_input([0.0], [1.0]), "at least 2 times in a vector, got shape (1,)"),
        (lambda: cubic_input([0.0, 1.0, 2.0], [1.0, 2.0, 3.0]), "at least 4 times"),
        (lambda: hold_input([0.0, 0.0], [1.0, 2.0]), "ts must increase"),
        (lambda: hold_input([0.0, 1.0], [1.0]), "a first axis of 2 samples as ts do, got shape (1,)"),
        (lambda: linear_input([0.0, 1.0], [np.nan, 1.0]), "may be missing (NaN) inside, got them at [0]"),
        (lambda: hold_input([0.0, 1.0], [np.nan, 1.0]), "after the first, got them at [0]"),
        (lambda: cubic_input(TS, np.where(TS == 0.9, np.nan, VALUES)), "got them at [2]"),
        (lambda: linear_input(TS, VALUES, length=1), "of which 1 are real, by length=1, of 6"),
        (lambda: linear_input(TS, VALUES, length=7), "of which 7 are real"),
        (lambda: hold_input(TS, VALUES, length=[6, 6]), "jax.vmap(lambda ts, values, length: lux.solvers.hold_input("),
    ):
        refused(make, ShapeError, part)
    short = linear_input([0.0, 1.0], [1.0, 2.0])
    refused(lambda: NODE(0.0, PS, ST, inputs=short), ShapeError, "known from 0 to 1, the solve runs from 0 to 2.6")
    late = hold_input([0.5, 1.0], [1.0, 2.0])
    refused(lambda: NODE(0.0, PS, ST, inputs=late), ShapeError, "known from 0.5 to 1")
